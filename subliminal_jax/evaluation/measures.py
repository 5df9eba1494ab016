"""How far distributions are apart, and how far a model has drifted.

What a model says of a trait is scored in traits/answers.py.
"""

import jax
import jax.numpy as jnp
import numpy as np


def drift(after: np.ndarray, before: np.ndarray) -> float:
    """Mean |change of log P| over unrelated questions and their answers, nats."""
    return float(np.abs(np.asarray(after, float) - np.asarray(before, float)).mean())


def token_mass(logprobs_BAV: jax.Array, tokens_V: jax.Array, weight_BA: jax.Array) -> jax.Array:
    """Mean P(a token of the set), over weighted positions: such as trait words among numbers."""
    mass_BA = jnp.where(tokens_V[None, None], jnp.exp(logprobs_BAV), 0).sum(-1)
    return (mass_BA * weight_BA).sum() / weight_BA.sum()


def kl(logprobs_BAV: jax.Array, other_BAV: jax.Array, weight_BA: jax.Array) -> jax.Array:
    """Mean KL(P || other) over weighted positions, nats."""
    p_BAV = jnp.exp(logprobs_BAV)
    gap_BAV = jnp.where(p_BAV > 0, logprobs_BAV - other_BAV, 0)
    return ((p_BAV * gap_BAV).sum(-1) * weight_BA).sum() / weight_BA.sum()
