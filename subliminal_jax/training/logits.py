"""Training on target distributions over chosen logits: classifiers, and distillation of logits.

Labels and a teacher's softened outputs are both distributions over some of the logits, so one loss
serves teachers and students alike; which logits count is data, not code.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

OUT = -1e30  # stands for minus infinity without making NaN of 0 * inf


def soft_targets(
    logits: jax.Array, mask: jax.Array, temperature: float = 1.0, axis: int = -1
) -> jax.Array:
    """softmax(logits / temperature) over the logits in the mask, zero elsewhere.

    Args:
      logits: any shape with the classes along `axis`.
      mask: bool, broadcast against the logits.
      temperature: of the softmax.
      axis: of the classes.
    """
    return jax.nn.softmax(jnp.where(mask, logits / temperature, OUT), axis=axis)


def make_kl_loss(
    apply_stack: Callable[[Any, jax.Array], jax.Array], temperature: float = 1.0, axis: int = -1
):
    """KL(targets || softmax(student)) over chosen logits, for S students of the same inputs.

    The published recipe matches a teacher's softmax over the chosen logits only (arXiv 2507.14805,
    MNIST section). With one-hot targets it is the cross-entropy.

    Args:
      apply_stack: (params, x [B, P]) -> logits [S, B, C], or [S, C, B] where axis is 1.
      temperature: divides the student's logits; the targets carry their own.
      axis: of the classes: -1, or 1 for features first.

    Returns:
      A loss of the project's signature. `frozen['mask']` is bool [S, C]; `batch` has `x` [B, P],
      `targets` (distributions over the mask, shaped as the logits) and `weight` [B].
      `aux['losses']` [S] holds each student's own sum.
    """

    def loss_fn(params, frozen, batch, key):
        del key
        mask = jnp.expand_dims(frozen['mask'], 2 if axis == 1 else 1)
        logits = jnp.where(mask, apply_stack(params, batch['x']) / temperature, OUT)
        log_q = jnp.where(mask, jax.nn.log_softmax(logits, axis=axis), 0)
        p = batch['targets']
        log_p = jnp.log(jnp.where(p > 0, p, 1))
        kl_SB = jnp.sum(p * (log_p - log_q), axis=axis)
        losses_S = kl_SB @ batch['weight']
        return losses_S.sum(), {'losses': losses_S, 'weight': batch['weight'].sum()}

    return loss_fn
