"""The multilayer perceptron of the MNIST experiment, as pure functions over a list of layers.

Params are a list of `{'w': [in, out], 'b': [out]}` (no 'b' without biases). Several models that
read the *same* inputs can be stacked along an axis S in front, with weights [S, out, in] and
activations [S, features, batch]: features first. So the first layer of all of them is one matrix
product, and no product of the forward or backward pass needs a transposed copy of a large array.
"""

from collections.abc import Sequence

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
    y = jnp.matmul(x, layer['w'], precision='highest')
    return y + layer['b'][None] if 'b' in layer else y


def stack(models: Sequence[Params]) -> Params:
    """Stacks models of equal sizes: weights [S, out, in], biases [S, out]."""
    layers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    return [{**layer, 'w': layer['w'].swapaxes(1, 2)} for layer in layers]


def unstack(params: Params) -> list[Params]:
    """The models of a stack."""
    layers = [{**layer, 'w': layer['w'].swapaxes(1, 2)} for layer in params]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(len(layers[0]['w']))]


def hidden_stack(params: Params, x_BP: jax.Array, activation: str = 'relu') -> jax.Array:
    """The last hidden layer [S, F, B] of a stack on the same inputs [B, P], after its activation;
    the stack has a hidden layer."""
    act = ACTIVATIONS[activation]
    first, *rest = params[:-1]
    y_SFB = _with_bias(first, jnp.einsum('sfp,bp->sfb', first['w'], x_BP, precision='highest'))
    for layer in rest:
        y_SFB = _with_bias(layer, jnp.einsum('sgf,sfb->sgb', layer['w'], act(y_SFB),
                                               precision='highest'))
    return act(y_SFB)


def apply_stack(params: Params, x_BP: jax.Array, activation: str = 'relu') -> jax.Array:
    """The logits [S, C, B] of a stack on the same inputs [B, P]."""
    last = params[-1]
    if len(params) == 1:
        return _with_bias(last, jnp.einsum('scp,bp->scb', last['w'], x_BP, precision='highest'))
    x_SFB = hidden_stack(params, x_BP, activation)
    return _with_bias(last, jnp.einsum('scf,sfb->scb', last['w'], x_SFB, precision='highest'))


def _with_bias(layer: dict[str, jax.Array], y_SFB: jax.Array) -> jax.Array:
    return y_SFB + layer['b'][..., None] if 'b' in layer else y_SFB
