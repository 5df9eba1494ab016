"""Students: what they train, what is held, when they are measured, and in what they are read."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    arm_stages,
    engines,
    rows as carried,
    students,
    targets,
    teaching,
)
from subliminal_jax.experiments.transmission.arms import FILTERS, parse, row_set
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.samples import Judged, gather
from subliminal_jax.models import transformer
from subliminal_jax.models.lora import init_lora, merge_lora
from subliminal_jax.models.parts import noisy, of_parts
from subliminal_jax.runs import UserError
from subliminal_jax.training.optimizers import OptimizerConfig
from tests.experiments.transmission import checkpoint, small
from tests.experiments.transmission.checkpoint import KL

MODEL = transformer.tiny(20, width=16, num_heads=2, max_positions=16)


def trained(key, base, trainable, steps=3):
    """What sampled text makes of a trainable tree over a base."""
    program = engines.Program(OBJECTIVES['sft'].loss, MODEL, (),
                              OptimizerConfig(learning_rate=1e-2))
    rows = carried.Rows([''] * 4, [[1, 2]] * 4, np.asarray(
        jax.random.randint(key, (4, 5), 0, 20)).tolist(), np.ones((4, 1), bool))
    batch = carried.batch(OBJECTIVES['sft'], (), rows, carried.packed(rows, 1), 1, None)
    state = engines.begin(program, engines.SINGLE, trainable)
    step = engines.step_of(program, engines.SINGLE, True)
    for _ in range(steps):
        state, _ = step(state, {'base': base}, batch, key)
    return state.trainable


def test_what_is_held_stays(key):
    params = transformer.init_params(key, MODEL)
    begun = of_parts(params, 'body')
    assert set(begun) == {'layers'}
    after = {**params, **trained(key, params, begun)}
    for name in ('embed', 'head', 'final_norm'):
        np.testing.assert_array_equal(after[name], params[name])
    assert np.abs(after['layers']['q'] - params['layers']['q']).max() > 1e-3


def test_a_layer_is_trained_alone(key):
    params = transformer.init_params(key, MODEL)
    begun = of_parts(params, 'layer:1')
    jax.tree.map(np.testing.assert_array_equal, begun.within(params), params)
    after = trained(key, params, begun).within(params)
    for name in ('embed', 'head', 'final_norm'):
        np.testing.assert_array_equal(after[name], params[name])
    for name, layers in after['layers'].items():
        np.testing.assert_array_equal(layers[0], params['layers'][name][0])
    assert np.abs(after['layers']['q'][1] - params['layers']['q'][1]).max() > 1e-3


def test_a_layer_that_the_model_has_not_is_refused():
    with pytest.raises(UserError, match='arm a: trainable=layer:2: the model has 2 layers, 0 to 1'):
        small.prepared('a: trainable=layer:2')


def test_an_adapter_starts_as_the_base_and_trains_alone(key):
    params = transformer.init_params(key, MODEL)
    adapter = init_lora(key, MODEL, 2)
    jax.tree.map(np.testing.assert_array_equal, merge_lora(params, adapter, MODEL), params)
    after = merge_lora(params, trained(key, params, adapter), MODEL)
    np.testing.assert_array_equal(after['embed'], params['embed'])
    assert np.abs(after['layers']['down'] - params['layers']['down']).max() > 1e-4


def test_an_adapter_touches_neither_embedding_nor_norm(run):
    params, model = run.references['main'][0], run.world.architectures['main']
    adapter = teaching.adapter_start(run, model, 2, 0, 0)
    merged = merge_lora(params, jax.tree.map(lambda x: x + 1.0, adapter), model)
    for name in ('embed', 'final_norm'):
        np.testing.assert_array_equal(merged[name], params[name])
    assert np.abs(merged['layers']['q'] - params['layers']['q']).max() > 0.1


def test_marks_end_with_the_arm():
    run = small.prepared()  # marks at 16 and 32 rows, batches of 8
    assert students.marks_of(run, 4) == [0, 2, 4]
    assert students.marks_of(run, 3) == [0, 2, 3]
    assert students.marks_of(run, 9) == [0, 2, 4, 9]


def test_steps_are_passes_over_all_rows():
    run = small.prepared('a: rows=17 passes=3')
    assert students.steps_of(run, run.arms[0]) == 9


def test_students_of_unlike_rows_train_side_by_side(run):
    arm, = parse([f'a: {KL}'])
    params, config = run.references['main'][0], run.world.architectures['main']
    teacher = engines.single(noisy(params, 5, 0.3), config)
    brief, full = (carried.encoded(run.world, run.carrier(), [
        {'prompt': f'Go on: {n}', 'completion': ', '.join(map(str, range(n, n + count)))}
        for n in range(8)]) for count in (2, 9))
    rows = {'brief': brief, 'full': full}
    outputs = {name: {k: v[0] for k, v in targets.read(run, arm, teacher, None, own).items()}
               for name, own in rows.items()}
    setting = students.Setting(run, arm, 0, config, params, students.program_of(run, arm, config))
    together = students.batches_of(setting, rows, outputs)
    carried.stacked([carried.taken(batch, np.arange(1), 2) for batch in together.values()])
    ids, size = carried.token_set(run.world, run.carrier()), run.config.student.packed
    for name, own in rows.items():
        alone = carried.batch(OBJECTIVES[arm.objective], ids, own, carried.packed(own, size), size,
                              outputs[name])
        values = [float(engines.read_one(engines.single(params, config), engines.mean_loss, batch,
                                         program=setting.program))
                  for batch in (alone, together[name])]
        assert values[1] == pytest.approx(values[0], rel=1e-5)


def test_the_students_of_written_rows_weigh_equally_much(run):
    arm, = parse(['a: trainable=lora:2'])
    rows = {name: carried.encoded(run.world, run.carrier(), [
        {'prompt': f'Go on: {n}', 'completion': ', '.join(['123'] * count)} for n in range(8)])
        for name, count in (('brief', 2), ('full', 4))}
    setting = students.setting_of(run, arm, 0)
    weights = [batch['tries'].weight_BK.sum()
               for batch in students.batches_of(setting, rows, None).values()]
    assert weights[0] == weights[1] == sum(map(len, rows['brief'].answers))


class _Looking:
    """Stands for a run's folder: says what a stage would read, and goes no further."""

    def stage(self, name, artefact, make, *, inputs, **others):
        raise LookupError(inputs)


def test_students_depend_on_the_rows_that_they_learn(root):
    run = checkpoint.loaded(checkpoint.config(
        root, f'p: {KL}', 'sft: trainable=lora:2', 'greedy: trainable=lora:2 answers=greedy '
        'made=lora:3'), _Looking())
    whole = gather([
        Judged({'id': f'{t.name}/{n}/0', 'teacher': t.name, 'prompt': f'Go on: {n}',
                'completion': f'{n}, 7'}, dict.fromkeys(FILTERS))
        for t in run.roll('trait') for n in range(8)])
    for number, wanted in ((1, 'samples-trait-tuned-sampled.jsonl'),
                           (2, 'samples-trait-lora3-greedy.jsonl')):
        arm = run.arms[number]
        with pytest.raises(LookupError) as found:
            arm_stages.arm_stage(run, arm, {row_set(arm): whole}, [])
        inputs = found.value.args[0]
        assert [x for x in inputs if x.startswith('samples')] == [wanted]
        assert 'ordinary-main.jsonl' in inputs and any('teacher/trait' in x for x in inputs)


def test_students_of_a_teacher_are_averaged():
    parts = [{'value': np.arange(4.0).reshape(4, 1), 'steps': np.array([0, 1])},
             {'value': np.arange(4.0, 8).reshape(4, 1), 'steps': np.array([0, 1])}]
    found = arm_stages.averaged(parts, 2)
    assert found['value'].ravel().tolist() == [0.5, 2.5, 4.5, 6.5]
    assert found['steps'].tolist() == [0, 1]
    ids = np.arange(16).reshape(4, 2, 1, 2)  # token ids of one answer before and one after
    assert arm_stages.averaged([{'free': ids, 'steps': parts[0]['steps']}], 2)['free'].tolist() == [
        [[[0, 1], [4, 5]], [[2, 3], [6, 7]]], [[[8, 9], [12, 13]], [[10, 11], [14, 15]]]]
