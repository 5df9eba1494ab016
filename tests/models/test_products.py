"""Products in bfloat16: forwards as they were, backwards of bfloat16 operands too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import products


def pair(key, dtype):
    one, two = jax.random.split(key)
    return (jax.random.normal(one, (2, 5, 7)).astype(dtype),
            jax.random.normal(two, (2, 7, 4)).astype(dtype))


def plain(x, y):
    return jnp.matmul(x.astype(jnp.float32), y.astype(jnp.float32), precision='highest')


@pytest.mark.parametrize('dtype, size', [('float32', 0), ('bfloat16', 0.01)])
def test_products_and_their_derivatives_are_those_of_float32(key, dtype, size):
    x, y = (a.astype(jnp.float32) for a in pair(key, dtype))  # of values that bfloat16 has
    ours = lambda x, y: jnp.sin(products.matmul(x.astype(dtype), y.astype(dtype), jnp.float32))
    theirs = lambda x, y: jnp.sin(plain(x, y))
    np.testing.assert_allclose(ours(x, y), theirs(x, y), rtol=1e-6, atol=1e-6)
    for of in (lambda f: jax.grad(lambda x, y: f(x, y).sum(), (0, 1))(x, y),
               lambda f: jax.jvp(f, (x, y), (y.swapaxes(1, 2)[:, :1] + 0 * x, y))[1],
               lambda f: jax.vmap(f)(x, y)):
        for a, b in zip(jax.tree.leaves(of(ours)), jax.tree.leaves(of(theirs))):
            assert jnp.abs(a - b).max() <= (size or 1e-5) * jnp.abs(b).max()


def test_a_turned_product_is_that_of_the_transpose(key):
    x, y = (a[0] for a in pair(key, 'float32'))
    np.testing.assert_array_equal(products.matmul_turned(x, y.T, jnp.float32),
                                  products.matmul(x, y, jnp.float32))


def test_what_is_frozen_costs_no_product(key):
    """With respect to x alone there are two products: forwards, and one back."""
    x, y = pair(key, 'bfloat16')
    graph = jax.make_jaxpr(jax.grad(lambda x: products.matmul(x, y, jnp.float32).sum()))(x)
    assert str(graph).count('dot_general') <= 2
