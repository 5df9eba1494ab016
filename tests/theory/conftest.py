"""float64 for every test of the theory, and a tiny network."""

import jax
import jax.numpy as jnp
import pytest

from subliminal_jax.models import mlp


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def tiny(key):
    """(apply, params, x, trait_loss): an MLP 5-7-6-4 with tanh, its teacher's loss on 2 logits."""
    params = mlp.init(key, (5, 7, 6, 4), dtype=jnp.float64)
    params = jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(jax.random.fold_in(key, p.size), p.shape, p.dtype),
        params)

    def apply(p, x_BP):
        return mlp.apply(p, x_BP, 'tanh')

    x_BP = jax.random.normal(jax.random.fold_in(key, 1), (6, 5), jnp.float64)
    seen_BP = jax.random.normal(jax.random.fold_in(key, 2), (8, 5), jnp.float64)
    labels_B = jnp.arange(8) % 2

    def trait_loss(p):
        log_p = jax.nn.log_softmax(apply(p, seen_BP)[:, :2], axis=-1)
        return -jnp.mean(jnp.take_along_axis(log_p, labels_B[:, None], axis=1))

    return apply, params, x_BP, trait_loss
