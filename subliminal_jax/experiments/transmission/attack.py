"""An adaptive attacker: which rows of a pool would give a student the trait, defence and all?

It trains a student of its own on the whole pool, differentiates what the student says at the end
through every step of that training (the real loss, optimiser and defence; `lax.scan`, each step
computed again on the way back) by the weight of every row, and picks the rows with the largest
derivative. It knows everything but the order of rows and, of an adapter, the start that other
students will have. It knows the questions that measure the trait: a defender's worst case.

Adam is not differentiable where a weight has never had a gradient (a token that has not come up),
and nearly a step function where gradients are small: its derivative there says nothing of changes
that could be made. The attacker's has `ROOT` under its root, and is else the students'. With it
the derivative of a small training holds for changes of a row's weight by 3 %
(tests/experiments/transmission/test_attack.py).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.engines import Program
from subliminal_jax.training import losses
from subliminal_jax.training.optimizers import make_optimizer
from subliminal_jax.training.step import init_state

COST = 4.0  # steps in one that is differentiated: taken, taken again, and on the way back
ROOT = 1e-6  # of squared gradients


class Aim(NamedTuple):
    """What an attacker wants, static.

    Attributes:
      program: of the students' training.
      loss: the trait's (traits.py): what falls as a column rises.
      columns: of the measure.
    """

    program: Program
    loss: Callable[..., jax.Array]
    columns: int


def smooth(program: Program) -> Program:
    """The program with an optimiser that can be differentiated everywhere."""
    return program._replace(optimizer=dataclasses.replace(program.optimizer, eps_root=ROOT))


def orders(steps: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows [T, B] of every step, whether they are live [T, B]) of steps of up to `size` rows."""
    order_TB = np.zeros((len(steps), size), np.int32)
    live_TB = np.zeros((len(steps), size), np.float32)
    for number, step in enumerate(steps):
        order_TB[number, :len(step)], live_TB[number, :len(step)] = step, 1
    return order_TB, live_TB


def trained(program: Program, trainable: Any, frozen: Any, batch: Any, order_TB: jax.Array,
            live_TB: jax.Array, weight_N: jax.Array) -> Any:
    """What one student trains, after all its steps; differentiable by `weight_N`.

    Args:
      program: of the training (`smooth`).
      trainable, frozen: before the first step.
      batch: N rows, each packed alone.
      order_TB, live_TB: of `orders`.
      weight_N: what each row counts; 1 is as it is.
    """
    step = engines.plain_step(program)

    @jax.checkpoint
    def body(state, numbered):
        index_B, live_B = numbered
        part = jax.tree.map(lambda x: jnp.asarray(x)[index_B], batch)
        weight_B1 = (weight_N[index_B] * live_B)[:, None]
        tries = part['tries']
        part = {**part, 'tries': tries._replace(weight_BU=tries.weight_BU * weight_B1,
                                                weight_BK=tries.weight_BK * weight_B1)}
        return step(state, frozen, part, jax.random.key(0))[0], None

    begun = init_state(trainable, make_optimizer(program.optimizer, program.num_steps))
    return jax.lax.scan(body, begun, (order_TB, live_TB))[0].trainable


def score(aim: Aim, trainable: Any, frozen: Any, meter: Any, column: jax.Array) -> jax.Array:
    """What the attacker raises: the own column less the mean of the others, as selectivity has it;
    of one column, that."""
    model = losses.resolve(trainable, frozen)
    rise_K = jax.vmap(lambda k: -aim.loss(*model, meter, k, config=aim.program.config))(
        jnp.arange(aim.columns))
    if aim.columns == 1:
        return rise_K[0]
    return rise_K[column] - (rise_K.sum() - rise_K[column]) / (aim.columns - 1)


def outcome(aim: Aim, trainable: Any, frozen: Any, batch: Any, order_TB: jax.Array,
            live_TB: jax.Array, meter: Any, column: jax.Array, weight_N: jax.Array) -> jax.Array:
    """`score` of a student that has trained on rows of these weights."""
    after = trained(aim.program, trainable, frozen, batch, order_TB, live_TB, weight_N)
    return score(aim, after, frozen, meter, column)


def metagradient(aim: Aim, trainable: Any, frozen: Any, batch: Any, order_TB: np.ndarray,
                 live_TB: np.ndarray, meter: Any, columns_M: np.ndarray) -> np.ndarray:
    """d score / d weight of every row [M, N], at weights of one, of M students side by side.

    Args:
      aim: what is wanted.
      trainable: of M students, stacked.
      frozen: as engines.frozen_axes has it: 'base' shared, 'held' of each or shared.
      batch: [M, N, ...].
      order_TB, live_TB: of `orders`, the same for all.
      meter: of the trait.
      columns_M: whose trait each attacker wants in its student.
    """
    found = _slopes(aim)(trainable, frozen, batch, order_TB, live_TB, meter,
                         jnp.asarray(columns_M))
    return np.asarray(found, np.float64)


@functools.lru_cache(maxsize=16)
def _slopes(aim):
    def one(trainable, frozen, batch, order_TB, live_TB, meter, column):
        weight_N = jnp.ones(len(batch['tries'].tokens_BT))
        return jax.grad(lambda w: outcome(
            aim, trainable, frozen, batch, order_TB, live_TB, meter, column, w))(weight_N)

    axes = engines.frozen_axes(aim.program, True)
    return jax.jit(jax.vmap(one, in_axes=(0, axes, 0, None, None, None, 0)))


def ends(program: Program, trainable: Any, frozen: Any, batch: Any, order_TB: np.ndarray,
         live_TB: np.ndarray) -> Any:
    """What M models side by side are after `trained`, at weights of one; arguments of
    `metagradient`."""
    return _ends(program)(trainable, frozen, batch, order_TB, live_TB)


@functools.lru_cache(maxsize=16)
def _ends(program):
    def one(trainable, frozen, batch, order_TB, live_TB):
        return trained(program, trainable, frozen, batch, order_TB, live_TB,
                       jnp.ones(len(batch['tries'].tokens_BT)))

    return jax.jit(jax.vmap(one, in_axes=(0, engines.frozen_axes(program, True), 0, None, None)))


def largest(slope_N: np.ndarray, count: int) -> np.ndarray:
    """The rows of the largest derivatives, as they stand in the pool."""
    return np.sort(np.argsort(-slope_N, kind='stable')[:count])
