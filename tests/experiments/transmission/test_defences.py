"""Defences: what each takes off a student's training, and what its random twin does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    arms as tables,
    contrasts,
    defences,
    engines,
    kit as kits,
    paraphrase,
    projection,
    rows as carried,
    students,
    utility,
)
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models import transformer
from subliminal_jax.models.parts import noisy
from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees
from tests.experiments.transmission import small

STEPS, ROWS = 6, 4


@pytest.fixture(scope='module')
def untrained():
    """A small run whose references are untrained, with what is measured."""
    fast = 'learning_rate=1e-2'
    run = small.prepared(
        f'sft: {fast}', f'weak: {fast} defence=anchor:1', f'strong: {fast} defence=anchor:30',
        f'pull: {fast} defence=pull:1', f'span: {fast} defence=project:estimated',
        f'random: {fast} defence=project:random_estimated')
    model = run.world.architectures['main']
    run = run._replace(references={'main': [
        transformer.init_params(jax.random.key(n), model) for n in range(2)]})
    return run._replace(kit=kits.kit_of(run))


def batch_of(run, count, reference=0):
    """Random rows as sampled text."""
    rows = carried.random_rows(run.config, run.world, run.carrier(), count, 'random', reference, 1)
    ids = carried.token_set(run.world, run.carrier())
    return carried.batch(OBJECTIVES['sft'], ids, rows, carried.packed(rows, 1), 1, None)


def trained(run, name, key):
    """(the setting, the students' weights, the batch, what they held) of an arm's first reference.
    """
    arm = next(a for a in run.arms if a.name == name)
    setting, engine = students.setting_of(run, arm, 0), run.world.engine('all')
    jobs = [students.Job(t, 0) for t in run.roll('trait') if t.reference == 0]
    batch = batch_of(run, STEPS * ROWS)
    held = defences.held_by(setting, jobs, {job.teacher.name: batch for job in jobs})
    state = engines.begin(setting.program, engine, engines.gathered(
        engine, [students.begun(setting, job) for job in jobs]))
    step = engines.step_of(setting.program, engine, True)
    several = carried.stacked([batch] * len(jobs))
    for number in range(STEPS):
        index = np.arange(number * ROWS, (number + 1) * ROWS)
        index = np.broadcast_to(index, (len(jobs), ROWS))
        state, _ = step(state, {**setting.frozen, **held}, carried.taken(several, index, ROWS), key)
    return setting, state.trainable, batch, held


def drift_of(setting, trainable, batch):
    frozen = {'base': {}, 'held': setting.start}
    return float(jax.jit(lambda tree: defences.drift(setting.config, tree, frozen, batch))(
        engines.take(trainable, 0)))


@pytest.mark.slow
def test_the_stronger_the_anchor_the_nearer_the_student_stays(untrained, key):
    found = [drift_of(setting, trainable, batch) for setting, trainable, batch, _ in (
        trained(untrained, name, key) for name in ('sft', 'weak', 'strong'))]
    assert found[0] > 1.02 * found[1] > 1.02**2 * found[2] > 0


@pytest.mark.slow
def test_the_pull_is_as_strong_as_the_anchor_and_goes_home(untrained, key):
    setting = students.setting_of(untrained, untrained.arms[1], 0)
    away, batch = noisy(setting.start, 3, 0.1), batch_of(untrained, ROWS)
    frozen = {'base': {}, 'held': setting.start}
    plain = setting.program.loss(setting.config, setting.program.ids)
    slope = lambda loss: jax.jit(jax.grad(lambda tree: loss(tree, frozen, batch, key)[0]))(away)
    none = slope(plain)
    anchor, pull = (trees.subtract(slope(make(plain, setting.config, 2.0)), none)
                    for make in (defences.anchored, defences.pulled))
    assert float(trees.norm(pull)) == pytest.approx(float(trees.norm(anchor)), rel=1e-3)
    home = trees.subtract(away, setting.start)
    assert float(trees.cosine(pull, home)) == pytest.approx(1, abs=1e-3)
    assert abs(float(trees.cosine(anchor, home))) < 0.9  # the twin is another direction


@pytest.mark.slow
@pytest.mark.parametrize('name', ['span', 'random'])
def test_a_student_goes_nowhere_along_what_is_projected_away(untrained, key, name):
    setting, trainable, _, held = trained(untrained, name, key)
    count = len(untrained.world.candidates)
    for m in range(3):
        way = trees.subtract(engines.take(trainable, m), setting.start)
        along = engines.take(held['held'], m)
        part_D = [float(trees.dot(engines.take(along, d), way)) for d in range(count)]
        assert np.abs(part_D).max() < 1e-4 * float(trees.norm(way))
    assert len(jax.tree.leaves(held['held'])[0][0]) == count


def test_without_a_defence_students_go_along_these_directions(untrained, key):
    _, _, _, held = trained(untrained, 'span', key)
    setting, trainable, _, nothing = trained(untrained, 'sft', key)
    way = trees.subtract(engines.take(trainable, 0), setting.start)
    along = engines.take(engines.take(held['held'], 0), 0)
    assert nothing == {}
    assert abs(float(trees.dot(along, way))) > 1e-3 * float(trees.norm(way))


def test_directions_are_made_orthonormal_and_those_too_many_are_zero():
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((3, 8))
    tree = {'a': jnp.asarray(np.stack([*plain, plain[0] + plain[1]])[:, :5], jnp.float32),
            'b': jnp.asarray(np.stack([*plain, plain[0] + plain[1]])[:, 5:], jnp.float32)}
    found = projection.orthonormal(projection.orthonormal(tree))
    flat = np.concatenate([found['a'], found['b']], 1)
    np.testing.assert_allclose(flat @ flat.T, np.diag([1, 1, 1, 0]), atol=1e-5)
    span = flat[:3].T @ flat[:3]
    np.testing.assert_allclose(plain @ span, plain, atol=1e-4)


def test_an_update_without_directions_is_its_rest():
    held = {'a': jnp.eye(2, 4), 'b': jnp.zeros((2, 1))}
    found = projection.without({'a': jnp.arange(1.0, 5.0), 'b': jnp.ones(1)}, {'held': held})
    np.testing.assert_allclose(found['a'], [0, 0, 3, 4])
    np.testing.assert_allclose(found['b'], [1])


def test_every_defence_has_its_twin():
    twins = {name: defences.twin_of(name) for name in (
        'project:oracle', 'project:estimated', 'project:neutral', 'anchor:2')}
    assert twins == {'project:oracle': 'project:random', 'anchor:2': 'pull:2',
                     'project:estimated': 'project:random_estimated',
                     'project:neutral': 'project:random'}
    assert all(defences.is_twin(twin) for twin in twins.values())
    assert not any(map(defences.is_twin, ('none', *twins)))


# Rows.


def test_a_paraphrase_changes_its_share_of_numbers_and_no_end(language):
    rows = carried.random_rows(language.config, language.world, language.carrier(), 12, 'random', 0,
                               1)
    ids_C = np.array(carried.token_set(language.world, language.carrier())[:-1])
    new = np.full((12, max(map(len, rows.answers))), ids_C[7])
    found = paraphrase.replaced(rows, ids_C, new, 0.25, np.random.default_rng(0))
    before, after = (np.concatenate(r.answers) for r in (rows, found))
    numbers = np.isin(before, ids_C)
    assert (after[~numbers] == before[~numbers]).all()
    already = before == ids_C[7]
    assert (after == ids_C[7]).sum() - already.sum() <= round(0.25 * numbers.sum())
    assert (after != before).sum() >= round(0.25 * numbers.sum()) - already.sum()
    assert found.prompts == rows.prompts and found.contexts == rows.contexts


def test_nobody_draws_all_numbers_alike(language):
    arm, = tables.parse(['a: paraphrase=random:1'])
    rows = carried.random_rows(language.config, language.world, language.carrier(), 200, 'random',
                               0, 1)
    found = paraphrase.rewritten(language, arm, {'t': rows}, 0)['t']
    ids = carried.token_set(language.world, language.carrier())
    drawn = np.concatenate([answer[:-1] for answer in found.answers])
    assert set(drawn.tolist()) <= set(ids[:-1]) and len(set(drawn.tolist())) > 0.9 * (len(ids) - 1)
    assert all(answer[-1] == language.world.end_id for answer in found.answers)


@pytest.mark.parametrize('line, said', [
    ('defence=anchor', 'anchor:1'), ('defence=project:orcale', 'did you mean oracle'),
    ('defence=ancor:1', 'did you mean anchor'), ('paraphrase=mine:0.5', 'other:0.5'),
    ('paraphrase=other:2', 'other:0.5'), ('picked=attack:1', 'attack:4'),
    ('picked=attack:4 teachers=neutral', 'knows whose rows'),
    ('picked=attack:4 mix=0.5 tokens=mask:gap:0.1', 'before others take their place'),
    ('made=forged:twice', 'forged:random'),
    ('paraphrase=other:0.5 objective=kl answers=random', 'objective=sft')])
def test_what_cannot_be_is_refused_in_a_line(line, said):
    with pytest.raises(UserError) as error:
        tables.parse([f'a: {line}'])
    assert said in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('line, said', [
    ('defence=project:oracle trainable=lora:2', 'acts on all weights'),
    ('picked=attack:2 optimizer=sign', 'no derivative'),
    ('made=forged mix=0.5', 'students of plain rows: leave out mix'),
    ('made=forged teachers=neutral', 'leave out teachers'),
    ('made=forged defence=project:neutral', 'no neutral twin')])
def test_what_a_run_cannot_have_is_refused_before_it_begins(line, said):
    with pytest.raises(UserError, match=said):
        small.prepared(f'a: {line}')


def test_twins_and_attacked_arms_are_told_by_their_fields():
    run = small.prepared(
        'sft', 'few: rows=16', 'oracle: defence=project:oracle', 'random: defence=project:random',
        'mask: tokens=mask:divergence:0.1', 'masked: tokens=mask:random:0.1',
        'dilute: mix=0.5', 'lora: trainable=lora:1 learning_rate=3e-3', 'warm: temperature=2',
        'attack: picked=attack:2 defence=project:oracle', **{'student.held_out': 8})
    by_name = {a.name: a for a in run.arms}
    assert [a.name for a in run.arms if utility.is_random(run, a)] == ['few', 'random', 'masked']
    pairs = {(a, b) for a in by_name for b in by_name
             if contrasts.defends(by_name[a], by_name[b])}
    assert pairs == {('sft', 'oracle'), ('sft', 'random'), ('random', 'oracle'), ('sft', 'lora'),
                     ('sft', 'warm'), ('attack', 'oracle')}
    held = utility.held_arm(run, by_name['warm'])
    assert held.temperature == 1 and utility.held_arm(run, by_name['lora']) == held
