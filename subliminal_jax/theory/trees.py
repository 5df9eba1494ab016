"""Small linear algebra over pytrees, and the checks that two trees can be added."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models.params import wide
from subliminal_jax.runs import UserError


def dot(a: Any, b: Any) -> jax.Array:
    """The inner product of two trees of equal structure.

    Products and sums are float32, or float64 where the leaves are: in bfloat16 a sum stops to grow
    after a few hundred terms.
    """
    def one(x, y):
        dtype = wide(jnp.result_type(x, y))
        return jnp.sum(jnp.asarray(x, dtype) * jnp.asarray(y, dtype))

    return sum(jax.tree.leaves(jax.tree.map(one, a, b)))


def norm(a: Any) -> jax.Array:
    """The Euclidean norm of a tree."""
    return jnp.sqrt(dot(a, a))


def scale(a: Any, factor: jax.Array | float) -> Any:
    """factor * a."""
    return jax.tree.map(lambda x: x * jnp.asarray(factor, x.dtype), a)


def add(a: Any, b: Any, factor: jax.Array | float = 1.0) -> Any:
    """a + factor * b, leaf by leaf in the dtype of a."""
    return jax.tree.map(lambda x, y: x + jnp.asarray(factor, x.dtype) * y.astype(x.dtype), a, b)


def subtract(a: Any, b: Any) -> Any:
    """a - b."""
    return jax.tree.map(jnp.subtract, a, b)


def cosine(a: Any, b: Any) -> jax.Array:
    """The cosine of the angle between two trees; 0 where either is zero."""
    size = norm(a) * norm(b)
    return jnp.where(size > 0, dot(a, b) / jnp.where(size > 0, size, 1), 0)


def signed_dot(a: Any, like: Any, key: jax.Array) -> jax.Array:
    """The inner product of a tree with random signs, in every leaf as long as `like` is there.

    The direction is as long as `like` in all, and never exists as a whole.
    """
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(like), strict=True)
    # Words are drawn apart: XLA would else hash anew for each of the 32 signs in one.
    return sum(_signed_sum(x, y, sign_words(jax.random.fold_in(key, n), x.shape))
               for n, (x, y) in enumerate(pairs))


def signed_dot_stacked(a: Any, like: Any, key: jax.Array) -> jax.Array:
    """`signed_dot` of stacked trees [M], the same signs for all of them."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(like), strict=True)
    return sum(_signed_sums(x, y, sign_words(jax.random.fold_in(key, n), x.shape[1:]))
               for n, (x, y) in enumerate(pairs))


@functools.partial(jax.jit, static_argnames='shape')
def sign_words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 words with one random bit a number of an array, 32 along its last axis in each."""
    return jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 32)), jnp.uint32)


def signed(leaf: jax.Array, words: jax.Array) -> jax.Array:
    """The leaf, with the sign changed where `sign_words` has a 0."""
    bits = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    bits = bits.reshape(*leaf.shape[:-1], -1)[..., :leaf.shape[-1]]
    return jnp.where(bits.astype(bool), leaf, -leaf)


def _sum_of_signed(leaf, like, words):
    length = jnp.sqrt(jnp.mean(like.astype(wide(like.dtype))**2))
    return length * jnp.sum(signed(leaf.astype(wide(leaf.dtype)), words))


_signed_sum = jax.jit(_sum_of_signed)
_signed_sums = jax.jit(jax.vmap(_sum_of_signed, in_axes=(0, 0, None)))


def check_same(a: Any, b: Any, name_a: str, name_b: str) -> None:
    """Checks that two trees have the same leaves.

    Raises:
      UserError: they differ; the first leaf that does is named, with both shapes or dtypes.
    """
    leaves_a, leaves_b = _leaves(a), _leaves(b)
    for path in sorted({*leaves_a, *leaves_b}):
        if path not in leaves_a or path not in leaves_b:
            there, absent = (name_a, name_b) if path in leaves_a else (name_b, name_a)
            raise UserError(f'{name_a} and {name_b} are different trees: {path or "the root"} is '
                            f'in {there} and not in {absent}; the theorem needs one architecture')
        shape_a, shape_b = np.shape(leaves_a[path]), np.shape(leaves_b[path])
        if shape_a != shape_b:
            raise UserError(f'{name_a} and {name_b} are different trees: {path or "the root"} has '
                            f'shape {shape_a} in {name_a} and {shape_b} in {name_b}; the theorem '
                            'needs one architecture')
        dtype_a, dtype_b = leaves_a[path].dtype, leaves_b[path].dtype
        if dtype_a != dtype_b:
            raise UserError(f'{name_a} and {name_b} are different trees: {path or "the root"} is '
                            f'{dtype_a} in {name_a} and {dtype_b} in {name_b}; cast one of them')


def _leaves(tree: Any) -> dict[str, Any]:
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
            if not hasattr(leaf, 'dtype') else leaf for path, leaf in found}


def check_precision(*trees: Any) -> None:
    """Checks that no leaf asks for float64 while JAX would cut it to float32.

    Raises:
      UserError: one does.
    """
    for tree in trees:
        for path, leaf in _leaves(tree).items():
            if leaf.dtype == np.float64:
                dtype('float64', f'{path or "the array"} is float64')


def dtype(name: str, reason: str = 'float64 is asked for') -> Any:
    """The floating dtype of a name.

    Raises:
      UserError: no such dtype, or float64 while JAX has it disabled.
    """
    if name not in ('float32', 'float64'):
        raise UserError(f'unknown dtype {name!r}; write float32 or float64')
    if name == 'float64' and not jax.config.jax_enable_x64:
        raise UserError(f'{reason}, but JAX has it disabled and would compute in float32: call '
                        "jax.config.update('jax_enable_x64', True) first, or use `with "
                        'jax.enable_x64(True):`')
    return jnp.dtype(name)
