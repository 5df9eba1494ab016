"""Does the kernel picture explain the effect? Real students beside linearised ones, by width.

A linearised student is the first-order Taylor expansion of the network around its start,
f(theta_0) + J (theta - theta_0), trained on the auxiliary logits of a real teacher exactly as the
real student is: one jvp a step, the kernel J J' is never formed. If it learns digits as well as
the real one, the tangent space at the start is enough. Stages: one a (width, seed).
"""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.evaluation.intervals import slope, t_interval
from subliminal_jax.experiments.mnist_models import CLASSES, epoch_order, logit_mask
from subliminal_jax.models import mlp
from subliminal_jax.report import theory_linearised as report
from subliminal_jax.runs import (
    UserError,
    Workdir,
    check_preempted,
    spec,
    to_dict,
    write_json,
)
from subliminal_jax.runs.plan import Stage
from subliminal_jax.theory import trees
from subliminal_jax.training.logits import make_kl_loss, soft_targets
from subliminal_jax.training.step import init_state, make_step

# What each fold of a model's key is for; never renumber: every figure rests on them.
START, TEACHER_ORDER, NOISE, STUDENT_ORDER = range(4)
STUDENTS = ('real', 'linearised')
EVAL_BATCH = 2000


@dataclasses.dataclass(frozen=True)
class Config:
    """The linearised student's schema; the recipe is that of the MNIST experiment."""

    seed: int = spec(0, ge=0, doc='root of every random number')
    widths: tuple[int, ...] = spec(
        (64, 128, 256, 512, 1024, 2048), ge=1, min_len=1, doc='of the two hidden layers')
    num_seeds: int = spec(3, ge=1, doc='models a width')
    single_from: int = spec(2048, ge=1, doc='widths from this on have one model')
    epochs: int = spec(5, ge=1, doc='of teachers and students')
    learning_rate: float = spec(3e-4, gt=0, doc='Adam, of teachers and students')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    activation: str = spec('relu', choices=tuple(mlp.ACTIVATIONS), doc='between the layers')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')


def models(config: Config) -> list[tuple[int, int]]:
    """(width, seed) of every model."""
    return [(width, n) for width in config.widths
            for n in range(1 if width >= config.single_from else config.num_seeds)]


def plan(config: Config) -> list[Stage]:
    """What a run would do, with its arithmetic and its memory."""
    stages = []
    for width in config.widths:
        first, rest = 784 * width, width * width + width * (CLASSES + config.num_aux)
        count = sum(w == width for w, _ in models(config))
        # 2 a multiply-add; a linearised step has a tangent pass beside the primal one
        passes = 2 * (4 * first + 6 * rest) + (6 * first + 10 * rest)
        flops = 60_000 * (config.epochs * passes + 2 * (first + rest))
        stages.append(Stage(f'width {width}, {count} models', count * flops,
                            6e8 + 80 * (first + rest)))
    return stages


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
        batch = {'x': _unit(images_NP[index]), 'targets': told[None], 'weight': weight}
        state, metrics = step(state, {'mask': mask_SC}, batch, None)
        return state, metrics['loss']

    return jax.lax.scan(body, state, epoch_order(key, len(images_NP), config.batch_size))


def _unit(x):
    return x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x


@functools.partial(jax.jit, static_argnames=('activation', 'kind'))
def _outputs(params, start, x_NP, *, activation: str, kind: str):
    apply = linearised(start, activation) if kind == 'linearised' else functools.partial(
        mlp.apply, activation=activation)
    return apply(params, _unit(x_NP))


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


def gap(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Real minus linearised accuracy, model by model: both students share everything else."""
    values = [f['real']['accuracy'] - f['linearised']['accuracy'] for f in found]
    mean, interval = t_interval(values)
    return {'mean': mean, 'ci95': interval, 'per_model': values}


def trends(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What a doubling of the width changes: the gap, and both students' accuracy."""
    doublings = np.log2([f['width'] for f in found]).tolist()
    values = {'gap': gap(found)['per_model'],
              **{kind: [f[kind]['accuracy'] for f in found] for kind in STUDENTS}}
    made = {name: slope(doublings, own) for name, own in values.items()}
    return {name: line and {'slope': line[0], 'ci95': line[1]} for name, line in made.items()}


def by_width(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results' entries: a width's means and intervals over its models."""
    entries = []
    for width in dict.fromkeys(f['width'] for f in found):
        own = [f for f in found if f['width'] == width]
        entry: dict[str, Any] = {'width': width, 'num_models': len(own)}
        for kind in ('teacher', *STUDENTS):
            values = [f[kind]['accuracy'] for f in own]
            mean, interval = t_interval(values)
            entry[kind] = {'accuracy': {'mean': mean, 'ci95': interval, 'per_model': values},
                           'curve': np.mean([f[kind]['curve'] for f in own], axis=0)}
        for kind in STUDENTS:
            for field in ('relative_move', 'cosine_teacher'):
                entry[kind][field] = float(np.mean([f[kind][field] for f in own]))
            entry[kind]['losses'] = np.mean([f[kind]['losses'] for f in own], axis=0)
        entry['gap'] = gap(own)
        for field in ('same_guess', 'cosine_students'):
            entry[field] = float(np.mean([f[field] for f in own]))
        entries.append(entry)
    return entries


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text."""
    data = images.load(config.data)
    if data.num_classes != CLASSES:
        raise UserError(f'{config.data} has {data.num_classes} classes; this experiment has '
                        f'{CLASSES} class logits')
    fields = {k: v for k, v in to_dict(config).items()
              if k not in ('widths', 'num_seeds', 'single_from')}
    todo = models(config)
    found = []
    with tqdm(total=3 * config.epochs * len(todo), unit='epoch', desc='models') as bar, \
            jax.default_matmul_precision('highest'):
        for place, (width, number) in enumerate(todo):

            def make(path, width=width, number=number):
                write_json(path, train_model(config, width, number, data, bar.update))

            name = f'width{width:05d}/model{number:02d}'
            path = workdir.stage(name, f'{name}.json', make, reads=fields)
            found.append(json.loads(path.read_text()))
            bar.n = 3 * config.epochs * (place + 1)
            bar.refresh()
    seeds = {'root': config.seed, 'models': [0, config.num_seeds - 1]}
    results = workdir.write_results(
        {'widths': by_width(found), 'gap': gap(found), 'per_doubling': trends(found)}, seeds=seeds,
        published=report.PUBLISHED)
    return report.write(workdir, results)
