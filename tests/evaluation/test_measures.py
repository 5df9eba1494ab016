"""Distances between distributions, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.evaluation import measures


def test_drift_by_hand():
    before, after = np.log([[0.2, 0.2], [0.1, 0.4]]), np.log([[0.4, 0.1], [0.4, 0.4]])
    assert measures.drift(after, before) == pytest.approx(np.log(2))


def test_kl_and_mass_by_hand(strict):
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    logs = [jnp.asarray(np.log(x), jnp.float32)[None, None].repeat(2, 1) for x in (p, q)]
    weight = jnp.array([[1.0, 0.0]])
    assert float(measures.kl(*logs, weight)) == pytest.approx((p * np.log(p / q)).sum(), abs=1e-6)
    subset = jnp.array([True, False, True])
    assert float(measures.token_mass(logs[0], subset, weight)) == pytest.approx(0.75)
    assert float(measures.kl(logs[0], logs[0], weight)) == 0.0
    never = logs[0].at[..., 0].set(-jnp.inf)
    assert np.isfinite(measures.kl(never, logs[1], weight))
