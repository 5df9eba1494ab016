"""Models of a world as trees: their parts, their gauge, their files, their logits."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError

EMBEDDING, HEAD = 'embed', ('head', 'final_norm')


def part_of(name: str) -> str:
    """The part that a leaf belongs to: embedding, head (the final norm with it) or body."""
    top = name.split('/')[0]
    if top == EMBEDDING:
        return 'embedding'
    return 'head' if top in HEAD else 'body'


def parts(params: Any) -> Any:
    """A tree like params with each leaf's part."""
    def name(path, leaf):
        del leaf
        return part_of(jax.tree_util.keystr(path, simple=True, separator='/'))

    return jax.tree.map_with_path(name, params)


def split(params: Any, trained: Sequence[str]) -> tuple[Any, Any]:
    """params as (trainable, held), each with None where the other has its leaves."""
    named = parts(params)
    trainable = jax.tree.map(lambda p, x: x if p in trained else None, named, params)
    held = jax.tree.map(lambda p, x: None if p in trained else x, named, params)
    return trainable, held


def join(trainable: Any, held: Any) -> Any:
    """The inverse of `split`."""
    return jax.tree.map(lambda a, b: b if a is None else a, trainable, held,
                        is_leaf=lambda x: x is None)


def logits(config: Any, params: Any, tokens_BT: jax.Array, lora: Any = None) -> jax.Array:
    """float32 [B, T, V] of rows padded on the right: what is padding is never looked back at."""
    batch, length = tokens_BT.shape
    positions_BT = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], (batch, length))
    mask_BTS = jnp.broadcast_to(
        jnp.tril(jnp.ones((length, length), bool))[None], (batch, length, length))
    return transformer.forward(params, tokens_BT, positions_BT, mask_BTS, config, lora=lora)


def permuted(params: Any, key: jax.Array) -> Any:
    """A gauge twin: the same function, its hidden units in another order in every layer."""
    layers = dict(params['layers'])
    count, _, width = layers['gate'].shape
    order_LF = jax.vmap(lambda k: jax.random.permutation(k, width))(jax.random.split(key, count))
    for name in ('gate', 'up'):
        layers[name] = jnp.take_along_axis(layers[name], order_LF[:, None], axis=2)
    layers['down'] = jnp.take_along_axis(layers['down'], order_LF[:, :, None], axis=1)
    return {**params, 'layers': layers}


def take(stacked: Any, index: Any) -> Any:
    """The models at index (a number, or several) of stacked ones."""
    return jax.tree.map(lambda x: x[index], stacked)


def stack(trees: Sequence[Any]) -> Any:
    """Trees as one, with a leading axis."""
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def repeated(tree: Any, count: int) -> Any:
    """One model as `count` stacked ones."""
    return jax.tree.map(lambda x: np.stack([x] * count), tree)


def concatenate(stacks: Sequence[Any]) -> Any:
    """Stacked models, one stack after the other, as NumPy arrays."""
    return jax.tree.map(lambda *x: np.concatenate([np.asarray(a) for a in x]), *stacks)


def save(path: pathlib.Path, tree: Any) -> None:
    """Writes a tree of nested dicts of arrays as one npz."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator='/'): np.asarray(x) for p, x in leaves}
    with path.open('wb') as file:
        np.savez(file, **named)


def load(path: pathlib.Path) -> Any:
    """Reads what `save` wrote."""
    made: dict = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            *groups, last = name.split('/')
            place = made
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = arrays[name]
    return made


def finite(tree: Any, what: str, hint: str) -> Any:
    """The tree, unless a number in it is not finite.

    Raises:
      UserError: training has diverged.
    """
    if not all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(tree)):
        raise UserError(f'{what} has diverged (a weight is NaN or infinite): {hint}')
    return tree

