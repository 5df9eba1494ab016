"""The layers' matrix products, at a precision that is said, forwards and backwards.

JAX's default for float32 is TF32 on a GPU and one bfloat16 pass on a TPU: coarser than the KLs that
matter here. So products of float32 are asked for at full precision.

Products of bfloat16 have float32 sums. Left to itself their gradient is not one of bfloat16: what
comes back is float32, and a product of it with a bfloat16 factor is computed in float32, on a GPU
at a fifteenth of the speed and on a TPU at a sixth. Here it is rounded first, as the operands were
on the way forwards.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def matmul(x: jax.Array, y: jax.Array, dtype: Any) -> jax.Array:
    """x times y over the last axis of x and the last but one of y, all axes before them alike.

    Args:
      x, y: of one type; [..., A, B] and [..., B, C].
      dtype: of the sums and of the result.
    """
    last = x.ndim - 1
    alike = tuple(range(last - 1))
    return _product((((last,), (last - 1,)), (alike, alike)), x, y, dtype)


def matmul_turned(x: jax.Array, y: jax.Array, dtype: Any) -> jax.Array:
    """x times the transpose of y, [A, B] and [C, B]; as `matmul`."""
    return _product((((1,), (1,)), ((), ())), x, y, dtype)


def _product(numbers, x, y, dtype):
    if x.dtype != jnp.bfloat16:
        return jax.lax.dot_general(x, y, numbers, 'highest', preferred_element_type=dtype)
    return _half(numbers, jnp.dtype(dtype), x, y)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _half(numbers, dtype, x, y):
    return jax.lax.dot_general(x, y, numbers, 'default', preferred_element_type=dtype)


def _half_jvp(numbers, dtype, primals, tangents):
    """The tangent is rounded to bfloat16 on its way out, and so its transpose on the way in."""
    def moved(x, y):
        return jax.lax.dot_general(x, y, numbers, 'default', preferred_element_type=jnp.bfloat16
                                   ).astype(dtype)

    (x, y), (dx, dy) = primals, tangents
    parts = [*([] if isinstance(dx, SymbolicZero) else [moved(dx, y)]),
             *([] if isinstance(dy, SymbolicZero) else [moved(x, dy)])]
    out = _half(numbers, dtype, x, y)
    return out, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(out)


_half.defjvp(_half_jvp, symbolic_zeros=True)
