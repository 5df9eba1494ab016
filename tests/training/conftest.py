"""A tiny decoder, a teacher, an adapter and one padded batch for the tests of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora, params as specs
from subliminal_jax.training import batches

CONFIG = specs.tiny(40, width=16, num_kv_heads=2)
LAST = 5
LENGTHS = ((4, 5), (2, 3), (6, 1), (3, 4))


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
    made = lora.init_lora(jax.random.key(3), CONFIG, 2, alpha=4.0)
    return jax.tree.map(lambda x: x + 0.05, made)


@pytest.fixture(scope='session')
def batch():
    """Four rows of 6 + 5 columns: tokens 5..29 only, prompts padded left, completions right."""
    rng = np.random.default_rng(4)
    rows = [[rng.integers(5, 30, n).tolist() for n in pair] for pair in LENGTHS]
    packed = batches.pack(*zip(*rows), prompt_length=6, completion_length=LAST)
    packed['weight_BT'] *= np.array([[1.0], [0.5], [2.0], [1.0]], np.float32)
    return jax.tree.map(jnp.asarray, packed)
