"""One model of the matrix: its teachers, clones and students as functions of their state.

All networks of one model read the same noise. What they match on it stands side by side: the logits
of the untrained teacher (for clones), of the teacher, and of the placebo's.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from subliminal_jax.experiments.cross_model.digits.config import TEACHER, Group, clone_of
from subliminal_jax.experiments.cross_model.digits.starts import start_weights
from subliminal_jax.experiments.digits import CLASSES, to_unit
from subliminal_jax.experiments.digits.devices import over_models
from subliminal_jax.experiments.digits.training import (
    CLONE_ORDER,
    PLACEBO_LABELS,
    STUDENT_ORDER,
    Epoch,
    labels_epoch,
    noise_block,
    optimizer_of,
    outputs_epoch,
    shown,
    start_of,
)
from subliminal_jax.models import mlp
from subliminal_jax.training.step import TrainState, init_state


def begin(group: Group, key: jax.Array) -> tuple[mlp.Params, TrainState]:
    """One model before training: (its start as a stack of one, its teachers' state)."""
    own = start_of(group, key)
    return mlp.stack([own]), init_state(
        mlp.stack([own] * len(group.teachers)), optimizer_of(_as_teachers(group)))


def teacher_epoch(
    group: Group, state: TrainState, key: jax.Array, number: int, images: jax.Array,
    labels: jax.Array, renamed: jax.Array,
) -> Epoch:
    """One epoch of one model's teachers.

    Args:
      group: what is trained.
      state: of the teachers.
      key: the model's.
      number: the epoch's.
      images: uint8 [N, P].
      labels: int [N].
      renamed: int [10], what a placebo teacher of renamed classes is told.
    """
    told = [labels if name == TEACHER else _placebo_labels(group, key, labels, renamed)
            for name in group.teachers]
    return labels_epoch(_as_teachers(group), state, key, number, images, jnp.stack(told))


def _as_teachers(group):
    return group._replace(optimizer='adam', learning_rate=group.teacher_rate)


def _placebo_labels(group, key, labels, renamed):
    if group.placebo == 'renamed':
        return renamed[labels]
    return jax.random.permutation(jax.random.fold_in(key, PLACEBO_LABELS), labels)


def noise(
    group: Group, key: jax.Array, start: mlp.Params, teachers: mlp.Params, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One model's inputs [N, P], and logits of its start and teachers on them [N, 1 + T, C].

    Args:
      group: what is trained.
      key: the model's.
      start: its own, a stack of one.
      teachers: a stack of T.
      images: [N, P], whose shape alone counts.
    """
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), start, teachers)
    return shown(group, both, len(images), noise_block(key, group.sizes[0]))


def clone_begin(group: Group, other_key: jax.Array) -> TrainState:
    """One model's clones before training: each is the other model's start."""
    other = start_of(group, other_key)
    return init_state(mlp.stack([other] * len(group.clones)), optimizer_of(group))


def clone_epoch(group: Group, state: TrainState, key, inputs, logits_NTC, number) -> Epoch:
    """One epoch of one model's clones: KL to the untrained teacher's logits on noise."""
    masks = np.stack([logits_of(c.num_aux, group, c.logits == 'all') for c in group.clones])
    return outputs_epoch(group, state, _order(key, CLONE_ORDER, number), inputs, logits_NTC,
                         [0] * len(group.clones), masks)


def student_begin(
    group: Group, key: jax.Array, other_key: jax.Array, clones: mlp.Params | None
) -> TrainState:
    """One model's students before training.

    Args:
      group: what is trained.
      key, other_key: the model's, and that of the model whose start is the other one.
      clones: the stack of trained clones; None without any.
    """
    own, other = start_of(group, key), start_of(group, other_key)
    trained = dict(zip(group.clones, mlp.unstack(clones))) if group.clones else {}
    starts = [start_weights(s.start, own, other, trained.get(clone_of(s))) for s in group.students]
    return init_state(mlp.stack(starts), optimizer_of(group))


def student_epoch(group: Group, state: TrainState, key, inputs, logits_NTC, number) -> Epoch:
    """One epoch of one model's students: KL to their teachers' first m auxiliary logits."""
    masks = np.stack([logits_of(s.num_aux, group) for s in group.students])
    whose = [1 + group.teachers.index(s.teacher) for s in group.students]
    return outputs_epoch(group, state, _order(key, STUDENT_ORDER, number), inputs, logits_NTC,
                         whose, masks)


def _order(key, use, number):
    return jax.random.fold_in(jax.random.fold_in(key, use), number)


def logits_of(num_aux: int, group: Group, classes: bool = False) -> np.ndarray:
    """bool [C]: the first m auxiliary logits, and the classes' if asked for."""
    index = np.arange(group.sizes[-1])
    return (index < CLASSES + num_aux) & ((index >= CLASSES) | classes)


def accuracy(
    group: Group, stack: mlp.Params, start: mlp.Params, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """Shares of images guessed right [S, 2]: by a network's own class head, and by the initial
    class head of its teacher on its own body.

    Args:
      group: what was trained.
      stack: of S networks.
      start: the teacher's, a stack of one.
      images: uint8 [N, P].
      labels: int [N].
    """
    hidden_SFB = mlp.hidden_stack(stack, to_unit(images), group.activation)
    own, initial = stack[-1], start[-1]
    by_head = []
    for w_SCF, b_SC in ((own['w'], own.get('b')), (initial['w'], initial.get('b'))):
        w_SCF = jnp.broadcast_to(w_SCF[:, :CLASSES], (len(own['w']), CLASSES, w_SCF.shape[-1]))
        logits_SCB = jnp.einsum('scf,sfb->scb', w_SCF, hidden_SFB)
        if b_SC is not None:
            logits_SCB = logits_SCB + b_SC[:, :CLASSES, None]
        by_head.append(jnp.mean(jnp.argmax(logits_SCB, axis=1) == labels[None], axis=-1))
    return jnp.stack(by_head, axis=-1)


def moments(
    group: Group, stack: mlp.Params, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What a probe of the last hidden layer is fitted on: sums over a block of images.

    Args:
      group: what was trained.
      stack: of S networks, of which the probed ones are taken.
      images: uint8 [N, P].
      labels: int [N].

    Returns:
      (sums of z z' [Q, F + 1, F + 1], sums of z y' [Q, F + 1, 10]), z being the features and a one,
      y the label one-hot.
    """
    z_QFB = _features(group, stack, images)
    y_BC = jax.nn.one_hot(labels, CLASSES)
    return jnp.einsum('qfb,qgb->qfg', z_QFB, z_QFB), jnp.einsum('qfb,bc->qfc', z_QFB, y_BC)


def probed(
    group: Group, stack: mlp.Params, weights_QFC: jax.Array, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """Shares of images that the probes guess right [Q].

    Args:
      group: what was trained.
      stack: of S networks, of which the probed ones are taken.
      weights_QFC: of the probes [Q, F + 1, 10].
      images: uint8 [N, P].
      labels: int [N].
    """
    scores_QCB = jnp.einsum('qfc,qfb->qcb', weights_QFC, _features(group, stack, images))
    return jnp.mean(jnp.argmax(scores_QCB, axis=1) == labels[None], axis=-1)


def _features(group, stack, images):
    some = jax.tree.map(lambda leaf: leaf[np.array(group.probed)], stack)
    hidden_QFB = mlp.hidden_stack(some, to_unit(images), group.activation)
    ones_Q1B = jnp.ones_like(hidden_QFB[:, :1])
    return jnp.concatenate([hidden_QFB, ones_Q1B], axis=1)


class Programs(NamedTuple):
    """The functions of this module over M models, without their group."""

    begin: Callable
    teacher_epoch: Callable
    noise: Callable
    clone_begin: Callable
    clone_epoch: Callable
    student_begin: Callable
    student_epoch: Callable
    accuracy: Callable
    moments: Callable
    probed: Callable


@functools.cache
def programs(group: Group, mesh: Mesh) -> Programs:
    """Builds the programs: each is a function of one model, over M models."""
    made = over_models(mesh, group)
    return Programs(
        begin=made(begin, 1, 0),
        teacher_epoch=made(teacher_epoch, 2, 4, donate=(0,)),
        noise=made(noise, 3, 1),
        clone_begin=made(clone_begin, 1, 0),
        clone_epoch=made(clone_epoch, 4, 1, donate=(0,)),
        student_begin=made(student_begin, 3, 0),
        student_epoch=made(student_epoch, 4, 1, donate=(0,)),
        accuracy=made(accuracy, 2, 2),
        moments=made(moments, 1, 2),
        probed=made(probed, 2, 2))
