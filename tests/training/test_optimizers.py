import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.runs import UserError
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer, make_schedule


def rates(num_steps=10, **fields):
    schedule = make_schedule(OptimizerConfig(learning_rate=0.8, **fields), num_steps)
    return [float(schedule(step)) for step in range(num_steps + 1)]


def test_schedules_at_known_steps():
    assert rates() == pytest.approx([0.8] * 11)
    linear = rates(schedule='linear')
    assert linear[:3] == pytest.approx([0.8, 0.72, 0.64]) and linear[10] == 0
    cosine = rates(schedule='cosine', end_fraction=0.25)
    assert [cosine[n] for n in (0, 5, 10)] == pytest.approx([0.8, 0.5, 0.2])
    warm = rates(schedule='linear', warmup_steps=3)
    assert warm[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warm[4] == pytest.approx(0.8 * 6 / 7) and warm[10] == pytest.approx(0, abs=1e-7)


def moved(grads, steps=1, **fields):
    """Where a weight of zero is after steps along the same gradients."""
    optimizer = make_optimizer(OptimizerConfig(**{'learning_rate': 0.1, **fields}), steps)
    weight, state = jnp.zeros_like(grads), optimizer.init(jnp.zeros_like(grads))
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, weight)
        weight = weight + updates
    return np.asarray(weight)


def test_the_three_optimisers_by_hand():
    grads = jnp.array([3.0, -0.02, 0.0])
    np.testing.assert_allclose(moved(grads, name='sgd'), [-0.3, 0.002, 0], rtol=1e-6)
    np.testing.assert_allclose(moved(grads, 2, name='sgd', momentum=0.5), [-0.75, 0.005, 0],
                               rtol=1e-6)
    np.testing.assert_array_equal(moved(grads, 2, name='sign'), np.float32([-0.2, 0.2, 0]))
    np.testing.assert_allclose(moved(grads, 3, name='adam'), [-0.3, 0.3, 0], rtol=1e-4)
    slow = moved(grads, name='adam', eps=1.0)
    np.testing.assert_allclose(slow, [-0.1 * 3 / 4, 0.1 * 0.02 / 1.02, 0], rtol=1e-4)


def test_clipping_shortens_a_gradient_and_keeps_its_direction():
    grads = jnp.array([3.0, -4.0])
    np.testing.assert_allclose(moved(grads, name='sgd', clip_norm=1.0), [-0.06, 0.08], rtol=1e-5)
    np.testing.assert_allclose(moved(grads, name='sgd', clip_norm=6.0), [-0.3, 0.4], rtol=1e-5)


def test_adam_on_a_quadratic_reaches_its_known_minimum():
    target = jnp.array([2.0, -1.0, 0.5])
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1, schedule='cosine'), 200)
    loss = lambda w: ((w - target) ** 2 * jnp.array([1.0, 4.0, 9.0])).sum()

    def body(_, carry):
        weight, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weight), state, weight)
        return weight + updates, state

    begin = jnp.zeros(3)
    weight, _ = jax.jit(lambda: jax.lax.fori_loop(0, 200, body, (begin, optimizer.init(begin))))()
    np.testing.assert_allclose(weight, target, atol=1e-3)


@pytest.mark.parametrize('fields, wanted', [
    ({'name': 'adamm'}, 'did you mean adam'), ({'schedule': 'cosin'}, 'did you mean cosine'),
    ({'warmup_steps': 10}, 'leaves nothing of 10')])
def test_what_cannot_be_asked(fields, wanted):
    with pytest.raises(UserError, match=wanted):
        make_optimizer(dataclasses.replace(OptimizerConfig(), **fields), 10)
