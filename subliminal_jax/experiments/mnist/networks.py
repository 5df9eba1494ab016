"""One model of the MNIST experiment: its teachers and students as functions of their state.

Students of one model read the same inputs, so they train as one stack (digits/training.py), with
the teachers' outputs on those inputs computed once.
"""

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.digits import CLASSES, logit_mask, to_unit
from subliminal_jax.experiments.digits.training import (
    STUDENT_ORDER,
    apply_of,
    labels_epoch,
    noise_block,
    optimizer_of,
    outputs_epoch,
    shown,
    start_of,
)
from subliminal_jax.experiments.mnist.arms import ARMS, Recipe
from subliminal_jax.models import mlp
from subliminal_jax.training.step import TrainState, init_state


def _starts(recipe: Recipe, key: jax.Array, other_key: jax.Array) -> dict[str, mlp.Params]:
    return {'own': start_of(recipe, key), 'other': start_of(recipe, other_key)}


def begin(recipe: Recipe, key: jax.Array, other_key: jax.Array):
    """One model's state before training: (reference as a stack of one, teachers' state)."""
    own = _starts(recipe, key, other_key)['own']
    teachers = mlp.stack([own] * len(recipe.teachers))
    return mlp.stack([own]), init_state(teachers, optimizer_of(recipe))


def teacher_epoch(recipe: Recipe, state: TrainState, key, number, images, labels, label_maps):
    """One epoch of one model's teachers: cross-entropy on the class logits.

    Args:
      number: the epoch's.
      images: uint8 [N, P].
      labels: int [N].
      label_maps: int [teachers, 10], what each teacher is told a label is.
    """
    return labels_epoch(recipe, state, key, number, images, label_maps[:, labels])


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
    count, pixels = images.shape

    def images_block(number, first, size):
        del number
        return to_unit(jax.lax.dynamic_slice_in_dim(images, first, size))

    block_of = noise_block(key, pixels) if recipe.noise else images_block
    inputs, logits = shown(recipe, teachers, count, block_of)
    return init_state(students, optimizer_of(recipe)), inputs, logits


def student_epoch(recipe: Recipe, state: TrainState, key, inputs, logits_NTC, number):
    """One epoch of one model's students: KL to their teachers on their logits.

    Args:
      inputs, logits_NTC: as `student_begin` returned them.
      number: the epoch's.
    """
    arms = [ARMS[name] for name in recipe.arms]
    mask = np.stack([logit_mask(arm.logits, recipe.sizes[-1]) for arm in arms])
    teacher = [recipe.teachers.index(arm.teacher) for arm in arms]
    order_key = jax.random.fold_in(jax.random.fold_in(key, STUDENT_ORDER), number)
    return outputs_epoch(
        recipe, state, order_key, inputs, logits_NTC, teacher, mask, recipe.temperature)


def accuracy(recipe: Recipe, stack: mlp.Params, images, labels, label_maps) -> jax.Array:
    """The share of images whose largest class logit is right: [maps, S], for each label map."""
    logits_SCB = apply_of(recipe)(stack, to_unit(images))
    guess_SB = jnp.argmax(logits_SCB[:, :CLASSES], axis=1)
    return jnp.mean(guess_SB[None] == label_maps[:, None, labels], axis=-1)
