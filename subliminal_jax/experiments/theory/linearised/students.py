"""A teacher, its real student and its linearised student."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES, epoch_order, logit_mask, to_unit
from subliminal_jax.experiments.theory.linearised.config import Config
from subliminal_jax.models import mlp
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.theory import trees
from subliminal_jax.training.losses import make_kl_loss, soft_targets
from subliminal_jax.training.step import init_state, make_step

# What each fold of a model's key is for; never renumber: every figure rests on them.
START, TEACHER_ORDER, NOISE, STUDENT_ORDER = range(4)
STUDENTS = ('real', 'linearised')
EVAL_BATCH = 2000


def linearised(start: Any, activation: str):
    """(change of the weights, x) -> logits of the Taylor expansion around `start`."""

    def apply(change, x_BP):
        outputs, slope = jax.jvp(
            lambda p: mlp.apply(p, x_BP, activation), (start,), (change,))
        return outputs + slope

    return apply


@functools.partial(jax.jit, static_argnames=('config', 'kind', 'which'), donate_argnums=0)
def epoch(state, start, images_NP, targets_N, key, *, config: Config, kind: str, which: str):
    """One epoch of one model: a scan over shuffled batches.

    Args:
      state: its TrainState: of weights, or of the change of the weights.
      start: what a linearised student expands around.
      images_NP: uint8 images, or float inputs.
      targets_N: labels, or a teacher's logits [N, C].
      key: of the order.
      config, kind, which: the experiment's; 'real' or 'linearised'; the logits to match.

    Returns:
      (state, losses [steps]).
    """
    if kind == 'linearised':
        apply = linearised(start, config.activation)
    else:
        apply = functools.partial(mlp.apply, activation=config.activation)
    outputs = CLASSES + config.num_aux
    mask_SC = jnp.asarray(logit_mask(which, outputs))[None]
    loss = make_kl_loss(lambda params, x: apply(params, x)[None])
    step = make_step(loss, optax.adam(config.learning_rate))

    def body(state, row):
        index, weight = row
        if targets_N.ndim == 1:
            told = jax.nn.one_hot(targets_N[index], outputs)
        else:
            told = soft_targets(targets_N[index], mask_SC)
        batch = {'x': _pixels(images_NP[index]), 'targets': told[None], 'weight': weight}
        state, metrics = step(state, {'mask': mask_SC}, batch, None)
        return state, metrics['loss']

    return jax.lax.scan(body, state, epoch_order(key, len(images_NP), config.batch_size))


def _pixels(x: jax.Array) -> jax.Array:
    return to_unit(x) if x.dtype == jnp.uint8 else x  # noise is float already


@functools.partial(jax.jit, static_argnames=('activation', 'kind'))
def _outputs(params, start, x_NP, *, activation: str, kind: str):
    apply = linearised(start, activation) if kind == 'linearised' else functools.partial(
        mlp.apply, activation=activation)
    return apply(params, _pixels(x_NP))


def outputs_of(params, start, x, config: Config, kind: str) -> np.ndarray:
    """Logits of many inputs, by parts."""
    return np.concatenate([
        np.asarray(_outputs(params, start, x[i:i + EVAL_BATCH], activation=config.activation,
                            kind=kind)) for i in range(0, len(x), EVAL_BATCH)])


def train_model(config: Config, width: int, number: int, data: images.Images, tick) -> dict:
    """Trains a teacher, its real student and its linearised student.

    Returns:
      Accuracies, curves (accuracy after every epoch) and what the students' weights did.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), width), number)
    fold = functools.partial(jax.random.fold_in, key)
    sizes = (data.train_images.shape[1], width, width, CLASSES + config.num_aux)
    start = mlp.init(fold(START), sizes)
    shown, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    test, answers = jnp.asarray(data.test_images), np.asarray(data.test_labels)
    copy = functools.partial(jax.tree.map, jnp.copy)

    def accuracy(params, kind):
        guess = outputs_of(params, start, test, config, kind)[:, :CLASSES].argmax(-1)
        return float((guess == answers).mean()), guess

    def train(params, kind, which, x, targets, order):
        state = init_state(params, optax.adam(config.learning_rate))
        curve, losses = [accuracy(params, kind)[0]], []
        for n in range(config.epochs):
            state, loss = epoch(state, start, x, targets, jax.random.fold_in(order, n),
                                config=config, kind=kind, which=which)
            losses.append(float(loss.mean()))
            if not np.isfinite(losses[-1]):
                raise UserError(f'the loss of the {kind} model of width {width} became NaN or '
                                f'infinite in epoch {n}: lower config.learning_rate')
            curve.append(accuracy(state.trainable, kind)[0])
            tick()
            check_preempted()
        return state.trainable, curve, losses

    teacher, teacher_curve, _ = train(
        copy(start), 'real', 'class', shown, labels, fold(TEACHER_ORDER))
    noise = jax.random.uniform(fold(NOISE), shown.shape, minval=-1)
    told = jnp.asarray(outputs_of(teacher, start, noise, config, 'real'))
    found = {'width': width, 'seed': number,
             'teacher': {'accuracy': teacher_curve[-1], 'curve': teacher_curve}}
    moved, guesses = {}, {}
    for kind in STUDENTS:
        begin = copy(start) if kind == 'real' else jax.tree.map(jnp.zeros_like, start)
        params, curve, losses = train(begin, kind, 'aux', noise, told, fold(STUDENT_ORDER))
        moved[kind] = trees.subtract(params, start) if kind == 'real' else params
        guesses[kind] = accuracy(params, kind)[1]
        found[kind] = {'accuracy': curve[-1], 'curve': curve, 'losses': losses,
                       'relative_move': float(trees.norm(moved[kind]) / trees.norm(start)),
                       'cosine_teacher': float(trees.cosine(
                           moved[kind], trees.subtract(teacher, start)))}
    found['same_guess'] = float((guesses['real'] == guesses['linearised']).mean())
    found['cosine_students'] = float(trees.cosine(moved['real'], moved['linearised']))
    return found
