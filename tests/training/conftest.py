"""A tiny decoder, a teacher, an adapter and packed rows for the tests of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora, params as specs
from subliminal_jax.training import tries as packing

CONFIG = specs.tiny(40, width=16, num_kv_heads=2)
LENGTHS = ((4, 5), (2, 3), (6, 1), (3, 4))
ROW_WEIGHTS = (1.0, 0.5, 2.0, 1.0)


@pytest.fixture(scope='session')
def config():
    return CONFIG


@pytest.fixture(scope='session')
def params():
    return specs.init_params(jax.random.key(1), CONFIG)


@pytest.fixture(scope='session')
def teacher(params):
    noise = lambda path, x: x + 0.1 * jax.random.normal(
        jax.random.fold_in(jax.random.key(2), x.size), x.shape)
    return jax.tree.map_with_path(noise, params)


@pytest.fixture(scope='session')
def adapter():
    fresh = lora.init_lora(jax.random.key(3), CONFIG, 2, alpha=4.0)
    return jax.tree.map(lambda x: x + 0.05, fresh)


@pytest.fixture(scope='session')
def rows():
    """Four rows of tokens 5..29."""
    rng = np.random.default_rng(4)
    return [packing.Row(*(rng.integers(5, 30, n).tolist() for n in pair)) for pair in LENGTHS]


@pytest.fixture(scope='session')
def batch(rows):
    """The rows, each packed alone, of unequal weight."""
    return {'tries': weighed(packing.pack([[row] for row in rows], 4), [[w] for w in ROW_WEIGHTS])}


def weighed(tries, weights):
    """Packed rows whose rows weigh as is said: of each pack, of each of its rows."""
    weight_BK = np.array(tries.weight_BK)
    for pack, own in enumerate(weights):
        weight_BK[pack] *= np.array(own)[np.minimum(tries.row_BK[pack], len(own) - 1)]
    return jax.tree.map(jnp.asarray, packing.weighted(tries, weight_BK))
