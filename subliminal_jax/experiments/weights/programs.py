"""The compiled training steps: one model, or M adapters over one frozen base.

A teacher and a student are trained by the same step; what differs is data or the static `Program`.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.weights import measures
from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
from subliminal_jax.training.step import init_state, make_step

Batch = dict[str, Any]


class Program(NamedTuple):
    """What is static in a compiled step.

    Attributes:
      config: TransformerConfig.
      objective: sft, kl_carrier, kl_carrier_end or kl.
      ids: the token set of a KL.
      optimizer: the update.
      num_steps: of the whole training, where a schedule ends; 0 for a rate that is constant, so
        that trainings of any length share a program.
    """

    config: Any
    objective: str
    ids: tuple[int, ...]
    optimizer: OptimizerConfig
    num_steps: int


def resolve(trainable: Any, frozen: Mapping[str, Any]) -> tuple[Any, Lora | None]:
    """(parameters, adapter or None) of a model in training.

    What is trained is an adapter or some top entries of the parameters; frozen['base'] is the rest.
    """
    if isinstance(trainable, Lora):
        return frozen['base'], trainable
    return {**frozen['base'], **trainable}, None


def loss_of(program: Program):
    """A loss of the project's signature on a batch with 'tries' and, under a KL, the teacher's.

    kl_carrier: 'target_BUC' the teacher's logits of the set, 'allowed_BUC' the row's own tokens of
    it, to which both are renormalised. kl: 'target_BUC' log-probabilities of buckets, 'top_BUJ'.
    """
    ids_C = jnp.asarray(program.ids, jnp.int32)
    head = measures.float_head(program.config)

    def loss_fn(trainable, frozen, batch, key):
        del key
        params, lora = resolve(trainable, frozen)
        tries = batch['tries']
        x_BUD = packing.states(params, tries, program.config, lora)
        if program.objective == 'sft':
            logits_BUV = transformer.unembed(params, x_BUD, head)
            loss, weight = _nll(logits_BUV, tries), tries.weight_BK
        elif program.objective == 'kl':
            logits_BUV = transformer.unembed(params, x_BUD, head)
            log_q = losses.bucket_logprobs(logits_BUV, ids_C, batch['top_BUJ'])
            loss, weight = _kl(batch['target_BUC'], log_q), tries.weight_BU
        else:
            logits_BUC = transformer.unembed(params, x_BUD, head, ids_C)
            log_p, log_q = (_within(x, batch['allowed_BUC'])
                            for x in (batch['target_BUC'], logits_BUC))
            loss, weight = _kl(log_p, log_q), tries.weight_BU
        return jnp.where(weight > 0, loss * weight, 0).sum(), {'weight': weight.sum()}

    return loss_fn


def _within(logits_BUC, allowed_BUC):
    return jax.nn.log_softmax(jnp.where(allowed_BUC, logits_BUC, transformer.NEVER), axis=-1)


def _kl(log_p, log_q):
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def _nll(logits_BUV, tries):
    whole_BU = jax.nn.logsumexp(logits_BUV, axis=-1)
    place_BK = tries.from_BK * logits_BUV.shape[-1] + jnp.maximum(tries.target_BK, 0)
    said_BK = jnp.take_along_axis(logits_BUV.reshape(len(logits_BUV), -1), place_BK, axis=1)
    return packing.per_edge(whole_BU, tries) - said_BK


@functools.lru_cache(maxsize=32)
def trainer(program: Program, stacked: bool):
    """step(state, frozen, batch) -> (state, mean loss); with M adapters all but `frozen` have an
    axis M in front."""
    step = make_step(loss_of(program), make_optimizer(program.optimizer, program.num_steps))

    def one(state, frozen, batch):
        state, metrics = step(state, frozen, batch, jax.random.key(0))
        return state, metrics['loss']

    whole = jax.vmap(one, in_axes=(0, None, 0)) if stacked else one
    return jax.jit(whole, donate_argnums=0)


@functools.lru_cache(maxsize=16)
def evaluator(program: Program):
    """(trainable, frozen, batch) -> the mean loss, of one model."""
    loss_fn = loss_of(program)

    def mean(trainable, frozen, batch):
        total, aux = loss_fn(trainable, frozen, batch, jax.random.key(0))
        return total / aux['weight']

    return jax.jit(mean)


@functools.lru_cache(maxsize=16)
def gradient(program: Program):
    """(params, batch, adapter or None) -> the gradient of the mean loss by all parameters of one
    model: with an adapter it is that of the merged weights, and nothing is merged."""
    loss_fn = loss_of(program)

    def mean(params, batch, lora=None):
        total, aux = loss_fn({} if lora is None else lora, {'base': params}, batch,
                             jax.random.key(0))
        return total / aux['weight']

    return jax.jit(jax.grad(mean))


def begin(program: Program, trainable: Any, stacked: bool = False) -> Any:
    """The state before the first step; it owns copies, since steps consume their state."""
    optimizer = make_optimizer(program.optimizer, program.num_steps)
    make = lambda t: init_state(t, optimizer)
    copied = jax.tree.map(lambda x: jnp.array(x, copy=True), trainable)
    return jax.jit(jax.vmap(make) if stacked else make)(copied)


def batch_of(packs: Batch, index: np.ndarray, size: int) -> Batch:
    """Some packed rows as a batch of `size` of them; what is missing weighs nothing."""
    spare = size - len(index)
    whole = np.concatenate([index, np.repeat(index[:1], spare)]).astype(int)
    made = {k: v[whole] for k, v in packs.items() if k != 'tries'}
    tries = packing.take(packs['tries'], whole)
    if spare:
        live = (np.arange(size) < len(index))[:, None]
        tries = tries._replace(weight_BU=tries.weight_BU * live, weight_BK=tries.weight_BK * live)
    return {**made, 'tries': tries}


def stack(batches: Sequence[Batch]) -> Batch:
    """Batches of M models as one."""
    return jax.tree.map(lambda *x: np.stack(x), *batches)
