"""Along training: does each step of a real MNIST student still go where its teacher went?

At every k-th step of a student's run, its step is compared with the teacher's displacement, with
-grad L_T at the student, with a placebo teacher's displacement (same start, same batches, permuted
labels), and with random directions of the covariance of the teacher's own updates: runs from one
start share directions that are no trait, and these show how much of a cosine that alone can give.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_jax.experiments.digits import (
    CLASSES,
    OPTIMIZERS,
    epoch_order,
    label_maps,
    logit_mask,
    to_unit,
)
from subliminal_jax.models import mlp
from subliminal_jax.theory import trees
from subliminal_jax.training.losses import make_kl_loss, soft_targets
from subliminal_jax.training.step import TrainState, init_state, make_step

STUDENTS = ('shared', 'independent', 'placebo')
CHUNK = 10_000  # inputs of a teacher's pass
# What each fold of a model's key is for; never renumber.
START, OTHER_START, TEACHER_ORDER, STUDENT_ORDER, NOISE, RANDOM = range(6)


class Plan(NamedTuple):
    """What a track depends on; hashable.

    Attributes:
      sizes, activation: of the MLP.
      teacher_rate: Adam's, for the teachers (the published recipe).
      batch_size, epochs: of teachers and students.
      every: a probe each so many steps.
      directions: how many random directions.
      probe_images: examples behind L_T and the accuracy.
    """

    sizes: tuple[int, ...]
    activation: str
    teacher_rate: float
    batch_size: int
    epochs: int
    every: int
    directions: int
    probe_images: int


class Teachers(NamedTuple):
    """One model's teachers.

    Attributes:
      start: theta_0.
      trained: [2, ...], the teacher's and the placebo's weights.
      random: [K, ...], random directions of the covariance of the teacher's updates.
    """

    start: Any
    trained: Any
    random: Any


def apply_each(plan: Plan) -> Callable:
    """(params [S, ...], x [B, P]) -> logits [S, B, C]."""

    def apply(params, x_BP):
        stacked = [{**layer, 'w': layer['w'].swapaxes(1, 2)} for layer in params]
        return mlp.apply_stack(stacked, x_BP, plan.activation).swapaxes(1, 2)

    return apply


def _orders(plan: Plan, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Rows and weights of every step [windows, every, batch]; padded steps have weight zero."""
    index, weight = jax.vmap(lambda n: epoch_order(jax.random.fold_in(key, n), count,
                                                   plan.batch_size))(jnp.arange(plan.epochs))
    index, weight = (a.reshape(-1, a.shape[-1]) for a in (index, weight))
    pad = -len(index) % plan.every
    return tuple(jnp.pad(a, ((0, pad), (0, 0))).reshape(-1, plan.every, a.shape[-1])
                 for a in (index, weight))


@functools.cache
def _teacher_window(plan: Plan):
    loss = make_kl_loss(apply_each(plan))
    step = make_step(loss, optax.adam(plan.teacher_rate))
    mask = np.broadcast_to(logit_mask('class', plan.sizes[-1]), (2, plan.sizes[-1]))

    @jax.jit
    def window(state, sums, images, labels, maps, index, weight, draws):
        def body(carry, row):
            state, sums = carry
            rows, w, draw_K = row
            told = jax.nn.one_hot(maps[:, labels[rows]], plan.sizes[-1])
            batch = {'x': to_unit(images[rows]), 'targets': told, 'weight': w}
            moved, _ = step(state, {'mask': jnp.asarray(mask)}, batch, None)
            update = jax.tree.map(lambda a, b: a[0] - b[0], moved.trainable, state.trainable)
            sums = jax.tree.map(
                lambda s, u: s + draw_K.reshape((-1,) + (1,) * u.ndim) * u[None], sums, update)
            return (moved, sums), None

        return jax.lax.scan(body, (state, sums), (index, weight, draws))[0]

    return window


def train_teachers(plan: Plan, key: jax.Array, seed: int, data, tick: Callable) -> Teachers:
    """Trains the teacher and its placebo from one start, on the same batches.

    Args:
      plan: the static part.
      key: the model's.
      seed: of the placebo's label permutation.
      data: the labelled set.
      tick: called after every window of steps.
    """
    fold = functools.partial(jax.random.fold_in, key)
    start = mlp.init(fold(START), plan.sizes)
    state = init_state(jax.tree.map(lambda a: jnp.stack([a, a]), start),
                       optax.adam(plan.teacher_rate))
    images, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    maps = jnp.asarray(label_maps(seed))
    index, weight = _orders(plan, fold(TEACHER_ORDER), len(images))
    real = (weight.sum(axis=-1) > 0).astype(jnp.float32)  # padded steps draw nothing
    draws = jax.random.normal(fold(RANDOM), (*real.shape, plan.directions)) * real[..., None]
    sums = jax.tree.map(lambda a: jnp.zeros((plan.directions, *a.shape)), start)
    window = _teacher_window(plan)
    for i in range(len(index)):
        state, sums = window(state, sums, images, labels, maps, index[i], weight[i], draws[i])
        tick()
    moved = jax.tree.map(lambda a, b: a[0] - b, state.trainable, start)
    mean_K = draws.sum(axis=(0, 1)) / real.sum()
    random = jax.tree.map(
        lambda s, d: s - mean_K.reshape((-1,) + (1,) * d.ndim) * d[None], sums, moved)
    return Teachers(start, state.trainable, random)


@functools.cache
def _student_window(plan: Plan, optimizer: str, rate: float):
    """(state, frozen) over `every` steps, with a probe of the first."""
    forward = apply_each(plan)
    step = make_step(make_kl_loss(forward), OPTIMIZERS[optimizer](rate))
    mask = np.broadcast_to(logit_mask('aux', plan.sizes[-1]), (len(STUDENTS), plan.sizes[-1]))
    teacher_of = np.array([int(name == 'placebo') for name in STUDENTS])

    def batch_of(fixed, rows, w):
        told = soft_targets(fixed['told'][:, rows][teacher_of], jnp.asarray(mask)[:, None])
        return {'x': fixed['inputs'][rows], 'targets': told, 'weight': w}

    def advance(state, fixed, row):
        return step(state, {'mask': jnp.asarray(mask)}, batch_of(fixed, *row), None)

    @jax.jit
    def window(state: TrainState, fixed, index, weight):
        moved, metrics = advance(state, fixed, (index[0], weight[0]))
        seen = jax.vmap(functools.partial(_probe, plan, fixed))(
            fixed['starts'], state.trainable, moved.trainable)

        def body(state, row):
            return advance(state, fixed, row)[0], None

        moved, _ = jax.lax.scan(body, moved, (index[1:], weight[1:]))
        return moved, {**seen, 'loss': metrics['losses']}

    return window


def _probe(plan: Plan, fixed, start, before, after):
    """One student's step against everything it is compared with."""
    own, placebo, random = fixed['directions']
    step = trees.subtract(after, before)

    def trait_loss(params):
        logits = mlp.apply(params, fixed['images'], plan.activation)[:, :CLASSES]
        log_p = jax.nn.log_softmax(logits, axis=-1)
        return -jnp.mean(jnp.take_along_axis(log_p, fixed['labels'][:, None], axis=1))

    value, slope = jax.value_and_grad(trait_loss)(before)
    guess = jnp.argmax(mlp.apply(before, fixed['test_images'], plan.activation)[:, :CLASSES], -1)
    hits = fixed['maps'][:, fixed['test_labels']] == guess[None]
    return {
        'inner_teacher': trees.dot(step, own), 'cosine_teacher': trees.cosine(step, own),
        'cosine_placebo': trees.cosine(step, placebo),
        'cosine_random': jax.vmap(functools.partial(trees.cosine, step))(random),
        'cosine_path': trees.cosine(trees.subtract(before, start), own),
        'inner_descent': -trees.dot(step, slope), 'cosine_descent': -trees.cosine(step, slope),
        'trait_loss': value, 'trait_loss_change': trait_loss(after) - value,
        'accuracy': hits[0].mean(), 'permuted_accuracy': hits[1].mean()}


def train_students(
    plan: Plan, optimizer: str, rate: float, key: jax.Array, seed: int, teachers: Teachers, data,
    tick: Callable,
) -> dict[str, np.ndarray]:
    """Trains the students of one optimizer on noise and auxiliary logits, probing as they go.

    Returns:
      Arrays [probes, students] by name ('cosine_random': [probes, students, K]); the probe i is of
      step i * every.
    """
    fold = functools.partial(jax.random.fold_in, key)
    other = mlp.init(fold(OTHER_START), plan.sizes)
    starts = jax.tree.map(lambda a, b: jnp.stack([a, b, a]), teachers.start, other)
    count, pixels = data.train_images.shape
    few = plan.probe_images
    moved = [jax.tree.map(lambda a, b, i=i: a[i] - b, teachers.trained, teachers.start)
             for i in range(2)]
    inputs = jax.random.uniform(fold(NOISE), (count, pixels), minval=-1)
    forward = jax.jit(apply_each(plan))
    told = [forward(teachers.trained, inputs[i:i + CHUNK]) for i in range(0, count, CHUNK)]
    fixed = {
        'starts': starts, 'directions': (*moved, teachers.random), 'inputs': inputs,
        'told': jnp.concatenate(told, axis=1),
        'images': to_unit(data.train_images[:few]), 'labels': jnp.asarray(data.train_labels[:few]),
        'test_images': to_unit(data.test_images[:few]),
        'test_labels': jnp.asarray(data.test_labels[:few]),
        'maps': jnp.asarray(label_maps(seed))}
    state = init_state(starts, OPTIMIZERS[optimizer](rate))
    index, weight = _orders(plan, fold(STUDENT_ORDER), count)
    window = _student_window(plan, optimizer, rate)
    rows = []
    for i in range(len(index)):
        state, seen = window(state, fixed, index[i], weight[i])
        rows.append(jax.tree.map(np.asarray, seen))
        tick()
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
