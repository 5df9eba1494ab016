"""The attacker: derivatives through a whole training, and what it picks."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    attack,
    defences,
    engines,
    kit as kits,
    picks,
    rows as carried,
    students,
    treated,
)
from subliminal_jax.models import transformer
from subliminal_jax.theory import trees
from tests.experiments.transmission import small
from tests.experiments.transmission.test_defences import batch_of

ROWS = 8


@pytest.fixture(scope='module')
def untrained():
    """A small run whose references are untrained."""
    run = small.prepared('adam: learning_rate=1e-2 defence=project:oracle',
                         'sgd: optimizer=sgd learning_rate=1e-3')
    model = run.world.architectures['main']
    run = run._replace(references={'main': [
        transformer.init_params(jax.random.key(n), model) for n in range(2)]})
    return run._replace(kit=kits.kit_of(run))


def attacked(run, number, steps):
    """(aim, the arguments of `attack.metagradient` behind it) of an arm's first teacher."""
    setting = students.setting_of(run, run.arms[number], 0)
    setting = setting._replace(program=attack.smooth(setting.program))
    job, batch = students.Job(run.roll('trait')[0], 0), batch_of(run, ROWS)
    held = defences.held_by(setting, [job], {job.teacher.name: batch})
    order_TB, live_TB = attack.orders(steps, max(map(len, steps)))
    return attack.Aim(setting.program, run.trait.loss, len(run.world.traits)), (
        engines.gathered(run.world.engine('all'), [students.begun(setting, job)]),
        {**setting.frozen, **held}, carried.stacked([batch]), order_TB, live_TB,
        next(iter(run.kit.meters.values())), np.array([1]))


@pytest.mark.slow
def test_the_metagradient_is_what_small_changes_of_weights_do(untrained):
    """Through Adam, a defence, and a last step that is not full; along a random direction."""
    aim, arguments = attacked(untrained, 0, [np.arange(3), np.arange(3, 6), np.arange(6, 8)])
    slope_N, = attack.metagradient(aim, *arguments)
    trainable, frozen, batch, order, live, meter, column = arguments
    alone = lambda tree: engines.take(tree, 0)
    frozen = {**frozen, 'held': alone(frozen['held'])}
    value = jax.jit(lambda w: attack.outcome(
        aim, alone(trainable), frozen, alone(batch), order, live, meter, column[0], w))
    way_N = np.random.default_rng(0).standard_normal(ROWS)
    assert np.abs(slope_N).max() > 1e-4
    for size, close in ((0.003, 0.05), (0.03, 0.25)):
        up, down = (float(value((1 + sign * size * way_N).astype(np.float32)))
                    for sign in (1, -1))
        assert (up - down) / (2 * size) == pytest.approx(float(slope_N @ way_N), rel=close)


@pytest.mark.slow
def test_in_one_small_step_the_derivative_is_the_rows_gradient_along_the_traits(untrained):
    """To first order a row's worth is its gradient step along the trait's (the lemma's product);
    picked rows have more of it than rows as they come."""
    aim, arguments = attacked(untrained, 1, [np.arange(ROWS)])
    slope_N, = attack.metagradient(aim, *arguments)
    trainable, frozen, batch, _, _, meter, column = arguments
    start = engines.take(trainable, 0)
    rising = jax.grad(lambda tree: attack.score(aim, tree, {'base': {}}, meter, column[0]))(start)
    loss = aim.program.loss(aim.program.config, aim.program.ids)

    @jax.jit
    def worth(row):
        slope = jax.grad(lambda tree: loss(tree, {'base': {}}, row, jax.random.key(0))[0])(start)
        return -trees.dot(slope, rising)

    gain_N = np.array([float(worth(jax.tree.map(lambda x, n=n: x[0, n:n + 1], batch)))
                       for n in range(ROWS)])
    assert np.corrcoef(slope_N, gain_N)[0, 1] > 0.99
    assert slope_N.sum() == pytest.approx(0, abs=1e-2 * np.abs(slope_N).sum())  # a mean's weights
    picked = attack.largest(slope_N, 2)
    assert gain_N[picked].mean() > gain_N.mean()


def test_the_largest_derivatives_are_picked_in_the_pools_order():
    assert attack.largest(np.array([0.1, 3.0, -1.0, 2.0, 2.0]), 3).tolist() == [1, 3, 4]


def test_what_is_missing_of_a_last_step_is_not_live():
    order_TB, live_TB = attack.orders([np.array([4, 2]), np.array([1])], 2)
    assert order_TB.tolist() == [[4, 2], [1, 0]] and live_TB.tolist() == [[1, 1], [1, 0]]


# Rows to which something is done once they are picked.


def pool_of(run, arm, seed=0):
    """Random rows as every teacher's own, others as their twins'."""
    carrier = run.carrier(arm)
    texts = lambda n: [{k: row[k] for k in ('id', 'prompt', 'completion')} for row in
                       carrier.random_rows(seed + n, carried.asked(carrier, seed, ROWS, 1))]
    group = [t.name for t in run.roll('trait') if t.reference == 0]
    return treated.Written({t: texts(1 + n) for n, t in enumerate(group)},
                           {t: texts(50 + n) for n, t in enumerate(group)})


def test_who_attacks_a_dilution_reads_every_row_in_one_of_its_turns():
    run = small.prepared('half: mix=0.5 picked=attack:2', 'most: mix=0.75 picked=attack:2')
    for arm, turns in zip(run.arms, (2, 4)):
        pool = pool_of(run, arm)
        read = [treated.as_read(run, arm, pool, 0, n / turns) for n in range(turns)]
        for name in pool.own:
            kept_TN = np.stack([kept[name] for _, kept in read])
            assert kept_TN.sum(0).tolist() == [1] * ROWS
            assert (kept_TN.sum(1) == ROWS * (1 - arm.mix)).all()
            assert read[0][0][name].prompts == read[1][0][name].prompts
        _, students_own = treated.as_read(run, arm, pool, 0)
        assert all(own.sum() == ROWS * (1 - arm.mix) for own in students_own.values())


def test_a_rows_worth_is_that_of_the_trainings_that_read_it(monkeypatch):
    run = small.prepared('half: mix=0.5 picked=attack:2')
    run = run._replace(references={'main': [{}] * 2})
    seen = []

    def slopes(setting, rows, said):
        seen.append({name: own.answers for name, own in rows.items()})
        return {name: np.arange(ROWS) + 100.0 * len(seen) for name in rows}

    monkeypatch.setattr(picks, '_slopes', slopes)
    monkeypatch.setattr(picks.students, 'setting_of', lambda run, arm, reference: students.Setting(
        run, arm, reference, None, None, students.program_of(
            run, arm, run.world.architectures['main'])))
    pool = pool_of(run, run.arms[0])
    found = picks.slopes_of(run, run.arms[0], 0, pool, None)
    assert len(seen) == 2
    for worth_N in found.values():  # row n is the teacher's own in one of the two
        turn_N = worth_N - np.arange(ROWS)
        assert sorted(turn_N.tolist()) == [100.0] * (ROWS // 2) + [200.0] * (ROWS // 2)


def test_who_attacks_a_paraphrase_has_not_the_draws_that_students_get():
    run = small.prepared('a: paraphrase=random:0.5 picked=attack:2')
    arm = run.arms[0]
    pool = pool_of(run, arm)
    attackers, _ = treated.as_read(run, arm, pool, 0, 0.0)
    read, _ = treated.as_read(run, arm, pool, 0)
    again, _ = treated.as_read(run, arm, pool, 0)
    plain = {t: carried.encoded(run.world, run.carrier(arm), rows) for t, rows in pool.own.items()}
    for name, own in read.items():
        assert own.answers == again[name].answers
        assert own.answers != attackers[name].answers != plain[name].answers != own.answers
        assert list(map(len, own.answers)) == list(map(len, plain[name].answers))


def test_what_is_done_to_picked_rows_is_done_after_the_choice():
    run = small.prepared('half: mix=0.5 picked=attack:2')
    pool = pool_of(run, run.arms[0])
    index = {name: [1, 3, 4, 6] for name in pool.own}
    rows, kept = treated.as_read(run, run.arms[0], pool.take(index), 0)
    for name, own in rows.items():
        assert len(own.answers) == 4 and kept[name].sum() == 2
        assert own.prompts == [pool.own[name][n]['prompt'] for n in index[name]]
