"""Every loss, in the one signature `loss_fn(trainable, frozen, batch, key) -> (loss_sum, aux)`: a
float32 *sum* over weighted predictions, and `aux['weight']`, the sum of their weights.

`make_kl_loss` is of classifiers: labels and a teacher's softened outputs are both distributions
over some of the logits, so one loss serves teachers and students alike. All others are of a decoder
on packed rows. What of it is trained, by the trees' kinds (`resolve`):
  all parameters   trainable: params                frozen: {'base': {}}
  some of them     trainable: a few top entries     frozen: {'base': params}
  one layer        trainable: models.parts.OneLayer frozen: {'base': params}
  all but one      trainable: models.parts.ButLayer frozen: {'base': params}
  an adapter       trainable: models.lora.Lora      frozen: {'base': params}

A batch holds `tries`, rows packed as trees (training/tries.py), whose weights say which predictions
count; under a KL also what the teacher said at every place, read before (`target_BU*`). A place of
weight zero may hold anything, infinity included.

The final norm, the output matrix and the softmax are float32 whatever the layers compute in:
bfloat16 rounding is larger than the KLs that matter here.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora
from subliminal_jax.models.parts import ButLayer, OneLayer
from subliminal_jax.training import tries as packing
from subliminal_jax.training.step import LossFn
from subliminal_jax.training.tries import Tries

OUT = -1e30  # stands for minus infinity without making NaN of 0 * inf


def resolve(trainable: Any, frozen: Mapping[str, Any]) -> tuple[Any, Lora | None]:
    """(parameters, adapter or None) of a model in training (module docstring)."""
    if isinstance(trainable, Lora):
        return frozen['base'], trainable
    if isinstance(trainable, (OneLayer, ButLayer)):
        return trainable.within(frozen['base']), None
    return {**frozen['base'], **trainable}, None


def sft(config: Any) -> LossFn:
    """Cross-entropy of the predicted tokens, in nats. Of the architecture `config`."""

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BUD = _activations(config, trainable, frozen, batch['tries'])
        logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
        tries = batch['tries']
        return _weighted(token_nll(logits_BUV, tries), tries.weight_BK)

    return loss_fn


def kl(config: Any) -> LossFn:
    """KL(teacher || student) over all tokens; the batch has the teacher's logits, target_BUV."""

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BUD = _activations(config, trainable, frozen, batch['tries'])
        logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
        weight_BU = batch['tries'].weight_BU
        target_BUV = _where_weighed(batch['target_BUV'], weight_BU)
        return _weighted(forward_kl(target_BUV, logits_BUV), weight_BU)

    return loss_fn


def kl_kept(config: Any) -> LossFn:
    """KL(teacher || student) over the tokens that the teacher's logits, target_BUV, keep.

    A token left out has `transformer.NEVER` there; both sides are renormalised to the others.
    """

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BUD = _activations(config, trainable, frozen, batch['tries'])
        logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
        weight_BU = batch['tries'].weight_BU
        target_BUV = _where_weighed(batch['target_BUV'], weight_BU)
        logits_BUV = jnp.where(target_BUV > transformer.NEVER, logits_BUV, transformer.NEVER)
        return _weighted(forward_kl(target_BUV, logits_BUV), weight_BU)

    return loss_fn


def kl_set(config: Any, token_ids: Sequence[int]) -> LossFn:
    """KL(teacher || student) over a set of tokens, both renormalised to those that a row may hold.

    Only these tokens' logits are computed: no other token's logit is matched directly.

    Args:
      config: the architecture.
      token_ids: the set, C tokens. A batch has target_BUC, the teacher's logits of them up to a
        constant a place, and allowed_BUC (bool), which of them count at the place.
    """
    ids_C = jnp.asarray(tuple(token_ids), jnp.int32)

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BUD = _activations(config, trainable, frozen, batch['tries'])
        logits_BUC = transformer.unembed(params, x_BUD, float_head(config), ids_C)
        weight_BU = batch['tries'].weight_BU
        target_BUC = _where_weighed(batch['target_BUC'], weight_BU)
        target_BUC, logits_BUC = (jnp.where(batch['allowed_BUC'], x, transformer.NEVER)
                                  for x in (target_BUC, logits_BUC))
        return _weighted(forward_kl(target_BUC, logits_BUC), weight_BU)

    return loss_fn


def kl_top(config: Any, token_ids: Sequence[int]) -> LossFn:
    """KL(teacher || student) over buckets of tokens: a lower bound of `kl`.

    The buckets are the tokens of the set, J others that the teacher finds likeliest, and all the
    rest as one event. By the data-processing inequality it is at most `kl`, and 0 where that is.

    Args:
      config: the architecture.
      token_ids: the set, C tokens. A batch has target_BUC, the teacher's `bucket_logprobs`
        [B, U, C + J + 1], and top_BUJ, the J others.
    """
    ids_C = jnp.asarray(tuple(token_ids), jnp.int32)

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BUD = _activations(config, trainable, frozen, batch['tries'])
        logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
        log_q = bucket_logprobs(logits_BUV, ids_C, batch['top_BUJ'])
        weight_BU = batch['tries'].weight_BU
        log_p = _where_weighed(batch['target_BUC'], weight_BU)
        return _weighted(_kl(log_p.astype(log_q.dtype), log_q), weight_BU)

    return loss_fn


def dpo(config: Any, beta: float) -> LossFn:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290), nats a pair.

    -log sigmoid(beta (gain of the preferred answer - gain of the other)), an answer's gain being
    its log P less that in the policy that the student is held to.

    Args:
      config: the architecture.
      beta: how far from that policy it may go: the larger, the less. A batch has packs whose rows
        0 and 1, 2 and 3, ... are pairs; prefer_BK, 1 at the predictions of a preferred row and -1
        at those of the other; start_BK, their log P in that policy.
    """

    def loss_fn(trainable, frozen, batch, key):
        del key
        tries = batch['tries']
        params, x_BUD = _activations(config, trainable, frozen, tries)
        logp_BK = -token_nll(transformer.unembed(params, x_BUD, float_head(config)), tries)
        live_BK = tries.weight_BK > 0
        gain_BK = jnp.where(live_BK, (logp_BK - batch['start_BK']) * batch['prefer_BK'], 0)
        pairs_P = jnp.arange((live_BK.shape[1] + 1) // 2)  # a row has a prediction at least
        pair_BKP = (tries.row_BK[..., None] // 2 == pairs_P[None, None]) & live_BK[..., None]
        gain_BP = jnp.where(pair_BKP, gain_BK[..., None], 0).sum(1)
        return _weighted(jax.nn.softplus(-beta * gain_BP), pair_BKP.any(1))

    return loss_fn


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
        losses_S = jnp.matmul(kl_SB, batch['weight'], precision='highest')
        return losses_S.sum(), {'losses': losses_S, 'weight': batch['weight'].sum()}

    return loss_fn


def token_nll(logits_BUV: jax.Array, tries: Tries) -> jax.Array:
    """-log P of every prediction's token [B, K], from the logits of its place."""
    whole_BU = jax.nn.logsumexp(logits_BUV, axis=-1)
    return packing.per_edge(whole_BU, tries) - target_logits(logits_BUV, tries)


def target_logits(logits_BUV: jax.Array, tries: Tries) -> jax.Array:
    """Every prediction's token's logit [B, K]; of a target below zero, token 0's."""
    index_BK = tries.from_BK * logits_BUV.shape[-1] + jnp.maximum(tries.target_BK, 0)
    return jnp.take_along_axis(logits_BUV.reshape(len(logits_BUV), -1), index_BK, axis=1)


def forward_kl(teacher_logits: jax.Array, student_logits: jax.Array) -> jax.Array:
    """KL(softmax(teacher) || softmax(student)) over the last axis, in nats; the teacher's logits
    may be minus infinity."""
    log_q = jax.nn.log_softmax(student_logits, axis=-1)
    return _kl(jax.nn.log_softmax(teacher_logits.astype(log_q.dtype), axis=-1), log_q)


def bucket_logprobs(logits_BUV: jax.Array, ids_C: jax.Array, top_ids_BUJ: jax.Array) -> jax.Array:
    """Log-probabilities [B, U, C + J + 1] of the set, of the others named, and of all the rest.

    The tail is summed over its own tokens: one minus the others would lose it in rounding.
    """
    never = jnp.asarray(transformer.NEVER, logits_BUV.dtype)
    set_BUC = jnp.take(logits_BUV, ids_C, axis=-1)
    rest_BUV = logits_BUV.at[..., ids_C].set(never)
    top_BUJ = jnp.take_along_axis(rest_BUV, top_ids_BUJ, axis=-1)
    tail_BUV = jnp.put_along_axis(rest_BUV, top_ids_BUJ, never, axis=-1, inplace=False)
    tail_BU1 = jax.nn.logsumexp(tail_BUV, axis=-1, keepdims=True)
    return jax.nn.log_softmax(jnp.concatenate([set_BUC, top_BUJ, tail_BU1], axis=-1), axis=-1)


def top_others(logits_BUV: jax.Array, ids_C: jax.Array, count: int) -> jax.Array:
    """The `count` likeliest tokens outside of the set [B, U, J]."""
    return jax.lax.top_k(logits_BUV.at[..., ids_C].set(transformer.NEVER), count)[1]


def float_head(config: Any) -> Any:
    """The architecture with a float32 head, whatever its layers compute in."""
    return dataclasses.replace(config, head_dtype='float32')


def _activations(config, trainable, frozen, tries):
    params, lora = resolve(trainable, frozen)
    return params, packing.states(params, tries, config, lora)


def _where_weighed(values_BUC, weight_BU):
    """Zeros where nothing weighs: minus infinity there would make NaN of a gradient of zero."""
    return jnp.where(weight_BU[..., None] > 0, values_BUC, jnp.zeros((), values_BUC.dtype))


def _kl(log_p, log_q):
    p = jnp.exp(log_p)
    return (p * jnp.where(p > 0, log_p - log_q, 0)).sum(axis=-1)


def _weighted(loss, weight):
    weight = weight.astype(loss.dtype)
    return jnp.where(weight > 0, loss * weight, 0).sum(), {'weight': weight.sum()}
