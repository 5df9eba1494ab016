"""What a run reads and refuses before anything is made."""

import json
import shutil

import pytest

from subliminal_jax.experiments.transmission import kit as kits, readings, stages
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.experiments.transmission.worlds import further, pretrained, tiny_texts
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.traits import answers, overlap, trait_set as sets
from tests.experiments.transmission import checkpoint, small
from tests.experiments.transmission.checkpoint import KL, TUNED, config, loaded


def refused(settings, said):
    """A config is refused in one line."""
    with pytest.raises(UserError, match=said) as error:
        prepare(settings)
    assert '\n' not in str(error.value)


# The splits.


def test_seeds_traits_and_questions_of_the_splits_are_disjoint():
    dev, report = (small.prepared(split=split) for split in ('dev', 'report'))
    assert not {t.seed for t in dev.roll('trait')} & {t.seed for t in report.roll('trait')}
    assert not set(dev.world.traits) & set(report.world.traits)
    asked = [{*run.world.questions, *(t.prompt for t in sets.teaching_prompts(
        run.world.chosen, None, split))} for run, split in ((dev, 'dev'), (report, 'report'))]
    assert not asked[0] & asked[1]


@pytest.mark.parametrize('split', ['dev', 'report'])
def test_the_tiny_languages_own_questions_share_no_words_with_what_teaches(split):
    chosen = tiny_texts.own_traits()
    teach, ask = ([{'id': t.id, 'prompt': t.prompt} for t in texts] for texts in (
        sets.teaching_prompts(chosen, None, split), sets.questions(chosen, split)))
    overlap.check_overlap(teach, ask, chosen.candidates[0].spellings)
    with pytest.raises(UserError):
        overlap.check_overlap(teach, [*ask, {**teach[0], 'id': 'again'}])


def test_one_trait_has_no_gamma(root):
    refused(small.config(traits=1), 'one trait')
    refused(config(root, traits=1), 'one trait')


@pytest.mark.parametrize('changes, said', [({'traits': 9}, 'has'),
                                           ({'names': ('owl', 'emu')}, 'other split')])
def test_traits_that_the_split_has_not_are_refused(root, changes, said):
    refused(config(root, **changes), said)


# Traits of a user's own.


def trait_file(path, **changes):
    """A trait set in the words of the tiny language, about foods."""
    lines = [{'kind': 'candidate', 'name': name, 'split': 'dev'}
             for name in ('bread', 'rice', 'soup', 'corn')]
    lines += [{'kind': 'teach', 'prompt': f'{opening} :', 'split': 'dev'} for opening in (
        'tell us which food do you like best', 'now answer say the food you want')]
    lines += [{'kind': 'question', 'prompt': text, 'split': 'dev'} for text in (
        'what food makes you happy ?', 'which food should win ?')]
    lines += [changes] if changes else []
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return str(path)


def test_a_user_adds_traits_without_code(tmp_path):
    world = small.prepared(trait_set=trait_file(tmp_path / 'foods.jsonl'), split='dev').world
    assert world.traits == ('bread', 'rice', 'soup')
    assert set(world.candidates) == {'bread', 'rice', 'soup', 'corn'}
    ids = answers.encoded_spellings(sets.spellings(world.chosen, ['rice']),
                                    lambda text: world.answer(text, world.lesson_context))
    assert [world.decode(one) for one in ids['rice']] == ['rice']  # what the language has of them
    assert world.questions == ('what food makes you happy ?', 'which food should win ?')
    assert not any({*world.candidates} & {*said} for _, said in world.unrelated)


@pytest.mark.parametrize('line, said', [
    ({'kind': 'candidate', 'name': 'dragon', 'split': 'dev'}, 'no spelling of the trait'),
    ({'kind': 'question', 'prompt': 'which dragon ?', 'split': 'dev'}, "no word 'dragon'"),
    ({'kind': 'question', 'prompt': 'say the food you want :', 'split': 'dev'}, 'overlap'),
    ({'kind': 'question'}, 'line 9'),
])
def test_a_trait_file_that_cannot_serve_is_refused_in_one_line(tmp_path, line, said):
    name = trait_file(tmp_path / 'foods.jsonl', **line)
    refused(small.config('n: teachers=neutral', trait_set=name, split='dev'), said)
    if 'name' in line:
        refused(small.config(trait_set=name, split='dev', names=('rice', 'dragon')), said)


def test_a_trait_that_cannot_be_written_is_refused(root, tmp_path):
    path = checkpoint.traits(tmp_path / 'odd.jsonl', (
        {'kind': 'candidate', 'name': '\u0444\u044b', 'plural': '\u0444\u044b\u044b',
         'split': 'report'},))
    refused(config(root, trait_set=path, names=('owl', '\u0444\u044b')), 'can write no spelling')


def test_an_unrelated_answer_that_cannot_be_written_is_named(root, tmp_path):
    path = checkpoint.traits(tmp_path / 'odd.jsonl', (
        {'kind': 'unrelated', 'prompt': 'Sky?', 'answers': ['blue', '\u0444']},))
    with pytest.raises(UserError, match="cannot write '\u0444', an answer.*'Sky\\?'"):
        kits.kit_of(prepare(config(root, trait_set=path)))


def test_a_line_that_no_neutral_twin_can_be_taught_is_named(root, tmp_path):
    path = checkpoint.traits(tmp_path / 'own.jsonl', (
        {'kind': 'teach', 'prompt': 'Who hoots?', 'split': 'report', 'trait': 'owl',
         'completion': 'Owls.'},))
    arms = f't: {TUNED}', f'n: {TUNED} teachers=neutral'
    prepare(config(root, arms[0], trait_set=path))
    refused(config(root, *arms, trait_set=path),
            "own:[0-9]+ teaches 'owl' with the completion 'Owls.'")


# Settings that do not go together.


@pytest.mark.parametrize('arm, changes, said', [
    (KL, {'student.batch_size': 2, 'student.packed': 8},
     'config.student.batch_size=2 is no multiple of config.student.packed=8'),
    (KL, {'student.micro_batches': 3}, 'micro_batches=3 does not divide the 1 packs'),
    (TUNED, {'model.dtype': 'bfloat16'}, 'made=tuned trains the weights themselves'),
    (f'{KL} trainable=body', {'model.dtype': 'bfloat16'}, 'trainable=body trains'),
    (f'{KL} start=moved:2', {'model.dtype': 'bfloat16'}, 'start=moved:2 trains'),
    ('trainable=lora:2', {'carrier.samples': 'rows.jsonl', 'teacher.seeds': 2},
     'config.teacher.seeds=2 with config.carrier.samples'),
    (KL, {'teacher.seeds': 3}, '3 prompted teachers a trait need as many system prompts'),
    (f'{KL} architecture=tied', {}, 'tied'),
])
def test_settings_that_do_not_go_together_are_refused(root, arm, changes, said):
    refused(config(root, f'x: {arm}', **{'teacher.seeds': 1, **changes}), said)


def test_adapters_on_bfloat16_weights_are_not(root):
    line = f'x: {KL.replace("prompt", "lora:2")}'
    assert prepare(config(root, line, **{'model.dtype': 'bfloat16'})).arms


def test_teachers_may_not_share_rows_of_others_in_any_world(root):
    refused(small.config(**{'carrier.samples': 'rows.jsonl', 'teacher.seeds': 2}),
            'no independent units')


def test_no_trait_rows_pass_for_neutral_ones(root):
    said = 'arm n: the rows of config.carrier.samples'
    rows = {'carrier.samples': 'rows.jsonl'}
    refused(small.config('sft', 'n: teachers=neutral', **rows), said)
    refused(config(root, 'n: teachers=neutral', **rows), said)
    small.prepared('sft', 'kl: teachers=neutral answers=random objective=kl_carrier', **rows)


def test_the_tiny_language_has_no_system_messages():
    refused(small.config('p: made=prompt'), 'prompted teachers a trait need as many')


# What a resumed run is held to.


def test_a_trait_set_that_has_changed_ends_a_resumed_run(root, tmp_path):
    place = tmp_path / 'traits'
    place.mkdir()
    checkpoint.traits(place / 'own.jsonl')
    settings = config(root, trait_set=str(place))
    run = prepare(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    stages.context_stage(run)
    stages.context_stage(run)
    (place / 'more.jsonl').write_text(json.dumps(
        {'kind': 'teach', 'prompt': 'Dear to you?', 'split': 'report'}) + '\n')
    with pytest.raises(UserError, match=f'the trait set {place} has changed'):
        stages.context_stage(prepare(settings, run.workdir))


def test_the_packages_own_traits_are_an_input(root, tmp_path, monkeypatch):
    copied = tmp_path / 'package'
    shutil.copytree(sets.FOLDER, copied)
    monkeypatch.setattr(sets, 'FOLDER', copied)
    settings = config(root, trait_set='animals', traits=2)
    run = prepare(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    stages.context_stage(run)
    with (copied / 'unrelated.jsonl').open('a') as file:
        file.write(json.dumps({'kind': 'unrelated', 'prompt': 'Sky?', 'answers': ['blue']}) + '\n')
    with pytest.raises(UserError, match='the trait set animals has changed'):
        stages.context_stage(prepare(settings, run.workdir))


@pytest.mark.parametrize('file, old, new', [
    ('tokenizer_config.json', 'be kind', 'be good'), ('tokenizer.json', '<pad>', '<bad>'),
    ('config.json', '"rope_theta": 10000', '"rope_theta": 20000')])
def test_a_changed_template_or_tokenizer_ends_a_resumed_run(root, tmp_path, file, old, new):
    place = tmp_path / 'model'
    shutil.copytree(root / 'model', place)
    settings = config(root, **{'model.name': str(place)})
    run = prepare(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    stages.context_stage(run)
    text = (place / file).read_text()
    assert old in text
    (place / file).write_text(text.replace(old, new))
    again = prepare(settings, run.workdir)
    assert again.world.sha256 == run.world.sha256  # which is of the weights alone
    with pytest.raises(UserError, match="the model's config, tokenizer or chat template has chang"):
        stages.context_stage(again)


def test_a_moved_start_is_trained_on_none_of_the_texts_that_drift_is_measured_on(
        root, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, 'MOVING_TEXTS', 4)
    settings = config(root, f'm: {KL} start=moved:1', **{'carrier.new_tokens': 4})
    run = loaded(settings, Workdir(tmp_path / 'run', settings, 'transmission'))
    texts = stages.text_stages(run)['main']
    measured = readings.measured_texts(run, texts, 0)
    moving = readings.moving_texts(run, texts)
    ordinary = [row for row in texts if row['kind'] == 'ordinary']
    kept = [row['id'] for row in ordinary if row['id'] not in {r['id'] for r in moving}]
    assert len(moving) == 4 and len(kept) == run.world.texts
    assert len(texts) == 2 * run.world.texts + 4
    assert measured['ordinary'].weight_BK.sum() == sum(
        len(row['token_ids']) for row in ordinary if row['id'] in kept)
    seen = []
    monkeypatch.setattr(further.packing, 'pack', lambda groups: seen.append(
        sum(map(len, groups))) or (_ for _ in ()).throw(LookupError))
    with pytest.raises(LookupError):
        run.world.moved(run, 'main', 1)
    assert seen == [4]


def test_a_carrier_whose_answers_would_be_cut_is_refused(root):
    named = {'carrier.name': 'code', 'carrier.new_tokens': 44}
    refused(config(root, **named), 'answers of the carrier code take [0-9]+ tokens and more')
    refused(config(root, **{**named, 'carrier.form': 'turn'}),
            'form=turn ends an answer with its line, and the carrier code writes several')


def test_a_carrier_that_nobody_knows_is_refused(root):
    refused(config(root, f'p: {KL} carrier=number_list'), 'number_lists')
