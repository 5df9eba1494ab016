"""Searches, slopes and certificates on functions whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_jax import theory
from subliminal_jax.theory import reach, steps, trees

GRID = 10.0 ** np.arange(-3.0, 3)


@pytest.mark.parametrize('root', [0.02, 5.0, 80.0])
def test_search_finds_the_root(root):
    found = reach.search(lambda e: e * (root - e), jnp.asarray(GRID), halvings=20)
    np.testing.assert_allclose(found, root, rtol=1e-4)
    known = GRID[:3] * (root - GRID[:3])
    np.testing.assert_allclose(
        reach.search(lambda e: e * (root - e), jnp.asarray(GRID), 20, known), found, rtol=1e-12)


def test_search_at_the_ends():
    assert reach.search(lambda e: -e, jnp.asarray(GRID)) == 0
    assert reach.search(lambda e: e, jnp.asarray(GRID)) == GRID[-1]


def test_second_order_roots():
    np.testing.assert_allclose(reach.second_order_eps(3.0, -1.5), 2)
    assert reach.second_order_eps(3.0, 1.0) == np.inf
    np.testing.assert_allclose(reach.second_order_alpha(3.0, 4.0), 1.5)
    assert reach.second_order_alpha(3.0, -1.0) == np.inf


def test_slope_ignores_rounding():
    eps = np.logspace(-6, 0, 13)
    floor = np.full(13, 1e-16)
    assert abs(reach.remainder_slope(eps, 2 * eps**3 + 1e-16, floor) - 3) < 0.02
    assert reach.remainder_slope(eps, np.full(13, 1e-16), floor) is None


def test_adam_first_step_is_optaxs(key):
    step = {'w': jnp.array([1e-3, -1e-8, 0.0, 2e-9])}
    optimizer = optax.adam(1.0)
    grads = jax.tree.map(jnp.negative, step)
    updates, _ = optimizer.update(grads, optimizer.init(step), step)
    np.testing.assert_allclose(steps.adam_first_step(step)['w'], updates['w'], rtol=1e-7)


@pytest.mark.parametrize('name', ['squared_error', 'cross_entropy'])
def test_certificate_is_kept(name):
    """Softmax regression: below the certified eps the teacher's loss falls, at every eps tried."""
    loss = theory.masked_loss(name, jnp.ones(3, bool))
    apply = lambda p, x: x @ p

    def loss_of(seen):
        return lambda p: -jnp.mean(jax.nn.log_softmax(seen @ p)[jnp.arange(6), jnp.arange(6) % 3])

    @jax.jit
    def expanded(w, x, seen):
        direction = theory.teacher_step(loss_of(seen), w)
        return direction, theory.expand(apply, loss, w, direction, x)

    @jax.jit
    def change(w, x, seen, direction, eps):
        targets = theory.teacher_outputs(apply, w, direction, eps, x)
        step = theory.student_step(apply, loss, w, {'x': x, 'targets': targets})
        return theory.loss_change(loss_of(seen), w, step, 1.0)

    rng = np.random.default_rng(0)
    for _ in range(5):
        w, (x, seen) = rng.standard_normal((4, 3)), rng.standard_normal((2, 6, 4))
        direction, found = expanded(w, x, seen)
        smooth = float(np.linalg.eigvalsh(seen @ seen.T / 6)[-1]) / 2
        v = x @ np.asarray(direction)
        spread = v.max(axis=1) - v.min(axis=1)
        bound = reach.certified_eps_linear(
            name, float(found.first), float(trees.norm(found.step)), smooth, 1.0,
            reach.THIRD_MOMENT * np.mean(spread**3),
            np.mean(spread * np.linalg.norm(x, axis=1)) / 2)
        assert bound > 0
        for eps in bound * np.array([1e-3, 0.1, 0.5, 0.99]):
            assert change(w, x, seen, direction, eps) < 0


def test_no_certificate_without_a_form():
    assert reach.certified_eps_linear('squared_error', 0.0, 1.0, 1.0, 1.0) is None
