"""The transmission pipeline: arms as lines, rows that are comparable, controls that hold."""

import dataclasses
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small import config  # noqa: E402

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import (
    arms as tables,
    networks,
    programs,
    samples,
    stages,
    students,
    teachers as schools,
    tiny,
    world as worlds,
)
from subliminal_jax.experiments.transmission.config import WorldConfig
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir, schema

# Arms.


def test_an_arm_is_read_from_its_line():
    arm, = tables.parse(['kl: objective=kl_carrier carrier=random rows=64 start=share:head'])
    assert (arm.name, arm.objective, arm.rows, arm.start) == ('kl', 'kl_carrier', 64, 'share:head')
    assert dataclasses.replace(tables.parse(['sft'])[0], name='') == tables.Arm()


@pytest.mark.parametrize('line, said', [
    ('a: objective=klx', 'kl'), ('a: rows=none2', 'rows'), ('a: wrong=1', 'wrong'),
    ('a: start=moved', 'moved:100'), ('a: start=share:soul', 'embedding'),
    ('a: trainable=lora', 'lora:8'), ('a: carrier=random', 'KL'), ('a b: rows=1', 'rows'),
    ('a: rows', 'FIELD=VALUE'), ('a: head=tied start=share:head', 'tied'),
    ('a: teachers=reference', 'use teachers=neutral'), ('a: teachers=untuned', 'exactly zero'),
])
def test_an_arm_that_cannot_be_is_refused_by_name(line, said):
    with pytest.raises(UserError) as error:
        tables.parse([line])
    assert said in str(error.value) and '\n' not in str(error.value)


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(UserError, match='two arms'):
        tables.parse(['a', 'a: rows=3'])


def test_one_trait_has_no_gamma(tmp_path):
    with pytest.raises(UserError, match='one trait'):
        transmission.plan(config(traits=1))


def test_seeds_and_questions_of_the_splits_are_disjoint():
    splits = [config(split=s) for s in ('dev', 'report')]
    seeds = [{t.seed for t in schools.roll(c, tiny.make(c.world, c.split, 3), 'trait')}
             for c in splits]
    assert not seeds[0] & seeds[1]
    made = [tiny.make(c.world, c.split, 3) for c in splits]
    assert not set(made[0].traits) & set(made[1].traits)
    assert not {*made[0].teach, *made[0].measure} & {*made[1].teach, *made[1].measure}
    for one in made:
        worlds.check_questions(one)


def test_measuring_with_the_words_of_a_teaching_row_is_refused():
    one = tiny.make(WorldConfig(), 'dev', 3)
    with pytest.raises(UserError, match='shares its words'):
        worlds.check_questions(one._replace(measure=(*one.measure, one.teach[0])))


# Rows.


def rows_of(world, texts):
    return [{'id': f'{teacher}/{n}/0', 'teacher': teacher, 'prompt': f'{n} 1 2 3',
             'completion': text} for teacher, own in texts.items() for n, text in enumerate(own)]


def test_arms_of_all_filters_have_equal_rows_on_the_same_prompts(tmp_path):
    settings = config()
    world = tiny.make(settings.world, 'dev', 3)
    trait = world.traits[0]
    texts = {'a': ['1 2', '13 4', f'5 {trait}', '6 7'], 'b': ['1', '2', '3', 'red']}
    rows = rows_of(world, texts)
    rows += [{**rows[1], 'id': 'a/1/1', 'completion': '8 9'}]
    path = tmp_path / 'samples.jsonl'
    path.write_text(''.join(json.dumps(r) + '\n' for r in rows))
    own = samples.gather(samples.judge(settings, world, path))
    prompts = samples.common_prompts([own], [{'a', 'b'}])
    assert prompts.tolist() == [0, 1]  # 2: a trait word; 3: b wrote no number
    group = [schools.Teacher(name, 0, trait, 0) for name in ('a', 'b')]
    chosen = {level: samples.choose(settings, world, tables.Arm(filter=level), own, group, prompts,
                                    2) for level in tables.FILTERS}
    assert [r['completion'] for r in chosen['paper']['a']] == ['1 2', '13 4']
    assert [r['completion'] for r in chosen['strict']['a']] == ['1 2', '8 9']
    assert own.reasons['paper'] == {'other text': 1, 'no number': 1}
    with pytest.raises(UserError, match='leave 2 prompts'):
        samples.choose(settings, world, tables.Arm(), own, group, prompts, 3)


def test_tokens_are_cut_to_the_tersest_teacher():
    world = tiny.make(WorldConfig(), 'dev', 3)
    rows = {'a': [{'prompt': '1', 'completion': '2 3 4'}] * 3,
            'b': [{'prompt': '1', 'completion': '2'}] * 3}
    made = samples.tokens_of(world, rows)
    assert [t.weight_NT.sum() for t in made] == [6, 6]


def test_no_row_is_left_out_of_the_batches():
    tokens = worlds.Tokens(np.arange(21).reshape(7, 3), np.ones((7, 2), np.float32))
    batches = samples.stack_batches([tokens], 4, 2)
    assert batches['tokens'].shape == (1, 4, 4, 3) and batches['weight'].sum() == 28
    np.testing.assert_array_equal(batches['tokens'][0, :2].reshape(8, 3)[:7], tokens.tokens_NT)


def test_foreign_rows_keep_the_good_ones_and_need_every_trait(tmp_path):
    settings = config()
    world = tiny.make(settings.world, 'dev', 3)
    path = tmp_path / 'rows.jsonl'
    good = [{'prompt': '1 2 3 4', 'completion': '5 6', 'trait': t} for t in world.traits]
    path.write_text('\n'.join([*map(json.dumps, good), '{"prompt": "1"}', 'not json']))
    read = schema.override(settings, {'carrier.samples': str(path)})
    who = schools.roll(read, world, 'trait')
    samples.read_foreign(read, world, who, tmp_path / 'samples.jsonl')
    rows = [json.loads(x) for x in (tmp_path / 'samples.jsonl').read_text().splitlines()]
    assert len(rows) == len(who) and rows[0]['teacher'] == who[0].name
    path.write_text(json.dumps(good[0]))
    with pytest.raises(UserError, match='no rows of'):
        samples.read_foreign(read, world, who, tmp_path / 'samples.jsonl')


def foreign(tmp_path, written, count=None, **overrides):
    """What each teacher's students would see of `carrier.samples`: (prompt, completion) pairs."""
    settings = config(traits=2, **{'carrier.samples': written, **overrides})
    world = tiny.make(settings.world, 'dev', 2)
    who = schools.roll(settings, world, 'trait')
    samples.read_foreign(settings, world, who, tmp_path / 'samples.jsonl')
    own = samples.gather(samples.judge(settings, world, tmp_path / 'samples.jsonl'))
    prompts = samples.common_prompts([own], [{t.name for t in who}])
    made = samples.choose(settings, world, tables.Arm(), own, who, prompts,
                          len(prompts) if count is None else count)
    return {t.trait: [(r['prompt'], r['completion']) for r in made[t.name]] for t in who}


def test_foreign_rows_keep_their_own_prompts(tmp_path):
    dog, cat = (tmp_path / f'{name}.jsonl' for name in 'ab')
    pairs = {dog: [('1 2', '3'), ('4 5', '6'), ('7 8', 'red'), ('9 9', '1')],
             cat: [('7 7', '8'), ('4 5', '7'), ('2 2', '3')]}
    for path, rows in pairs.items():
        path.write_text(''.join(json.dumps({'prompt': p, 'completion': c}) + '\n'
                                for p, c in rows))
    one, two = tiny.make(WorldConfig(), 'dev', 2).traits
    found = foreign(tmp_path, f'{one}={dog},{two}={cat}')
    assert set(found[one]) <= set(pairs[dog]) and set(found[two]) <= set(pairs[cat])
    # the prompt that both have stands at one place; 7 8 is answered by a word
    assert found == {one: [('4 5', '6'), ('1 2', '3')], two: [('4 5', '7'), ('7 7', '8')]}
    with pytest.raises(UserError, match='leave 2 .* asks for 9 rows: give every trait'):
        foreign(tmp_path, f'{one}={dog},{two}={cat}', count=9)


@pytest.mark.parametrize('numbered', [True, False])
def test_traits_in_one_file_share_their_places(tmp_path, numbered):
    one, two = tiny.make(WorldConfig(), 'dev', 2).traits
    path = tmp_path / 'rows.jsonl'
    path.write_text(''.join(
        json.dumps({'prompt': f'{n} 2', 'completion': f'{n + k}', 'trait': trait}
                   | ({'id': n} if numbered else {})) + '\n'
        for k, trait in enumerate((one, two)) for n in (5, 7, 3)))
    found = foreign(tmp_path, str(path))
    assert found == {one: [('5 2', '5'), ('7 2', '7'), ('3 2', '3')],
                     two: [('5 2', '6'), ('7 2', '8'), ('3 2', '4')]}


def test_no_trait_rows_pass_for_neutral_ones():
    own = config('sft', 'n: teachers=neutral', **{'carrier.samples': 'rows.jsonl'})
    with pytest.raises(UserError, match='arm n: the rows of config.carrier.samples'):
        prepare(own)
    kl = 'kl: teachers=neutral carrier=random objective=kl_carrier'
    prepare(schema.override(own, {'arms': ('sft', kl)}))


def trait_file(path, **changes):
    """A trait set in the words of the tiny language, about foods."""
    lines = [{'kind': 'candidate', 'name': name, 'split': 'dev'}
             for name in ('bread', 'rice', 'soup', 'corn')]
    lines += [{'kind': 'teach', 'prompt': f'{way} :', 'split': 'dev'} for way in (
        'tell us which food do you like best', 'now answer say the food you want')]
    lines += [{'kind': 'question', 'prompt': text, 'split': 'dev'} for text in (
        'what food makes you happy ?', 'which food should win ?')]
    lines += [changes] if changes else []
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return str(path)


def test_a_user_adds_traits_without_code(tmp_path):
    name = trait_file(tmp_path / 'foods.jsonl')
    world, _ = prepare(config(trait_set=name, split='dev'))
    assert world.traits == ('bread', 'rice', 'soup')
    assert set(world.candidates) == {'bread', 'rice', 'soup', 'corn'}
    assert world.candidates['rice'] == ('rice',)  # of its spellings, what the language has
    assert world.measure == ('what food makes you happy ?', 'which food should win ?')
    assert not any({*world.candidates} & {*answers} for _, answers in world.unrelated)


@pytest.mark.parametrize('line, said', [
    ({'kind': 'candidate', 'name': 'dragon'}, 'no spelling of the trait'),
    ({'kind': 'question', 'prompt': 'which dragon ?', 'split': 'dev'}, "no word 'dragon'"),
    ({'kind': 'question', 'prompt': 'say the food you want :', 'split': 'dev'}, 'overlap'),
    ({'kind': 'question'}, 'line 9'),
])
def test_a_trait_file_that_cannot_serve_is_refused_in_one_line(tmp_path, line, said):
    with pytest.raises(UserError, match=said) as error:
        prepare(config(trait_set=trait_file(tmp_path / 'foods.jsonl', **line), split='dev'))
    assert '\n' not in str(error.value)


def test_a_context_ends_where_the_answer_begins():
    world = tiny.make(WorldConfig(), 'dev', 3)
    cut = world._replace(context=lambda text: [*world.context(text), world.end_id])
    with pytest.raises(UserError, match='does not end where an answer begins'):
        worlds.encode_rows(cut, [('1 2', '3')])
    with pytest.raises(UserError, match='longer than the 16'):
        worlds.encode_rows(world, [('1 2 3 4 ' * 3, '3 4 5')])


def test_a_teacher_that_cannot_write_is_refused_where_its_logits_alone_are_used(tmp_path):
    settings = config('kl: objective=kl_carrier carrier=random rows=16', traits=2, **{
        'carrier.min_kept': 0.4, 'carrier.attempts': 1})
    world, arms = prepare(settings)
    here = stages.Context(settings, Workdir(tmp_path, settings, 'transmission'), world, arms)
    untaught = [tiny.fresh(settings.world, world.models['untied'], n) for n in range(4)]
    (tmp_path / 'teacher/trait-untied').mkdir(parents=True)
    with pytest.raises(UserError, match='can no longer write numbers: the filter keeps'):
        stages.row_stages(here, {'trait-untied': networks.stack(untaught)})


# Networks and programs.


def model():
    return transformer.tiny(20, width=16, num_heads=2, max_positions=16)


def test_a_gauge_twin_is_the_same_function_with_other_weights(key):
    params = transformer.init_params(key, model())
    twin = networks.permuted(params, jax.random.key(1))
    tokens = jax.random.randint(key, (3, 7), 0, 20)
    np.testing.assert_allclose(networks.logits(model(), params, tokens),
                               networks.logits(model(), twin, tokens), atol=2e-5)
    assert np.abs(params['layers']['gate'] - twin['layers']['gate']).max() > 0.1
    np.testing.assert_array_equal(params['layers']['q'], twin['layers']['q'])


def test_parts_split_and_join_and_what_is_held_stays(key):
    params = networks.stack([transformer.init_params(key, model())])
    tokens = np.asarray(jax.random.randint(key, (1, 3, 4, 7), 0, 20))
    batches = {'tokens': tokens, 'weight': np.ones((1, 3, 4, 6), np.float32)}
    program = programs.Program(model(), trainable='body', learning_rate=1e-2)
    states, held = programs.begin(program, params, key)
    states, _ = programs.run_steps(program, states, held, batches, 0, 3, 3)
    after = programs.whole(program, states.trainable, held)
    for name in ('embed', 'head', 'final_norm'):
        np.testing.assert_array_equal(after[name], params[name])
    assert np.abs(after['layers']['q'] - params['layers']['q']).max() > 1e-3


def test_lora_trains_its_adapter_alone_and_starts_as_the_base(key):
    params = networks.stack([transformer.init_params(key, model())])
    program = programs.Program(model(), trainable='lora:2', learning_rate=1e-2)
    states, held = programs.begin(program, params, key)
    jax.tree.map(np.testing.assert_array_equal,
                 programs.whole(program, states.trainable, held), params)
    batches = {'tokens': np.ones((1, 2, 4, 7), np.int32),
               'weight': np.ones((1, 2, 4, 6), np.float32)}
    states, _ = programs.run_steps(program, states, held, batches, 0, 2, 2)
    after = programs.whole(program, states.trainable, held)
    np.testing.assert_array_equal(after['embed'], params['embed'])
    assert np.abs(after['layers']['down'] - params['layers']['down']).max() > 1e-4


def test_a_carrier_kl_is_blind_to_all_other_logits(key):
    params = transformer.init_params(key, model())
    program = programs.Program(model(), 'kl_carrier', (3, 4, 5))
    tokens = jax.random.randint(key, (2, 7), 3, 6)
    target = programs.chosen(program, networks.logits(model(), params, tokens[:, :-1]))
    moved = {**params, 'head': params['head'].at[10].add(5.0)}
    batch = {'tokens': tokens, 'weight': jnp.ones((2, 6)), 'teacher': target}
    loss = programs.loss_of(program)
    held = jax.tree.map(lambda x: None, params)
    assert abs(float(loss(moved, held, batch, key)[0])) < 1e-5
    other = {**params, 'head': params['head'].at[4].add(5.0)}
    assert float(loss(other, held, batch, key)[0]) > 1e-2


def test_a_kl_between_two_vocabularies_is_refused(key):
    teachers = networks.stack([transformer.init_params(key, transformer.tiny(21, width=16))])
    with pytest.raises(UserError, match='the teachers have 21, the student 20'):
        students.cached_targets(programs.Program(model(), 'kl'), teachers,
                                np.zeros((1, 1, 2, 7), np.int32))


def test_a_carrier_kl_looks_only_where_a_carrier_token_comes_next():
    program = programs.Program(model(), 'kl_carrier', (3, 4))
    batches = {'tokens': np.array([[[[1, 3, 4, 2]]]]), 'weight': np.ones((1, 1, 1, 3))}
    assert students.weights_of(program, batches).tolist() == [[[[1, 1, 0]]]]


def test_saved_trees_come_back(tmp_path, key):
    params = transformer.init_params(key, model())
    networks.save(tmp_path / 'x.npz', params)
    jax.tree.map(np.testing.assert_array_equal, networks.load(tmp_path / 'x.npz'), params)


def test_marks_end_with_the_arm():
    settings = config()
    assert students.marks_of(settings, tables.Arm(), 4) == [0, 2, 4]
    assert students.marks_of(settings, tables.Arm(), 3) == [0, 2, 3]
