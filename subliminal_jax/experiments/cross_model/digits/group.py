"""A chunk of a group: M models' teachers, clones and students, trained and measured."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.images import Images
from subliminal_jax.experiments.cross_model.digits.config import Group
from subliminal_jax.experiments.cross_model.digits.networks import Programs, programs
from subliminal_jax.experiments.cross_model.digits.probe import ridge
from subliminal_jax.experiments.digits import devices
from subliminal_jax.experiments.digits.watching import Watch
from subliminal_jax.models import mlp

FIT_BLOCK = 5000  # images whose features are held at once


class Chunk(NamedTuple):
    """All that the training of M models reads.

    Attributes:
      group: what is trained.
      data: the labelled set.
      keys, other_keys: the models' keys and those of their other starts, [M].
      renamed: int [10], what a placebo teacher of renamed classes is told.
      epochs: (teachers', clones', students').
      probe_images, ridge: how many images a probe is fitted on, and its strength.
    """

    group: Group
    data: Images
    keys: jax.Array
    other_keys: jax.Array
    renamed: np.ndarray
    epochs: tuple[int, int, int]
    probe_images: int
    ridge: float


class Found(NamedTuple):
    """What a chunk leaves; the last axis of every array is M.

    Attributes:
      teachers: accuracy by the true labels [T, M].
      start, accuracy: of the students before and after [S, 2, M]: own class head, teacher's
        initial class head.
      start_probe, probe: of the probed students before and after [Q, M].
      losses: mean loss of every epoch of the students [epochs, S, M].
      clone_losses: the same of the clones.
    """

    teachers: np.ndarray
    start: np.ndarray
    accuracy: np.ndarray
    start_probe: np.ndarray
    probe: np.ndarray
    losses: np.ndarray
    clone_losses: np.ndarray


def train_chunk(chunk: Chunk, watch: Watch) -> Found:
    """Trains and measures the networks of M models.

    Args:
      chunk: what is trained, and on what.
      watch: called with (phase, epoch, losses [M, steps, S]) after each epoch; may raise.
    """
    group, mesh = chunk.group, devices.devices_mesh()
    run = programs(group, mesh)
    keys, other_keys = jax.device_put((chunk.keys, chunk.other_keys), devices.by_model(mesh))
    shown, labels = jnp.asarray(chunk.data.train_images), jnp.asarray(chunk.data.train_labels)
    renamed = jnp.asarray(chunk.renamed)
    start, teachers = run.begin(keys)
    teachers, _ = _train('teacher', chunk.epochs[0], teachers, watch, lambda s, n:
                         run.teacher_epoch(s, keys, n, shown, labels, renamed))
    x, logits = run.noise(keys, start, teachers.trainable, shown)
    clones, clone_losses = None, np.zeros((0, 0, len(chunk.keys)))
    if group.clones:
        trained, clone_losses = _train(
            'clone', chunk.epochs[1], run.clone_begin(other_keys), watch,
            lambda s, n: run.clone_epoch(s, keys, x, logits, n))
        clones = trained.trainable
    students = run.student_begin(keys, other_keys, clones)
    before = _measured(run, chunk, students.trainable, start)
    students, losses = _train('student', chunk.epochs[2], students, watch, lambda s, n:
                              run.student_epoch(s, keys, x, logits, n))
    after = _measured(run, chunk, students.trainable, start)
    return Found(
        teachers=_accuracy(run, chunk, teachers.trainable, start)[:, 0],
        start=before[0], accuracy=after[0], start_probe=before[1], probe=after[1],
        losses=losses, clone_losses=clone_losses)


def _train(phase, epochs, state, watch, advance):
    """(state after the epochs, mean losses [epochs, S, M])."""
    means = []
    for number in range(epochs):
        state, losses = advance(state, number)
        losses = np.asarray(losses)
        watch(phase, number, losses)
        means.append(losses.mean(axis=1).T)
    return state, np.stack(means)


def _measured(run: Programs, chunk: Chunk, stack: mlp.Params, start: mlp.Params):
    return _accuracy(run, chunk, stack, start), _probes(run, chunk, stack)


def _accuracy(run, chunk, stack, start):
    """[S, 2, M]."""
    found = run.accuracy(stack, start, jnp.asarray(chunk.data.test_images),
                         jnp.asarray(chunk.data.test_labels))
    return np.moveaxis(np.asarray(found), 0, -1)


def _probes(run: Programs, chunk: Chunk, stack: mlp.Params) -> np.ndarray:
    """The probes' accuracy [Q, M], each fitted on training images and read on test images."""
    if not chunk.group.probed:
        return np.zeros((0, len(chunk.keys)))
    data = chunk.data
    count = min(chunk.probe_images, len(data.train_images))
    sums = None
    for first in range(0, count, FIT_BLOCK):
        some = slice(first, min(first + FIT_BLOCK, count))
        part = run.moments(stack, jnp.asarray(data.train_images[some]),
                           jnp.asarray(data.train_labels[some]))
        part = [np.asarray(array, np.float64) for array in part]
        sums = part if sums is None else [a + b for a, b in zip(sums, part)]
    zz, zy = sums
    weights = np.stack([[ridge(zz[m, q], zy[m, q], chunk.ridge) for q in range(zz.shape[1])]
                        for m in range(len(zz))])
    found = run.probed(stack, jnp.asarray(weights, jnp.float32),
                       jnp.asarray(data.test_images), jnp.asarray(data.test_labels))
    return np.asarray(found).T
