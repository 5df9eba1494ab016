"""Training on target distributions over chosen logits: classifiers, and distillation of logits.

Labels and a teacher's softened outputs are both distributions over some of the logits, so one loss
serves teachers and students alike; which logits count is data, not code.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

OUT = -1e30  # stands for minus infinity without making NaN of 0 * inf


def soft_targets(logits: jax.Array, mask: jax.Array, temperature: float = 1.0) -> jax.Array:
    """softmax(logits / temperature) over the logits in the mask, zero elsewhere (last axis C)."""
    return jax.nn.softmax(jnp.where(mask, logits / temperature, OUT), axis=-1)


def make_kl_loss(apply_stack: Callable[[Any, jax.Array], jax.Array], temperature: float = 1.0):
    """KL(targets || softmax(student)) over chosen logits, for S students of the same inputs.

    The published recipe matches a teacher's softmax over the chosen logits only (arXiv 2507.14805,
    MNIST section). With one-hot targets it is the cross-entropy.

    Args:
      apply_stack: (params, x [B, P]) -> logits [S, B, C].
      temperature: divides the student's logits; the targets carry their own.

    Returns:
      A loss of the project's signature. `frozen['mask']` is bool [S, C]; `batch` has `x` [B, P],
      `targets` [S, B, C] (distributions over the mask) and `weight` [B]. `aux['losses']` [S] holds
      each student's own sum.
    """

    def loss_fn(params, frozen, batch, key):
        del key
        mask_S1C = frozen['mask'][:, None]
        logits_SBC = jnp.where(mask_S1C, apply_stack(params, batch['x']) / temperature, OUT)
        log_q_SBC = jnp.where(mask_S1C, jax.nn.log_softmax(logits_SBC, axis=-1), 0)
        p_SBC = batch['targets']
        log_p_SBC = jnp.log(jnp.where(p_SBC > 0, p_SBC, 1))
        kl_SB = jnp.sum(p_SBC * (log_p_SBC - log_q_SBC), axis=-1)
        losses_S = kl_SB @ batch['weight']
        return losses_S.sum(), {'losses': losses_S, 'weight': batch['weight'].sum()}

    return loss_fn
