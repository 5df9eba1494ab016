"""The compiled programs: many models of one shape take their training steps side by side.

A reference, a teacher and a student are trained by the same function: what differs is data (rows,
weights, targets, the start) or the static `Program`. Every function here works on stacked models.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from subliminal_jax.experiments.transmission import networks
from subliminal_jax.models.lora import init_lora, merge_lora
from subliminal_jax.training.step import init_state, make_step


def _sign(rate: float) -> optax.GradientTransformation:
    """Sign descent: every weight moves by the rate."""
    return optax.chain(optax.stateless(lambda g, _: jax.tree.map(jnp.sign, g)), optax.scale(-rate))


OPTIMIZERS = {'adam': optax.adam, 'sgd': optax.sgd, 'sign': _sign}


class Program(NamedTuple):
    """What is static in a compiled training step.

    Attributes:
      model: TransformerConfig.
      objective: sft, kl_carrier, kl_carrier_end or kl.
      tokens: the ids that a KL renormalises over; empty for all.
      trainable: all, lora:RANK, or parts joined by +: embedding, head, body.
      optimizer, learning_rate: the update.
    """

    model: Any
    objective: str = 'sft'
    tokens: tuple[int, ...] = ()
    trainable: str = 'all'
    optimizer: str = 'adam'
    learning_rate: float = 1e-3


PARTS = ('embedding', 'head', 'body')


def trained_parts(trainable: str) -> tuple[str, ...]:
    """The parts that a student changes."""
    if trainable == 'all':
        return PARTS
    return tuple(trainable.split('+'))


def begin(program: Program, params_M: Any, key: jax.Array) -> tuple[Any, Any]:
    """(training states, what is held) of stacked models."""
    optimizer = OPTIMIZERS[program.optimizer](program.learning_rate)
    if program.trainable.startswith('lora:'):
        rank = int(program.trainable.partition(':')[2])
        count = jax.tree.leaves(params_M)[0].shape[0]
        make = lambda k: init_lora(k, program.model, rank)
        trainable, held = jax.vmap(make)(jax.random.split(key, count)), params_M
    else:
        trainable, held = networks.split(params_M, trained_parts(program.trainable))
    return jax.vmap(lambda t: init_state(t, optimizer))(trainable), held


def whole(program: Program, trainable: Any, held: Any) -> Any:
    """The parameters of one model, or of stacked ones, that a state stands for."""
    if program.trainable.startswith('lora:'):
        merge = lambda params, lora: merge_lora(params, lora, program.model)
        stacked = held['final_norm'].ndim > 1
        return (jax.vmap(merge) if stacked else merge)(held, trainable)
    return networks.join(trainable, held)


def student_logits(program: Program, trainable: Any, held: Any, tokens_BT: jax.Array) -> jax.Array:
    """Logits [B, T, V] of one model in training."""
    if program.trainable.startswith('lora:'):
        return networks.logits(program.model, held, tokens_BT, trainable)
    return networks.logits(program.model, networks.join(trainable, held), tokens_BT)


def chosen(program: Program, logits_BTV: jax.Array) -> jax.Array:
    """float32 log-probabilities over the program's tokens, renormalised."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    if program.tokens:
        logits_BTV = logits_BTV[..., jnp.array(program.tokens)]
    return jax.nn.log_softmax(logits_BTV, axis=-1)


def loss_of(program: Program):
    """A loss of the project's signature: cross-entropy on tokens, or forward KL to a teacher.

    `batch` has tokens [B, T] and weight [B, T - 1]; under a KL also teacher [B, T - 1, C], the
    teacher's log-probabilities over the program's tokens.
    """

    def loss_fn(trainable, held, batch, key):
        del key
        logits_BTV = student_logits(program, trainable, held, batch['tokens'][:, :-1])
        log_q = chosen(program, logits_BTV)
        if program.objective == 'sft':
            target_BT = batch['tokens'][:, 1:, None]
            loss_BT = -jnp.take_along_axis(log_q, target_BT, axis=-1)[..., 0]
        else:
            log_p = batch['teacher']
            loss_BT = (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
        return (loss_BT * batch['weight']).sum(), {'weight': batch['weight'].sum()}

    return loss_fn


@functools.lru_cache(maxsize=64)
def trainer(program: Program):
    """train(states, held, batches) -> (states, losses [M, steps]), batches stacked [M, steps, ...].

    A batch of zero weight leaves its model as it was, so models may take different numbers of
    steps in one program.
    """
    step = make_step(loss_of(program), OPTIMIZERS[program.optimizer](program.learning_rate))

    def one(state, held, batches):
        def body(state, batch):
            state, metrics = step(state, held, batch, jax.random.key(0))
            return state, metrics['loss']

        return jax.lax.scan(body, state, batches)

    return jax.jit(jax.vmap(one))


@functools.lru_cache(maxsize=16)
def teacher_logprobs(program: Program):
    """(teacher params [M, ...], tokens [M, N, T]) -> log-probabilities [M, N, T - 1, C]."""
    def one(params, tokens_NT):
        return chosen(program, networks.logits(program.model, params, tokens_NT[:, :-1]))

    return jax.jit(jax.vmap(one))


def run_steps(program: Program, states: Any, held: Any, batches: Mapping[str, Any],
              first: int, last: int, unit: int) -> tuple[Any, list]:
    """Takes steps first..last of batches [M, steps, ...], `unit` a call: one compiled length."""
    losses = []
    for begin_at in range(first, last, unit):
        part = {k: v[:, begin_at:begin_at + unit] for k, v in batches.items()}
        states, loss = trainer(program)(states, held, part)
        losses.append(loss)
    return states, losses
