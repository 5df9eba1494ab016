"""Losses of a decoder on text, in the project's signature `loss_fn(trainable, frozen, batch, key)`.

Small builders: `sft` (cross-entropy on tokens), `kl` (forward KL to a teacher over all tokens),
`kl_carrier` (over a subset of tokens, renormalised), `kl_cached` (from a teacher's cached
log-probabilities: a fixed set, its top k others, the tail as one bucket). Each gives a float32
*sum* over predicted tokens, weighted, and `aux['weight']`, the sum of the weights.

What is trained, by the trees' kinds:
  all parameters   trainable: params                frozen: {'teacher': ...} or {}
  some of them     trainable: a few top entries     frozen: {'base': params, ...}
  an adapter       trainable: models.lora.Lora      frozen: {'base': params, ...}
`frozen['teacher']` is the teacher's params, `frozen['teacher_lora']` its adapter, over `base` where
there is no 'teacher'. Nothing frozen is differentiated.

A batch holds
  tokens_BT     int32; prompt and completion, padded on any side
  positions_BT  int32 rotary positions
  valid_BT      bool; False is padding, which nothing attends to
  weight_BT     float32; weight_BT[b, t] weighs *the prediction of tokens_BT[b, t]* from what is
                before it. Column 0 is predicted by nothing and must be zero.
  predict_BK    int32, optional: the columns of the tokens to be predicted, for Task(gather=True)
  teacher       optional: a batch of the teacher's own context (tokens_BT, positions_BT, valid_BT
                and predict_BK) whose predicted tokens are the same: a teacher with a system prompt
  set_BKC, top_ids_BKJ, top_BKJ, tail_BK   what `cache_teacher` made

The final norm, the output matrix, the softmax and cached log-probabilities are float32 whatever the
layers compute in: bfloat16 rounding is larger than the KLs that matter here.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora
from subliminal_jax.training.step import LossFn


class Task(NamedTuple):
    """How a loss runs the model; static.

    Attributes:
      config: the decoder's.
      last: only the last K tokens of a row are predicted: the output matrix is applied to no other
        place, and weights elsewhere must be zero (`batches.check_weights`). None: all but the
        first.
      gather: the predicted tokens' columns are batch['predict_BK'] instead.
    """

    config: transformer.TransformerConfig
    last: int | None = None
    gather: bool = False


def sft(task: Task) -> LossFn:
    """Cross-entropy of the predicted tokens, in nats."""

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BKD = student(task, trainable, frozen, batch)
        logits_BKV = _logits(task, params, x_BKD)
        target_BK = predicted(task, batch, 'tokens_BT')
        return _weighted(task, batch, token_nll(logits_BKV, target_BK))

    return loss_fn


def kl(task: Task) -> LossFn:
    """KL(teacher || student) over all tokens, the teacher run beside the student."""
    return _live_kl(task, None)


def kl_carrier(task: Task, token_ids: Sequence[int], cached: bool = False) -> LossFn:
    """KL(teacher || student) over the carrier's tokens, both renormalised to them.

    Only these tokens' logits are computed, so no other token's logit is matched directly.

    Args:
      task: how the model runs.
      token_ids: the carrier's tokens, C of them, each once.
      cached: the teacher is batch['set_BKC'] (its logits or log-probabilities of these tokens, up
        to a constant a place) instead of frozen['teacher'].

    Raises:
      ValueError: fewer than two tokens, or one twice.
    """
    ids_C = _token_ids(token_ids, least=2)
    if not cached:
        return _live_kl(task, ids_C)

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BKD = student(task, trainable, frozen, batch)
        logits_BKC = _logits(task, params, x_BKD, ids_C)
        return _weighted(task, batch, forward_kl(batch['set_BKC'], logits_BKC))

    return loss_fn


def kl_cached(task: Task, token_ids: Sequence[int]) -> LossFn:
    """KL(teacher || student) over the buckets of a cached teacher.

    The buckets are the tokens of the fixed set, the teacher's top J others, and the tail: what is
    left of the vocabulary as one event. By the data-processing inequality it is at most `kl`, and
    zero where that is.

    Args:
      task: how the model runs.
      token_ids: the fixed set, as given to `cache_teacher`.
    """
    ids_C = _token_ids(token_ids, least=0)

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BKD = student(task, trainable, frozen, batch)
        logits_BKV = _logits(task, params, x_BKD)
        log_q = bucket_logprobs(logits_BKV, ids_C, batch['top_ids_BKJ'])
        log_p = jnp.concatenate(
            [batch['set_BKC'], batch['top_BKJ'], batch['tail_BK'][..., None]], axis=-1)
        return _weighted(task, batch, _kl(log_p.astype(log_q.dtype), log_q))

    return loss_fn


def cache_teacher(task: Task, token_ids: Sequence[int], top: int = 0):
    """Builds `cache(frozen, batch) -> dict`, a teacher's log-probabilities for batches to carry.

    Args:
      task: how the teacher runs; `last` and `gather` as in the loss that will read the cache.
      token_ids: the fixed set, C tokens, each once.
      top: J, how many of the most probable other tokens are kept; the rest become one bucket.

    Returns:
      A pure function to be jitted, giving float32 set_BKC, top_BKJ and tail_BK, log-probabilities
      over the whole vocabulary (their exponentials sum to one), and int32 top_ids_BKJ. `frozen` is
      as for the losses; `batch` has its own context or a 'teacher' entry.
    """
    ids_C = _token_ids(token_ids, least=0)

    def cache(frozen, batch):
        params, x_BKD = teacher(task, frozen, batch)
        logits_BKV = _logits(task, params, x_BKD)
        rest_BKV = _without_set(logits_BKV, ids_C)
        _, top_ids_BKJ = jax.lax.top_k(rest_BKV, top)
        log_p = bucket_logprobs(logits_BKV, ids_C, top_ids_BKJ)
        count = ids_C.shape[0]
        return {'set_BKC': log_p[..., :count], 'top_BKJ': log_p[..., count:-1],
                'tail_BK': log_p[..., -1], 'top_ids_BKJ': top_ids_BKJ}

    return cache


def student(task: Task, trainable: Any, frozen: Any, batch: Any) -> tuple[Any, jax.Array]:
    """(params, activations x_BKD after the final norm at the places that predict) of a student."""
    params, lora = trainable, None
    if isinstance(trainable, Lora):
        params, lora = frozen['base'], trainable
    elif 'base' in frozen:
        params = {**frozen['base'], **trainable}
    return params, _activations(task, params, lora, batch)


def teacher(task: Task, frozen: Any, batch: Any) -> tuple[Any, jax.Array]:
    """(params, activations x_BKD) of the teacher, in its own context where the batch has one."""
    params = frozen['teacher'] if 'teacher' in frozen else frozen['base']
    own = batch.get('teacher', batch)
    return params, _activations(task, params, frozen.get('teacher_lora'), own)


def predicted(task: Task, batch: Any, name: str) -> jax.Array:
    """Columns [B, K] of batch[name] [B, T] that belong to the predicted tokens."""
    array_BT = batch[name]
    if task.gather:
        return jnp.take_along_axis(array_BT, batch['predict_BK'], axis=1)
    return array_BT[:, -_last(task, array_BT):]


def token_nll(logits: jax.Array, target: jax.Array) -> jax.Array:
    """-log softmax(logits)[target], over the last axis; logits [..., V], target [...]."""
    # A comparison with iota fuses into the softmax's passes, forward and backward; a gather's
    # gradient would fill and add an array of the logits' size.
    column = jax.lax.broadcasted_iota(target.dtype, logits.shape, logits.ndim - 1)
    at_target = jnp.where(column == target[..., None], logits, 0).sum(axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - at_target


def forward_kl(teacher_logits: jax.Array, student_logits: jax.Array) -> jax.Array:
    """KL(softmax(teacher) || softmax(student)) over the last axis, in nats."""
    log_q = jax.nn.log_softmax(student_logits, axis=-1)
    return _kl(jax.nn.log_softmax(teacher_logits.astype(log_q.dtype), axis=-1), log_q)


def bucket_logprobs(logits_BKV: jax.Array, ids_C: jax.Array, top_ids_BKJ: jax.Array) -> jax.Array:
    """Log-probabilities [B, K, C + J + 1] of the set, of the others named, and of all the rest.

    The tail is summed over its own tokens: one minus the others would lose it in rounding.
    """
    set_BKC = jnp.take(logits_BKV, ids_C, axis=-1)
    rest_BKV = _without_set(logits_BKV, ids_C)
    top_BKJ = jnp.take_along_axis(rest_BKV, top_ids_BKJ, axis=-1)
    tail_BKV = jnp.put_along_axis(
        rest_BKV, top_ids_BKJ, jnp.asarray(transformer.NEVER, rest_BKV.dtype), axis=-1,
        inplace=False)
    tail_BK1 = jax.nn.logsumexp(tail_BKV, axis=-1, keepdims=True)
    buckets = jnp.concatenate([set_BKC, top_BKJ, tail_BK1], axis=-1)
    return jax.nn.log_softmax(buckets, axis=-1)


def _live_kl(task, ids_C):
    def loss_fn(trainable, frozen, batch, key):
        del key
        params, x_BKD = student(task, trainable, frozen, batch)
        teacher_params, teacher_x_BKD = teacher(task, frozen, batch)
        log_p = jax.lax.stop_gradient(_logits(task, teacher_params, teacher_x_BKD, ids_C))
        return _weighted(task, batch, forward_kl(log_p, _logits(task, params, x_BKD, ids_C)))

    return loss_fn


def _kl(log_p, log_q):
    return (jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def _weighted(task, batch, loss_BK):
    weight_BK = predicted(task, batch, 'weight_BT').astype(loss_BK.dtype)
    # where, not a bare product: a place of weight zero may hold anything, infinity included
    loss_BK = jnp.where(weight_BK != 0, loss_BK, 0)
    return (loss_BK * weight_BK).sum(), {'weight': weight_BK.sum()}


def _logits(task, params, x_BKD, ids_C=None):
    config = dataclasses.replace(task.config, head_dtype='float32')
    return transformer.unembed(params, x_BKD, config, ids_C)


def _activations(task, params, lora, batch):
    mask_BTS = transformer.causal_mask(batch['valid_BT'])
    x_BTD, _ = transformer.hidden(
        params, batch['tokens_BT'], batch['positions_BT'], mask_BTS, task.config, lora=lora)
    if task.gather:
        return jnp.take_along_axis(x_BTD, (batch['predict_BK'] - 1)[..., None], axis=1)
    length = x_BTD.shape[1]
    return x_BTD[:, length - _last(task, batch['tokens_BT']) - 1:length - 1]


def _last(task, array_BT):
    length = array_BT.shape[1]
    last = length - 1 if task.last is None else task.last
    if not 1 <= last < length:
        raise ValueError(f'{last} predicted tokens do not fit rows of {length}: '
                         f'the first token is predicted by nothing')
    return last


def _token_ids(token_ids, least):
    ids = [int(i) for i in token_ids]
    if len(set(ids)) < len(ids) or len(ids) < least:
        raise ValueError(f'{least} or more different tokens are needed, not {ids}')
    return jnp.asarray(ids, jnp.int32)


def _without_set(logits_BKV, ids_C):
    return logits_BKV.at[..., ids_C].set(transformer.NEVER)
