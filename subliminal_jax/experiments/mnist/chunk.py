"""A chunk: M models trained at once, and what is kept of them.

Two phases follow one another, the teachers' and the students'. Each trains a stack of networks a
model, epoch by epoch, and measures it; a chunk is the reference and these phases joined.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.images import Images
from subliminal_jax.experiments.digits.devices import by_model, devices_mesh
from subliminal_jax.experiments.digits.watching import Watch
from subliminal_jax.experiments.mnist.arms import Recipe
from subliminal_jax.experiments.mnist.programs import Programs, programs
from subliminal_jax.models import mlp
from subliminal_jax.training.step import TrainState

SEEN = 6  # inputs of every model that are kept for the page


class Chunk(NamedTuple):
    """All that the training of M models reads.

    Attributes:
      recipe: the static part.
      data: the labelled set.
      inputs: uint8 [N, P], the images that students see where the recipe has no noise; for noise,
        its shape alone counts.
      keys, other_keys: the models' keys and those of their cross students' starts, [M].
      label_maps: int [2, 10]: the identity, and the placebo's.
      epochs: (teachers', students').
      curve_images: how many test images an epoch's accuracy is measured on; 0 for no curves.
    """

    recipe: Recipe
    data: Images
    inputs: np.ndarray
    keys: jax.Array
    other_keys: jax.Array
    label_maps: np.ndarray
    epochs: tuple[int, int]
    curve_images: int


class Trained(NamedTuple):
    """What a chunk leaves; the last axis of every array is M.

    Attributes:
      accuracy: condition -> [M], by the true labels.
      permuted: 'placebo' and 'placebo_teacher' -> [M], by the placebo's labels.
      curves: condition -> [epochs + 1, M], on the first `curve_images` test images.
      losses: condition -> [epochs, M], the mean loss of each epoch.
      seen: 'inputs' -> [SEEN, P, M], the first inputs of the students; empty without students.
    """

    accuracy: dict[str, np.ndarray]
    permuted: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    losses: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]


class Phase(NamedTuple):
    """The training of one stack of networks a model.

    Attributes:
      name: 'teacher' or 'student'.
      conditions: what each network of the stack is.
      epochs: how many.
      advance: (state, epoch's number) -> (state, losses [M, steps, S]).
    """

    name: str
    conditions: Sequence[str]
    epochs: int
    advance: Callable[[TrainState, int], tuple[TrainState, jax.Array]]


class Exam(NamedTuple):
    """How stacks of networks are measured.

    Attributes:
      accuracy: the program.
      images, labels: the test set, [N', P] and [N'].
      label_maps: int [2, 10].
      few: how many images stand behind a curve's point.
    """

    accuracy: Callable[..., jax.Array]
    images: jax.Array
    labels: jax.Array
    label_maps: jax.Array
    few: int


def train_chunk(chunk: Chunk, watch: Watch) -> Trained:
    """Trains and measures the teachers and students of M models.

    Args:
      chunk: what is trained, and on what.
      watch: called with (phase, epoch, losses [M, steps, S]) after each epoch; may raise.
    """
    recipe, mesh = chunk.recipe, devices_mesh()
    run = programs(recipe, mesh)
    keys, other_keys = jax.device_put((chunk.keys, chunk.other_keys), by_model(mesh))
    exam = exam_of(run, chunk)
    reference, state = run.begin(keys, other_keys)
    parts = [measured(exam, reference, ('reference',))]
    if recipe.teachers:
        state, found = train(_teachers(run, chunk, keys), state, exam, watch)
        parts.append(found)
    if recipe.arms:
        students, x, logits = run.student_begin(
            state.trainable, keys, other_keys, jnp.asarray(chunk.inputs))
        seen = {'inputs': np.moveaxis(np.asarray(x[:, :SEEN]), 0, -1)}
        phase = Phase('student', recipe.arms, chunk.epochs[1],
                      lambda s, n: run.student_epoch(s, keys, x, logits, n))
        _, found = train(phase, students, exam, watch)
        parts.append(found._replace(seen=seen))
    return Trained(*(functools.reduce(dict.__or__, group) for group in zip(*parts)))


def _teachers(run: Programs, chunk: Chunk, keys: jax.Array) -> Phase:
    teachers = chunk.recipe.teachers
    images, labels, told = map(jnp.asarray, (
        chunk.data.train_images, chunk.data.train_labels, chunk.label_maps[: len(teachers)]))
    return Phase('teacher', teachers, chunk.epochs[0],
                 lambda s, n: run.teacher_epoch(s, keys, n, images, labels, told))


def train(
    phase: Phase, state: TrainState, exam: Exam, watch: Watch
) -> tuple[TrainState, Trained]:
    """Trains a phase's epochs, and measures before, between (for curves) and after them."""
    points, losses = [score(exam, state.trainable, exam.few)], []
    for number in range(phase.epochs):
        state, loss = phase.advance(state, number)
        loss = np.asarray(loss)
        watch(phase.name, number, loss)
        losses.append(loss.mean(axis=1))
        points.append(score(exam, state.trainable, exam.few))
    found = measured(exam, state.trainable, phase.conditions)
    curves = by_condition(phase.conditions, np.stack(points)[:, :, 0]) if exam.few else {}
    return state, found._replace(
        curves=curves, losses=by_condition(phase.conditions, np.stack(losses)))


def exam_of(run: Programs, chunk: Chunk) -> Exam:
    """The exam of a chunk's networks."""
    return Exam(run.accuracy, *map(jnp.asarray, (
        chunk.data.test_images, chunk.data.test_labels, chunk.label_maps)), chunk.curve_images)


def score(exam: Exam, stack: mlp.Params, count: int | None = None) -> np.ndarray | None:
    """Accuracies [M, maps, S] on the first `count` images (all, for None; no score for 0)."""
    if count == 0:
        return None
    return np.asarray(exam.accuracy(
        stack, exam.images[:count], exam.labels[:count], exam.label_maps))


def by_condition(conditions: Sequence[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """An array's last axis, the networks of a stack, by what each network is."""
    return {name: values[..., place] for place, name in enumerate(conditions)}


def measured(exam: Exam, stack: mlp.Params, conditions: Sequence[str]) -> Trained:
    """The accuracies of a stack by condition, on all images."""
    found = by_condition(conditions, score(exam, stack))  # [M, maps]
    return Trained(
        accuracy={name: both[:, 0] for name, both in found.items()},
        permuted={name: both[:, 1] for name, both in found.items() if name.startswith('placebo')},
        curves={}, losses={}, seen={})
