"""One model of an experiment on digits: its start, its inputs, an epoch of its networks.

The networks of one model read the same inputs, so they train as one stack (models/mlp.py). Every
use of randomness folds a named constant into the model's own key, so a model's numbers do not
depend on who else is trained.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_jax.experiments.digits import OPTIMIZERS, epoch_order, logit_mask, to_unit
from subliminal_jax.models import mlp
from subliminal_jax.training.losses import make_kl_loss, soft_targets
from subliminal_jax.training.step import TrainState, make_step

# What each fold of a model's key is for; never renumber: every published figure rests on them.
INIT, TEACHER_ORDER, STUDENT_INPUTS, STUDENT_ORDER, CLONE_ORDER, PLACEBO_LABELS = range(6)
BLOCK = 500  # rows of noise drawn at once: they stay in a core's cache
Epoch = tuple[TrainState, jax.Array]  # the state after it, and losses [steps, S]


class Recipe(Protocol):
    """What an epoch's program depends on; an experiment's own recipe may hold more.

    Attributes:
      sizes: widths from pixels to the logits.
      activation, use_bias: of the MLP.
      optimizer, learning_rate: of all networks.
      batch_size: the last, partial batch of an epoch is kept.
    """

    sizes: tuple[int, ...]
    activation: str
    use_bias: bool
    optimizer: str
    learning_rate: float
    batch_size: int


def model_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The models' own keys [M]."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(
        jnp.asarray(numbers))


def rows(array: jax.Array, index: jax.Array, axis: int = 0) -> jax.Array:
    """Rows by number, all of them in range: a plain copy, several times faster than indexing."""
    return jnp.take(array, index, axis=axis, mode='clip')


def optimizer_of(recipe: Recipe) -> optax.GradientTransformation:
    """The recipe's optimiser."""
    return OPTIMIZERS[recipe.optimizer](recipe.learning_rate)


def apply_of(recipe: Recipe) -> Callable[[mlp.Params, jax.Array], jax.Array]:
    """(stack, x [B, P]) -> logits [S, C, B]."""
    return functools.partial(mlp.apply_stack, activation=recipe.activation)


def start_of(recipe: Recipe, key: jax.Array) -> mlp.Params:
    """The initial weights of the model with this key."""
    return mlp.init(jax.random.fold_in(key, INIT), recipe.sizes, recipe.use_bias)


def labels_epoch(
    recipe: Recipe, state: TrainState, key: jax.Array, number: int, images: jax.Array,
    told_TN: jax.Array,
) -> Epoch:
    """One epoch of a model's teachers: cross-entropy on the class logits.

    Args:
      recipe: of the stack of T teachers.
      state: of that stack.
      key: the model's.
      number: the epoch's.
      images: uint8 [N, P].
      told_TN: int, what each teacher is told that an image's label is.
    """
    teachers, outputs = len(told_TN), recipe.sizes[-1]
    mask = jnp.broadcast_to(logit_mask('class', outputs)[None], (teachers, outputs))

    def batch_of(index):
        targets_SCB = jax.nn.one_hot(told_TN[:, index], outputs, axis=1, dtype=jnp.float32)
        return {'x': to_unit(rows(images, index)), 'targets': targets_SCB}

    order_key = jax.random.fold_in(jax.random.fold_in(key, TEACHER_ORDER), number)
    return _epoch(recipe, 1.0, state, {'mask': mask}, len(images), batch_of, order_key)


def outputs_epoch(
    recipe: Recipe, state: TrainState, order_key: jax.Array, inputs: jax.Array,
    logits_NTC: jax.Array, whose_S: Sequence[int], mask_SC: np.ndarray, temperature: float = 1.0,
) -> Epoch:
    """One epoch of a stack that matches others' outputs: KL on the logits of a mask.

    Args:
      recipe: of the stack.
      state: of the stack.
      order_key: of this epoch's order.
      inputs: float32 [N, P].
      logits_NTC: of T networks on the inputs.
      whose_S: which of the T each network of the stack matches.
      mask_SC: bool, on which logits.
      temperature: of both softmaxes.
    """
    mask, whose = jnp.asarray(mask_SC), np.asarray(whose_S)

    def batch_of(index):
        logits_SCB = rows(logits_NTC, index).transpose(1, 2, 0)[whose]
        targets = soft_targets(logits_SCB, mask[..., None], temperature, axis=1)
        return {'x': rows(inputs, index), 'targets': targets}

    return _epoch(recipe, temperature, state, {'mask': mask}, len(inputs), batch_of, order_key)


def shown(
    recipe: Recipe, networks: mlp.Params, count: int,
    block_of: Callable[[jax.Array, jax.Array, int], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """A model's inputs, and what a stack of T networks says of them.

    Args:
      recipe: of the stack.
      networks: the stack.
      count: how many inputs, N.
      block_of: (block's number, its first row, its rows) -> inputs [rows, P].

    Returns:
      (inputs float32 [N, P], logits [N, T, C]).
    """
    size = min(BLOCK, count)

    def fill(number, filled):
        first = jnp.minimum(number * size, count - size)  # the last block may overlap its neighbour
        x = block_of(number, first, size)
        new = x, apply_of(recipe)(networks, x).transpose(2, 0, 1)
        return tuple(jax.lax.dynamic_update_slice_in_dim(old, part, first, 0)
                     for old, part in zip(filled, new))

    how_many = len(networks[0]['w'])
    empty = (jnp.zeros((count, recipe.sizes[0])),
             jnp.zeros((count, how_many, recipe.sizes[-1])))
    return jax.lax.fori_loop(0, -(-count // size), fill, empty)


def noise_block(key: jax.Array, pixels: int) -> Callable[..., jax.Array]:
    """`shown`'s block_of for uniform noise in [-1, 1), the same whenever it is drawn.

    Args:
      key: the model's.
      pixels: of an input.
    """
    noise_key = jax.random.fold_in(key, STUDENT_INPUTS)

    def block_of(number, first, size):
        del first
        block_key = jax.random.fold_in(noise_key, number)
        return jax.random.uniform(block_key, (size, pixels), minval=-1)

    return block_of


def _epoch(recipe, temperature, state, frozen, count, batch_of, key):
    """One epoch of a stack: a scan over shuffled batches. Returns (state, losses [steps, S])."""
    step = make_step(make_kl_loss(apply_of(recipe), temperature, axis=1), optimizer_of(recipe))
    order, weight = epoch_order(key, count, recipe.batch_size)

    def body(state, rows):
        index, w = rows
        state, metrics = step(state, frozen, {**batch_of(index), 'weight': w}, key)
        return state, metrics['losses']

    return jax.lax.scan(body, state, (order, weight))
