"""float64 for every test of the theory, and a tiny network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import mlp

SIZES = (5, 7, 6, 4)
SEEN_BP = np.random.default_rng(2).standard_normal((8, SIZES[0]))


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def apply(params, x_BP):
    return mlp.apply(params, x_BP, 'tanh')


def trait_loss(params):
    log_p = jax.nn.log_softmax(apply(params, SEEN_BP)[:, :2], axis=-1)
    return -jnp.mean(log_p[jnp.arange(8), jnp.arange(8) % 2])


@pytest.fixture
def tiny(x64):
    """(apply, params, x, trait_loss): an MLP 5-7-6-4 with tanh, its teacher's loss on 2 logits.

    The functions are the same in every test, so that programs of them can be shared.
    """
    rng = np.random.default_rng(0)
    layers = [{'w': rng.standard_normal((d_in, d_out)) / d_in**0.5,
               'b': 0.1 * rng.standard_normal(d_out)} for d_in, d_out in zip(SIZES, SIZES[1:])]
    x_BP = rng.standard_normal((6, SIZES[0]))
    return apply, jax.tree.map(jnp.asarray, layers), jnp.asarray(x_BP), trait_loss
