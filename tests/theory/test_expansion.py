"""Taylor terms against closed forms (quadratics, linear models) and against slopes (a tiny MLP)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import theory
from subliminal_jax.theory import reach, trees

EPS = np.logspace(-5, -1, 9)

# Of the tiny network, whose functions all tests share.
teacher_step = jax.jit(theory.teacher_step, static_argnums=0)
student_step = jax.jit(theory.student_step, static_argnums=(0, 1))
expand = jax.jit(theory.expand, static_argnums=(0, 1))
curve_of = jax.jit(theory.curve, static_argnums=(0, 1))


@functools.cache
def smooth_loss(name):
    return theory.squared_error() if name == 'squared_error' else theory.cross_entropy([0, 2, 3])


def test_linear_model_squared_error_is_exact(key):
    """f = x W: dS . dT = 2 eps E|x dT|^2 at every eps, and B = 0."""
    w, direction = jax.random.normal(key, (2, 4, 3), jnp.float64)
    x = jax.random.normal(jax.random.fold_in(key, 1), (7, 4), jnp.float64)
    apply = lambda p, x: x @ p
    expected = 2 * np.mean(np.sum(np.asarray(x @ direction) ** 2, axis=1))
    found = theory.expand(apply, theory.squared_error(), w, direction, x)
    np.testing.assert_allclose(found.first, expected, rtol=1e-12)
    np.testing.assert_allclose(found.second, 0, atol=1e-12)
    eps = jnp.array([1e-3, 1.0, 50.0])
    curve = theory.curve(apply, theory.squared_error(), w, direction, x, eps)
    np.testing.assert_allclose(curve.total, eps * expected, rtol=1e-10)
    np.testing.assert_allclose(
        found.step, 2 * x.T @ (x @ direction) / 7, rtol=1e-12, atol=1e-14)


def test_linear_model_weighted_squared_error(key):
    w, direction = jax.random.normal(key, (2, 4, 3), jnp.float64)
    x = jax.random.normal(jax.random.fold_in(key, 1), (7, 4), jnp.float64)
    weights = np.array([0.5, 0, 3.0])
    found = theory.gauss_newton_form(
        lambda p, x: x @ p, theory.squared_error(weights), w, direction, x)
    expected = 2 * np.mean(np.sum(weights * np.asarray(x @ direction) ** 2, axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_quadratic_model(key):
    """f(theta) = theta_i^2 at one input: z'' = 2 dT^2, so B = E[v . w z''] in closed form."""
    theta, direction = jax.random.normal(key, (2, 5), jnp.float64)
    apply = lambda p, x: (p**2)[None] * x
    x = jnp.ones((1, 5))
    found = theory.expand(apply, theory.squared_error(), theta, direction, x)
    v, bend = 2 * theta * direction, 2 * direction**2
    np.testing.assert_allclose(found.first, 2 * jnp.sum(v * v), rtol=1e-12)
    np.testing.assert_allclose(found.second, jnp.sum(v * bend), rtol=1e-12)
    # z is quadratic, so the expansion ends: dS . dT = eps A + eps^2 B exactly
    curve = theory.curve(apply, theory.squared_error(), theta, direction, x, EPS)
    np.testing.assert_allclose(curve.total, EPS * found.first + EPS**2 * found.second, rtol=1e-9)


def test_linear_softmax_second_term_is_the_third_moment(key):
    """For f = x W under cross-entropy, B = E[k3(v)] / 2 under the softmax."""
    w, direction = jax.random.normal(key, (2, 4, 3), jnp.float64)
    x = jax.random.normal(jax.random.fold_in(key, 1), (7, 4), jnp.float64)
    found = theory.expand(lambda p, x: x @ p, theory.cross_entropy(), w, direction, x)
    p, v = np.asarray(jax.nn.softmax(x @ w)), np.asarray(x @ direction)
    mean = np.sum(p * v, axis=1, keepdims=True)
    np.testing.assert_allclose(
        found.first, np.mean(np.sum(p * (v - mean) ** 2, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(
        found.second, np.mean(np.sum(p * (v - mean) ** 3, axis=1)) / 2, rtol=1e-10)


@pytest.mark.parametrize('name', ['squared_error', 'cross_entropy'])
def test_slopes_two_and_three(tiny, name):
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    loss = smooth_loss(name)
    found = expand(apply, loss, params, direction, x)
    curve = curve_of(apply, loss, params, direction, x, EPS)
    one = np.abs(curve.total - EPS * found.first)
    two = np.abs(curve.total - EPS * found.first - EPS**2 * found.second)
    assert abs(reach.remainder_slope(EPS, one, curve.floor) - 2) < 0.1
    assert abs(reach.remainder_slope(EPS, two, curve.floor) - 3) < 0.1
    # a wrong second-order term shows as a slope of 2
    wrong = np.abs(curve.total - EPS * found.first - 0.9 * EPS**2 * found.second)
    assert reach.remainder_slope(EPS, wrong, curve.floor) < 2.5


@pytest.mark.parametrize('name', ['squared_error', 'cross_entropy'])
def test_teachers_loss_second_order(tiny, name):
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    loss, alpha = smooth_loss(name), 0.7
    found = expand(apply, loss, params, direction, x)
    second = theory.loss_second_order(trait_loss, params, found, alpha)

    @jax.jit
    def change(eps):
        targets = theory.teacher_outputs(apply, params, direction, eps, x)
        step = theory.student_step(apply, loss, params, {'x': x, 'targets': targets})
        return theory.loss_change(trait_loss, params, step, alpha)

    eps = np.logspace(-4, -1, 7)
    changes = np.array([change(e) for e in eps])
    assert np.all(changes[:4] < 0)
    rest = np.abs(changes + alpha * eps * found.first - eps**2 * second)
    assert abs(reach.remainder_slope(eps, rest, np.full(7, 2e-16)) - 3) < 0.1


def test_curvature_is_the_hessians(tiny, key):
    _, params, _, trait_loss = tiny
    u = jax.tree.map(lambda p: jax.random.normal(key, p.shape, p.dtype), params)
    product = jax.jit(lambda p, v: jax.jvp(jax.grad(trait_loss), (p,), (v,))[1])(params, u)
    found = jax.jit(theory.curvature, static_argnums=0)(trait_loss, params, u)
    np.testing.assert_allclose(found, trees.dot(u, product), rtol=1e-10)


def test_lemma_for_any_displacement(tiny, key):
    """dS . dT >= 0 does not need dT to be a gradient step."""
    apply, params, x, _ = tiny
    for n in range(5):
        direction = jax.tree.map(lambda p, n=n: jax.random.normal(
            jax.random.fold_in(key, n), p.shape, p.dtype), params)
        for name in ('squared_error', 'cross_entropy'):
            curve = curve_of(apply, smooth_loss(name), params, direction, x, EPS[:3])
            assert np.all(curve.total > 0)


def test_one_logit_teaches_nothing(tiny):
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    loss = theory.cross_entropy([3])
    found = expand(apply, loss, params, direction, x)
    assert found.first == 0 and abs(found.second) < 1e-18
    assert np.all(curve_of(apply, loss, params, direction, x, EPS).total == 0)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(found.step))


def test_curve_is_the_gradients_inner_product(tiny, key):
    """From another start too, and its two parts are two students' gradients."""
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    student = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(key, p.shape, p.dtype), params)
    for name in ('squared_error', 'cross_entropy'):
        loss = smooth_loss(name)
        curve = curve_of(apply, loss, params, direction, x, jnp.array([0.2]), student)
        untrained = {'x': x, 'targets': apply(params, x)}
        trained = {'x': x, 'targets': theory.teacher_outputs(apply, params, direction, 0.2, x)}
        inner = [trees.dot(student_step(apply, loss, student, b), direction)
                 for b in (untrained, trained)]
        np.testing.assert_allclose(curve.imitation, inner[0], rtol=1e-10)
        np.testing.assert_allclose(curve.trait, [inner[1] - inner[0]], rtol=1e-8)
        slope = jax.jit(theory.trait_slope, static_argnums=(0, 1))(
            apply, loss, params, direction, x, student)
        small = curve_of(apply, loss, params, direction, x, jnp.array([1e-6]), student).trait
        np.testing.assert_allclose(small / 1e-6, slope, rtol=1e-4)


def test_masks_of_any_kind(tiny):
    """A sequence of ids, a NumPy mask, a JAX mask and a traced one are the same loss."""
    apply, params, x, trait_loss = tiny
    direction = teacher_step(trait_loss, params)
    mask = np.array([True, False, True, True])

    def curve(ids):
        return theory.curve(apply, theory.cross_entropy(ids), params, direction, x, EPS).total

    expected = curve([0, 2, 3])
    for ids in (mask, jnp.asarray(mask), jnp.array([0, 2, 3])):
        np.testing.assert_allclose(curve(ids), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(curve)(mask), expected, rtol=1e-9)
    weighted = theory.curve(
        apply, theory.squared_error(jnp.asarray(mask)), params, direction, x, EPS).total
    plain = theory.curve(
        apply, theory.squared_error([1.0, 0, 1, 1]), params, direction, x, EPS).total
    np.testing.assert_allclose(weighted, plain, rtol=1e-12)
