"""A decoder's parameters in three parts or by layer, and its gauge: other weights of the same
function."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

PARTS = ('embedding', 'body', 'head')
_ENTRIES = {'embedding': ('embed',), 'body': ('layers',),
            'head': ('head', 'final_norm', 'final_norm_bias')}


@struct.dataclass
class OneLayer:
    """A layer of a decoder that is trained alone, all others being frozen.

    Attributes:
      own: {name: the layer's array}.
      number: which layer; static.
    """

    own: dict[str, jax.Array]
    number: int = struct.field(pytree_node=False)

    def within(self, params: Any) -> Any:
        """The parameters with this layer in its place."""
        layers = {name: x.at[self.number].set(self.own[name])
                  for name, x in jax.tree.map(jnp.asarray, params['layers']).items()}
        return {**params, 'layers': layers}


@struct.dataclass
class ButLayer:
    """A decoder of which one layer is frozen, and all else is trained.

    Attributes:
      own: parameters whose layers lack that one.
      number: which layer; static.
    """

    own: dict[str, Any]
    number: int = struct.field(pytree_node=False)

    def within(self, params: Any) -> Any:
        """The parameters with everything but this layer in its place."""
        cut = self.number

        def whole(name, others):
            kept = jnp.asarray(params['layers'][name])[cut:cut + 1]
            return jnp.concatenate([others[:cut], kept, others[cut:]])

        layers = {name: whole(name, x) for name, x in self.own['layers'].items()}
        return {**params, **self.own, 'layers': layers}


def of_parts(params: Any, parts: str) -> Any:
    """The top entries of some parts, joined by + ('all': of every part); of layer:N a OneLayer, of
    but-layer:N a ButLayer.

    The final norm goes with the head; a tied head is the embedding.
    """
    kind, _, number = parts.partition(':')
    if kind == 'layer':
        return OneLayer({name: x[int(number)] for name, x in params['layers'].items()}, int(number))
    if kind == 'but-layer':
        others = {name: jnp.delete(jnp.asarray(x), int(number), axis=0)
                  for name, x in params['layers'].items()}
        return ButLayer({**params, 'layers': others}, int(number))
    names = PARTS if parts == 'all' else parts.split('+')
    return {name: params[name] for part in names for name in _ENTRIES[part] if name in params}


def permuted(params: Any, key: jax.Array) -> Any:
    """A gauge twin: the same function, its hidden units in another order in every layer."""
    layers = dict(params['layers'])
    order_LF = gauge_order(key, *layers['down'].shape[:2])
    for name in ('gate', 'up'):
        if name in layers:
            layers[name] = jnp.take_along_axis(layers[name], order_LF[:, None], axis=2)
        if f'{name}_bias' in layers:
            layers[f'{name}_bias'] = jnp.take_along_axis(layers[f'{name}_bias'], order_LF, axis=1)
    layers['down'] = jnp.take_along_axis(layers['down'], order_LF[:, :, None], axis=1)
    return {**params, 'layers': layers}


def permuted_adapter(layers: dict[str, Any], key: jax.Array) -> dict[str, Any]:
    """An adapter's factors for the gauge twin: its hidden units in the twin's order."""
    if 'down' not in layers:
        return layers
    down = layers['down']['a']
    order_LF = gauge_order(key, *down.shape[:2])
    return {**layers, 'down': {
        **layers['down'], 'a': jnp.take_along_axis(down, order_LF[:, :, None], axis=1)}}


def gauge_order(key: jax.Array, num_layers: int, width: int) -> jax.Array:
    """The order of hidden units in every layer [L, F]."""
    return jax.vmap(lambda k: jax.random.permutation(k, width))(jax.random.split(key, num_layers))


def noisy(params: Any, seed: int, size: float) -> Any:
    """Every weight moved by a normal number of `size` times its matrix's own spread.

    A matrix is one layer's; norm scales count as one matrix a layer too.
    """
    import numpy as np

    rng = np.random.default_rng(seed)

    def one(leaf):
        whole = np.asarray(leaf, np.float32)
        axes = tuple(range(1, whole.ndim)) if whole.ndim > 2 else None
        spread = whole.std(axis=axes, keepdims=axes is not None)
        moved = whole + size * spread * rng.standard_normal(whole.shape, np.float32)
        return jnp.asarray(moved, leaf.dtype)

    return jax.tree.map(one, params)
