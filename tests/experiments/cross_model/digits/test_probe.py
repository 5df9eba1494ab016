"""The probe's closed form, against least squares written another way."""

import numpy as np
import pytest
from scipy import optimize

from subliminal_jax.experiments.cross_model.digits.probe import ridge


def sums(x_NF, y_NC):
    z = np.hstack([x_NF, np.ones((len(x_NF), 1))])
    return z.T @ z, z.T @ y_NC


@pytest.fixture(scope='module')
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (300, 5))
    return x, x @ rng.normal(size=(5, 3)) + [1, -2, 5] + 0.1 * rng.normal(size=(300, 3))


def test_without_a_penalty_it_is_least_squares(drawn):
    x, y = drawn
    z = np.hstack([x, np.ones((300, 1))])
    expected = np.linalg.lstsq(z, y, rcond=None)[0]
    np.testing.assert_allclose(ridge(*sums(x, y), 1e-12), expected, atol=1e-8)


def test_it_minimises_the_penalised_squares(drawn):
    x, y = drawn
    found = ridge(*sums(x, y), 0.3)
    penalty = 0.3 * x.var(axis=0).mean()

    def loss(flat):
        w, b = flat[:-1], flat[-1]
        return np.mean((y[:, 0] - x @ w - b) ** 2) + penalty * w @ w

    best = optimize.minimize(loss, np.zeros(6), method='BFGS', tol=1e-9)
    np.testing.assert_allclose(found[:, 0], best.x, atol=1e-4)


def test_a_constant_is_not_shrunk_and_scale_changes_nothing(drawn):
    x, y = drawn
    assert ridge(*sums(x, y), 1e6)[-1] == pytest.approx(y.mean(0), abs=1e-3)
    large = ridge(*sums(1000 * x, y), 0.3)
    np.testing.assert_allclose(1000 * large[:-1], ridge(*sums(x, y), 0.3)[:-1], rtol=1e-6)


def test_a_dead_layer_guesses_the_most_frequent_class():
    y = np.eye(10)[[3] * 6 + [7] * 4]
    found = ridge(*sums(np.zeros((10, 4)), y), 1e-3)
    assert np.isfinite(found).all() and found[-1].argmax() == 3
