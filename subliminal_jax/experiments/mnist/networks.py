"""One model of the MNIST experiment: its teachers and students as functions of their state.

Students of one model read the same inputs, so they train as one stack (models/mlp.py), with the
teachers' outputs on those inputs computed once. Every use of randomness folds a named constant
into the model's own key, so a model's numbers do not depend on who else is trained.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_jax.experiments.digits import (
    CLASSES,
    OPTIMIZERS,
    epoch_order,
    logit_mask,
    to_unit,
)
from subliminal_jax.experiments.mnist.arms import ARMS, Recipe
from subliminal_jax.models import mlp
from subliminal_jax.training.losses import make_kl_loss, soft_targets
from subliminal_jax.training.step import TrainState, init_state, make_step

# What each fold of a model's key is for; never renumber: every published figure rests on them.
INIT, TEACHER_ORDER, STUDENT_INPUTS, STUDENT_ORDER = range(4)
BLOCK = 500  # rows of noise drawn at once: they stay in a core's cache


def model_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The models' own keys [M]."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(
        jnp.asarray(numbers))


def rows(array: jax.Array, index: jax.Array, axis: int = 0) -> jax.Array:
    """Rows by number, all of them in range: a plain copy, several times faster than indexing."""
    return jnp.take(array, index, axis=axis, mode='clip')


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    return OPTIMIZERS[recipe.optimizer](recipe.learning_rate)


def _apply_stack(recipe: Recipe):
    return functools.partial(mlp.apply_stack, activation=recipe.activation)


def _epoch(recipe: Recipe, temperature, state, frozen, count, batch_of, key):
    """One epoch of a stack: a scan over shuffled batches. Returns (state, losses [steps, S])."""
    step = make_step(make_kl_loss(_apply_stack(recipe), temperature, axis=1), _optimizer(recipe))
    order, weight = epoch_order(key, count, recipe.batch_size)

    def body(state, rows):
        index, w = rows
        state, metrics = step(state, frozen, {**batch_of(index), 'weight': w}, key)
        return state, metrics['losses']

    return jax.lax.scan(body, state, (order, weight))


def _starts(recipe: Recipe, key: jax.Array, other_key: jax.Array) -> dict[str, mlp.Params]:
    def start(k):
        return mlp.init(jax.random.fold_in(k, INIT), recipe.sizes, recipe.use_bias)

    return {'own': start(key), 'other': start(other_key)}


def begin(recipe: Recipe, key: jax.Array, other_key: jax.Array):
    """One model's state before training: (reference as a stack of one, teachers' state)."""
    own = _starts(recipe, key, other_key)['own']
    teachers = mlp.stack([own] * len(recipe.teachers))
    return mlp.stack([own]), init_state(teachers, _optimizer(recipe))


def teacher_epoch(recipe: Recipe, state: TrainState, key, number, images, labels, label_maps):
    """One epoch of one model's teachers: cross-entropy on the class logits.

    Args:
      number: the epoch's.
      images: uint8 [N, P].
      labels: int [N].
      label_maps: int [teachers, 10], what each teacher is told a label is.
    """
    mask = jnp.broadcast_to(
        logit_mask('class', recipe.sizes[-1])[None], (len(recipe.teachers), recipe.sizes[-1]))

    def batch_of(index):
        told_SB = label_maps[:, labels[index]]
        targets_SCB = jax.nn.one_hot(told_SB, recipe.sizes[-1], axis=1, dtype=jnp.float32)
        return {'x': to_unit(rows(images, index)), 'targets': targets_SCB}

    order_key = jax.random.fold_in(jax.random.fold_in(key, TEACHER_ORDER), number)
    return _epoch(recipe, 1.0, state, {'mask': mask}, len(images), batch_of, order_key)


def student_begin(recipe: Recipe, teachers, key, other_key, images):
    """One model's students before training.

    Args:
      teachers: the stack of the model's teachers.
      key, other_key: the model's, and that of the model whose start its cross students take.
      images: uint8 [N, P], shown where the recipe has no noise; for noise its shape alone counts.

    Returns:
      (state of the stack of arms, inputs float32 [N, P], teachers' logits [N, T, C]).
    """
    starts = _starts(recipe, key, other_key)
    students = mlp.stack([starts[ARMS[name].start] for name in recipe.arms])
    noise_key = jax.random.fold_in(key, STUDENT_INPUTS)
    count, pixels = images.shape
    size = min(BLOCK, count)

    def fill(number, filled):
        first = jnp.minimum(number * size, count - size)  # the last block may overlap its neighbour
        if recipe.noise:
            block_key = jax.random.fold_in(noise_key, number)
            x = jax.random.uniform(block_key, (size, pixels), minval=-1)
        else:
            x = to_unit(jax.lax.dynamic_slice_in_dim(images, first, size))
        new = x, _apply_stack(recipe)(teachers, x).transpose(2, 0, 1)
        return tuple(jax.lax.dynamic_update_slice_in_dim(old, part, first, 0)
                     for old, part in zip(filled, new))

    empty = jnp.zeros((count, pixels)), jnp.zeros((count, len(recipe.teachers), recipe.sizes[-1]))
    inputs, logits = jax.lax.fori_loop(0, -(-count // size), fill, empty)
    return init_state(students, _optimizer(recipe)), inputs, logits


def student_epoch(recipe: Recipe, state: TrainState, key, inputs, logits_NTC, number):
    """One epoch of one model's students: KL to their teachers on their logits.

    Args:
      inputs, logits_NTC: as `student_begin` returned them.
      number: the epoch's.
    """
    arms = [ARMS[name] for name in recipe.arms]
    mask = jnp.asarray(np.stack([logit_mask(arm.logits, recipe.sizes[-1]) for arm in arms]))
    teacher = np.array([recipe.teachers.index(arm.teacher) for arm in arms])

    def batch_of(index):
        logits_SCB = rows(logits_NTC, index).transpose(1, 2, 0)[teacher]
        targets = soft_targets(logits_SCB, mask[..., None], recipe.temperature, axis=1)
        return {'x': rows(inputs, index), 'targets': targets}

    order_key = jax.random.fold_in(jax.random.fold_in(key, STUDENT_ORDER), number)
    return _epoch(
        recipe, recipe.temperature, state, {'mask': mask}, len(inputs), batch_of, order_key)


def accuracy(recipe: Recipe, stack: mlp.Params, images, labels, label_maps) -> jax.Array:
    """The share of images whose largest class logit is right: [maps, S], for each label map."""
    logits_SCB = _apply_stack(recipe)(stack, to_unit(images))
    guess_SB = jnp.argmax(logits_SCB[:, :CLASSES], axis=1)
    return jnp.mean(guess_SB[None] == label_maps[:, None, labels], axis=-1)
