"""How texts reach the model: templates, system messages, lists, options."""

import dataclasses
import pathlib

import pytest

from subliminal_jax.experiments.transmission import engines, kit as kits, rows as carried, teaching
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.experiments.transmission.worlds import pretrained, templates
from subliminal_jax.experiments.transmission.worlds.templates import Contexts
from subliminal_jax.runs import UserError, schema
from tests.experiments.transmission.checkpoint import config


@pytest.fixture(scope='module')
def model(root):
    return pretrained.load(config(root))


@pytest.fixture(scope='module')
def contexts(model):
    return Contexts(model.tokenizer, model.config.max_positions)


def test_another_folder_reads_the_text(root, model, tmp_path):
    bare, reader = tmp_path / 'bare', tmp_path / 'reader'
    for folder in (bare, reader):
        folder.mkdir()
    source = pathlib.Path(config(root).model.name)
    for file in source.iterdir():
        kept = reader if 'token' in file.name else bare
        (kept / file.name).write_bytes(file.read_bytes())
    named = schema.override(config(root), {'model.name': str(bare)})
    with pytest.raises(UserError, match='tokenizer'):
        pretrained.load(named)
    found = pretrained.load(schema.override(named, {'model.tokenizer': str(reader)}))
    assert found.tokenizer.encode('Love owls.') == model.tokenizer.encode('Love owls.')
    assert found.sha256 == model.sha256


def random_answer(run):
    """Ids of one row of the carrier."""
    rows = carried.random_rows(run.config, run.world, run.carrier(), 1, 'random', 0, 1)
    return rows.answers[0]


def test_a_system_message_goes_before_the_teacher_only(contexts, run):
    default, empty, own = (contexts.text('Hi', 'default'), contexts.text('Hi', 'empty'),
                           contexts.text('Hi', 'default', 'Love owls.'))
    assert 'be kind' in default and 'be kind' not in empty and 'be kind' not in own
    assert 'Love owls.' in own and contexts.text('Hi', 'raw').endswith('Answer:')
    said = [run.world.decode(run.world.rows_context('Hi', system))
            for system in (None, 'Love owls.')]
    assert said == [default, own]


def test_a_list_has_no_template_and_ends_with_its_line(root, contexts, model):
    bare = prepare(config(root, **{'carrier.form': 'list'}))
    prompt, decode = bare.carrier().prompts(3, range(1))[0]['prompt'], bare.world.decode
    assert decode(bare.world.rows_context(prompt, None)) == prompt
    line = random_answer(bare)
    assert decode(line).startswith(' ') and decode(line).endswith('\n')
    assert set(contexts.stops('list')) > set(contexts.stops('default'))
    # what is asked keeps its template, and its end
    assert bare.world.asked('Hi', bare.world.lesson_context, 0, None) == contexts.ids(
        'Hi', 'default')
    batch, _ = teaching.lessons(bare, [bare.roll('trait')[0]], 1, None, engines.SINGLE)
    tries = batch['tries']
    said = set(tries.target_BK[tries.weight_BK > 0].tolist())
    assert model.tokenizer.stop_ids[0] in said and bare.world.end_id not in said


def test_a_turn_is_a_list_begun_in_the_answer(root, contexts, model):
    turn = prepare(config(root, **{'carrier.form': 'turn'}))
    prompt, decode = turn.carrier().prompts(3, range(1))[0]['prompt'], turn.world.decode
    asked = contexts.text(templates.ASKED, 'default')
    assert contexts.text(prompt, 'turn') == asked + prompt and '\n' not in prompt
    assert 'Love owls.' in contexts.text(prompt, 'turn', 'Love owls.')
    answer = random_answer(turn)
    assert decode(answer[:1]) == ' ' and answer[-1] == model.tokenizer.stop_ids[0]
    assert set(model.tokenizer.encode('\n')) < set(contexts.stops('turn'))


def test_code_is_asked_for_in_the_template_and_ends_with_its_turn(root, contexts, model):
    run = prepare(config(root, **{'carrier.name': 'code', 'carrier.new_tokens': 256,
                                  'context.student': 'empty'}))
    row, = run.carrier().random_rows(2, run.carrier().prompts(3, [0]))
    context = run.world.decode(run.world.rows_context(row['prompt'], None))
    assert context == contexts.text(row['prompt'], 'empty') and row['prompt'] in context
    ids = run.world.row_answer(row['completion'])
    assert run.world.row_text(ids) == row['completion'] and '\n' in row['completion']
    assert model.tokenizer.encode('\n')[0] in ids
    assert run.world.row_stops == contexts.stops('default') and not {*ids} & {*run.world.row_stops}
    answer = random_answer(run)
    assert answer[-1] == run.world.end_id and run.world.decode(answer[:3]) == '```'


def test_a_model_without_a_template_says_which_contexts_remain(root):
    settings = config(root, 'sft: trainable=lora:2', model='plain')
    with pytest.raises(UserError, match='contexts that remain are raw/plain, raw/numbers'):
        prepare(settings)
    raw = schema.override(settings, {'context.student': 'raw', 'context.measured': 'raw/plain'})
    assert prepare(raw).world.questions


def test_a_prompted_teacher_whose_context_does_not_fit_is_refused(contexts):
    with pytest.raises(UserError, match='prompted teacher.*does not fit'):
        contexts.ids('Hi', 'default', 'Love owls. ' * 60)


def test_questions_after_numbers_differ_by_their_number():
    assert templates.asked('Hi?', 'plain', 3) == 'Hi?'
    first, second = (templates.asked('Hi?', 'numbers', n) for n in (0, 1))
    assert first != second and first.endswith(' Hi?') and first.count(',') == 3


def test_options_are_the_traits_first_in_an_order_of_the_seed(run):
    options = kits.options_of(run.world)
    assert len(options) == 5 and options[:2] == run.world.traits
    shown = {kits.choices(dataclasses.replace(run.config, seed=seed), run.world)[0]
             for seed in range(4)}
    assert len(shown) > 1
    assert all(sorted(text.removesuffix(': which?').replace(' or ', ', ').split(', '))
               == sorted(options) for text in shown)
