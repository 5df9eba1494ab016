"""What is read of every row at a reference, or under any model: pure functions on packed rows.

All take (params, adapter or None, rows, ..., config=) and give one value a packed row's row,
[B, R, ...] with R the packed row's rows at most; `in_order` makes one list of them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries


def check_embeds(params: Any) -> None:
    """Raises UserError for a model whose inside is not known: it gives no states and gradients."""
    if not isinstance(params, Mapping) or 'embed' not in params:
        raise UserError('this model cannot embed rows: detectors by hidden states and by gradients '
                        'need its weights; take a folder, a package or a .gguf file')


def per_row(values_BK: jax.Array, tries: Tries, rows: int) -> jax.Array:
    """Sums of predictions' values over each row's weighted predictions [B, R, ...]."""
    shape = (*tries.weight_BK.shape, *[1] * (values_BK.ndim - 2))
    values_BK = values_BK * tries.weight_BK.reshape(shape)
    one = lambda values_K, row_K: jnp.zeros((rows, *values_K.shape[1:]),
                                            values_K.dtype).at[row_K].add(values_K)
    return jax.vmap(one)(values_BK, tries.row_BK)


def in_order(values: np.ndarray, count: int) -> np.ndarray:
    """[B, R, ...] as [count, ...], rows in the order in which they were packed."""
    values = np.asarray(values)
    return values.reshape(-1, *values.shape[2:])[:count]


def logprobs(params: Any, lora: Any, tries: Tries, *, config: Any, rows: int) -> jax.Array:
    """log P of each row's answer [B, R], nats."""
    config = losses.float_head(config)
    x_BUD = packing.states(params, tries, config, lora)
    logits_BUV = transformer.unembed(params, x_BUD, config)
    return per_row(-losses.token_nll(logits_BUV, tries), tries, rows)


def states(params: Any, lora: Any, tries: Tries, *, config: Any, rows: int) -> jax.Array:
    """Each row's mean state after the final norm, where its answer is predicted [B, R, D]."""
    x_BUD = packing.states(params, tries, config, lora)
    total = per_row(packing.per_edge(x_BUD, tries), tries, rows)
    count = per_row(jnp.ones_like(tries.weight_BK), tries, rows)
    return total / jnp.maximum(count, 1)[..., None]


def gradients(params: Any, lora: Any, tries: Tries, directions: Any, *, config: Any, at_once: int
              ) -> tuple[jax.Array, jax.Array]:
    """Each row's gradient of log P by all weights, held against directions.

    A row's gradient exists for a moment only, `at_once` rows at a time.

    Args:
      params, lora: the reference.
      tries: rows that are packed each alone.
      directions: trees as the parameters, J of them in front.
      config: the architecture.
      at_once: rows.

    Returns:
      (its length [B, 1], its inner product with every direction [B, 1, J]).
    """
    def said(weights, row):
        return logprobs(weights, lora, row, config=config, rows=1).sum()

    def one(row):
        gradient = jax.grad(said)(params, jax.tree.map(lambda x: x[None], row))
        inner_J = jax.vmap(trees.dot, in_axes=(None, 0))(gradient, directions)
        return trees.norm(gradient), inner_J

    norm_B, inner_BJ = jax.lax.map(one, tries, batch_size=min(at_once, len(tries.tokens_BT)))
    return norm_B[:, None], inner_BJ[:, None]


def second_moments(params: Any, lora: Any, tries: Tries, *, config: Any) -> Any:
    """Mean square of the rows' gradients of log P, weight by weight: a tree as the parameters.

    Args:
      params, lora: the reference.
      tries: rows that are packed each alone.
      config: the architecture.
    """
    def said(weights, row):
        return logprobs(weights, lora, row, config=config, rows=1).sum()

    def add(total, row):
        gradient = jax.grad(said)(params, jax.tree.map(lambda x: x[None], row))
        return jax.tree.map(lambda t, g: t + g**2, total, gradient), None

    count = len(tries.tokens_BT)
    total = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), tries)[0]
    return jax.tree.map(lambda t: t / count, total)


DAMPED = 0.01  # of the root mean square over all weights, added to each weight's own


def adam_metric(moments: Any) -> Any:
    """What Adam weighs each weight's gradient with, to first order: one over the root of its second
    moment, damped.

    Args:
      moments: mean squares of gradients, a tree.
    """
    root = jax.tree.map(jnp.sqrt, moments)
    leaves = jax.tree.leaves(root)
    mean = (sum(float((x**2).sum()) for x in leaves) / sum(x.size for x in leaves))**0.5
    return jax.tree.map(lambda x: 1 / (x + DAMPED * mean), root)


def matched_directions(params: Any, lora: Any, tries: Tries, weights_DB: jax.Array, *, config: Any
                       ) -> Any:
    """Random directions whose covariance is that of the rows' gradients, D trees in one.

    Each is a random combination of the gradients of B packed rows: with standard normal weights it
    is normal, and its covariance is the sum of the outer products of these gradients. It says
    nothing of any trait, and has inner products as large as a direction of the rows' own has.

    Args:
      params, lora: the reference.
      tries: packed rows.
      weights_DB: standard normal.
      config: the architecture.
    """
    def combined(weights, weight_B):
        said_BR = logprobs(weights, lora, tries, config=config, rows=1)
        return (said_BR[:, 0] * weight_B).sum()

    return jax.lax.map(lambda weight_B: jax.grad(combined)(params, weight_B), weights_DB)
