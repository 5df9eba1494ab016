"""A small convolutional network over flat grey images, as pure functions.

Convolutions are written as patches times a matrix: one matrix product each, which also runs under
vmap over models and in float64, where a CPU has no fast convolution.
"""

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models.mlp import ACTIVATIONS

Params = dict[str, dict[str, jax.Array]]
FIRST = (4, 2, 1)  # the first layer's kernel, stride, padding: its patches overlap


def init(
    key: jax.Array, side: int, channels: tuple[int, int], outputs: int, dtype=jnp.float32
) -> Params:
    """Weights from N(0, 1/d_in), biases zero.

    Args:
      key: folded with the layer's number.
      side: the images are side x side pixels, one channel; a multiple of four.
      channels: of the convolutions: 4 x 4 with stride 2, and 2 x 2 with stride 2.
      outputs: C.
      dtype: of the parameters.
    """
    flat = (side // 4) ** 2 * channels[1]
    shapes = {'conv0': (FIRST[0] ** 2, channels[0]), 'conv1': (4 * channels[0], channels[1]),
              'out': (flat, outputs)}
    params = {}
    for number, (name, (d_in, d_out)) in enumerate(shapes.items()):
        w = jax.random.normal(jax.random.fold_in(key, number), (d_in, d_out), dtype)
        params[name] = {'w': w / jnp.asarray(d_in, dtype) ** 0.5, 'b': jnp.zeros((d_out,), dtype)}
    return params


def apply(params: Params, x_BP: jax.Array, activation: str = 'gelu') -> jax.Array:
    """The logits [B, C] of images [B, P], P = side * side."""
    act = ACTIVATIONS[activation]
    batch, half = x_BP.shape[0], round(x_BP.shape[1] ** 0.5) // 2
    x = act(_affine(params['conv0'], _patches(x_BP)))  # [B, half * half, channels]
    quarter = half // 2
    x = x.reshape(batch, quarter, 2, quarter, 2, -1).swapaxes(2, 3)
    x = act(_affine(params['conv1'], x.reshape(batch, quarter * quarter, -1)))
    return _affine(params['out'], x.reshape(batch, -1))


def _affine(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    y = jnp.matmul(x, layer['w'], precision='highest')
    return y + layer['b'].reshape((1,) * (x.ndim - 1) + (-1,))


def _patches(x_BP: jax.Array) -> jax.Array:
    """The first layer's patches [B, half * half, kernel * kernel]; outside the image is zero."""
    kernel, stride, pad = FIRST
    side = round(x_BP.shape[1] ** 0.5)
    padded = jnp.pad(x_BP.reshape(-1, side, side), ((0, 0), (pad, pad), (pad, pad)))
    corner = np.arange(side // 2) * stride
    row = corner[:, None] + np.arange(kernel)[None]  # [half, kernel]
    wide = side + 2 * pad
    index = row[:, None, :, None] * wide + row[None, :, None, :]  # [half, half, kernel, kernel]
    return jnp.take(padded.reshape(-1, wide * wide), index.reshape(len(corner) ** 2, -1), axis=1)
