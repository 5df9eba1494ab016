"""The Gauss-Newton form with J and M written out: the check on the one that never forms them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from subliminal_jax.theory.steps import Apply


def jacobian(apply: Apply, params: Any, x: Any) -> jax.Array:
    """J [B, C, parameters], by reverse mode: memory grows with all three."""
    flat, unravel = ravel_pytree(params)
    return jax.jacrev(lambda p: apply(unravel(p), x))(flat)


def metric_matrix(name: str, outputs_C: np.ndarray, mask_C: np.ndarray) -> np.ndarray:
    """M [C, C] of one example, in NumPy: 2 diag(mask), or diag(p) - p p' over the mask."""
    mask_C = np.asarray(mask_C, float)
    if name == 'squared_error':
        return 2 * np.diag(mask_C)
    weights = np.exp(outputs_C - outputs_C[mask_C > 0].max()) * mask_C
    p = weights / weights.sum()
    return np.diag(p) - np.outer(p, p)


def gauss_newton_form(
    apply: Apply, name: str, params: Any, direction: Any, x: Any, mask_C: np.ndarray
) -> float:
    """A = E[dT' J' M J dT] with explicit J and M; for tiny networks and tests."""
    flat, _ = ravel_pytree(direction)
    pushed = np.asarray(jnp.einsum('bcn,n->bc', jacobian(apply, params, x), flat))
    outputs = np.asarray(apply(params, x))
    forms = [v @ metric_matrix(name, z, mask_C) @ v for z, v in zip(outputs, pushed)]
    return float(np.mean(forms))
