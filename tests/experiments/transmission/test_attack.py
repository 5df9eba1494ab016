"""The attacker: derivatives through a whole training, and what it picks."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    attack,
    defences,
    engines,
    kit as kits,
    rows as carried,
    students,
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
