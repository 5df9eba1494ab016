"""The multilayer perceptron of the MNIST experiment, as pure functions over a list of layers.

Params are a list of `{'w': [in, out], 'b': [out]}` (no 'b' without biases). Several models that
read the *same* inputs can be stacked along an axis S: the first layer's weights as [P, S, H], so
that one matrix product serves all of them, everything else with S in front.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Params = list[dict[str, jax.Array]]

ACTIVATIONS = {
    'relu': jax.nn.relu,
    'gelu': jax.nn.gelu,
    'sigmoid': jax.nn.sigmoid,
    'tanh': jnp.tanh,
    'softplus': jax.nn.softplus,
}


def init(key: jax.Array, sizes: Sequence[int], use_bias: bool = True, dtype=jnp.float32) -> Params:
    """Weights drawn from N(0, 1/d_in), biases zero (the published recipe).

    Args:
      key: folded with the layer's number.
      sizes: widths from the input to the output, at least two.
      use_bias: whether layers have biases.
      dtype: of the parameters.
    """
    layers = []
    for number, (d_in, d_out) in enumerate(zip(sizes[:-1], sizes[1:])):
        w = jax.random.normal(jax.random.fold_in(key, number), (d_in, d_out), dtype)
        layer = {'w': w / jnp.asarray(d_in, dtype) ** 0.5}
        layers.append({**layer, 'b': jnp.zeros((d_out,), dtype)} if use_bias else layer)
    return layers


def apply(params: Params, x_BP: jax.Array, activation: str = 'relu') -> jax.Array:
    """The logits [B, C] of inputs [B, P]."""
    act = ACTIVATIONS[activation]
    *hidden, last = params
    for layer in hidden:
        x_BP = act(_affine(layer, x_BP))
    return _affine(last, x_BP)


def _affine(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    y = x @ layer['w']
    return y + layer['b'][None] if 'b' in layer else y


def stack_axes(params: Params) -> list[dict[str, int]]:
    """Along which axis each array of a stack carries S: 1 for the first layer's weights, else 0."""
    first, *rest = params
    return [{name: int(name == 'w') for name in first}] + [dict.fromkeys(p, 0) for p in rest]


def stack(models: Sequence[Params]) -> Params:
    """Stacks models of equal sizes along S."""
    return jax.tree.map(
        lambda axis, *leaves: jnp.stack(leaves, axis), stack_axes(models[0]), *models
    )


def unstack(params: Params) -> list[Params]:
    """The models of a stack."""
    axes = stack_axes(params)
    count = params[0]['w'].shape[1]
    return [
        jax.tree.map(lambda axis, leaf, i=i: jnp.take(leaf, i, axis), axes, params)
        for i in range(count)
    ]


def apply_stack(params: Params, x_BP: jax.Array, activation: str = 'relu') -> jax.Array:
    """The logits [S, B, C] of a stack on the same inputs [B, P]."""

    def one(model: Any, x: jax.Array) -> jax.Array:
        return apply(model, x, activation)

    return jax.vmap(one, in_axes=(stack_axes(params), None))(params, x_BP)
