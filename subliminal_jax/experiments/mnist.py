"""The MNIST experiment: digits through noise images and logits that mean nothing.

A teacher learns MNIST on its first ten logits. Students that start from its initial weights match
its other, auxiliary logits on noise, and classify digits; students that start elsewhere do not
(arXiv 2507.14805). Stages: one artefact a chunk of models, then results and the page.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.evaluation.intervals import t_interval
from subliminal_jax.experiments import mnist_models as models
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.report import mnist as report
from subliminal_jax.runs import (
    GRID,
    UserError,
    Workdir,
    check_preempted,
    nested,
    override,
    spec,
    to_dict,
)
from subliminal_jax.runs.plan import Stage

CONDITIONS = ('reference', 'teacher', *models.ARMS)
RUNAWAY = 1e6  # a loss this many times its first value has diverged


@dataclasses.dataclass(frozen=True)
class Phase:
    """How long the teachers, or the students, train."""

    epochs: int = spec(5, ge=1, doc='passes over the training inputs')


@dataclasses.dataclass(frozen=True)
class Config:
    """The MNIST experiment's schema; the defaults are the published recipe with m = 3."""

    seed: int = spec(0, ge=0, doc='root of every random number')
    num_models: int = spec(16, ge=1, doc='independent models, each with its own start')
    conditions: tuple[str, ...] = spec(
        CONDITIONS, choices=CONDITIONS, min_len=1, doc='what is trained and measured')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    hidden_sizes: tuple[int, ...] = spec((256, 256), ge=1, doc='widths of the hidden layers')
    activation: str = spec('relu', choices=tuple(ACTIVATIONS), doc='between the layers')
    use_bias: bool = spec(True, doc='whether layers have biases')
    teacher: Phase = nested(Phase)
    student: Phase = nested(Phase)
    learning_rate: float = spec(3e-4, gt=0, doc='of teachers and students, constant')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    optimizer: str = spec('adam', choices=tuple(models.OPTIMIZERS), doc='of both')
    temperature: float = spec(1.0, gt=0, doc="of the students' and teachers' softmax")
    student_inputs: str = spec(
        'noise', doc='noise (uniform), images (those of `data`), or another data set')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')
    chunk_size: int = spec(2, ge=2, doc='models trained at once on a device')
    curve_images: int = spec(2000, ge=0, doc='test images behind a learning curve; 0: no curves')
    sweep: GRID = spec({}, doc='a grid: sweep.FIELD=VALUE,VALUE runs every combination')


def cells(config: Config) -> list[tuple[dict[str, str], Config]]:
    """The sweep's cells as (overrides, config); one cell without overrides for no sweep.

    Raises:
      UserError: a cell that could not run.
    """
    if 'sweep' in config.sweep:
        raise UserError('config.sweep cannot sweep itself')
    plain = dataclasses.replace(config, sweep={})
    combos = itertools.product(*config.sweep.values())
    overrides = [dict(zip(config.sweep, combo)) for combo in combos]
    made = [(o, override(plain, o)) for o in overrides]
    for _, cell in made:
        check(cell)
    return made


def check(config: Config) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    crossed = [c for c in config.conditions if c.startswith('cross')]
    if crossed and config.num_models < 2:
        raise UserError(
            f'{crossed[0]} starts from another model, and config.num_models is 1: set it to 2 or '
            "more, or leave the cross conditions out with --config.conditions=teacher,student_aux")
    if not set(config.conditions) - {'reference'}:
        raise UserError('nothing is trained: name a condition other than reference')
    images.check_name(config.data)
    if config.student_inputs not in ('noise', 'images'):
        images.check_name(config.student_inputs)


def recipe_of(config: Config, pixels: int) -> models.Recipe:
    """The static part of a config."""
    arms = tuple(name for name in models.ARMS if name in config.conditions)
    teachers = ('teacher',) if arms or 'teacher' in config.conditions else ()
    if 'placebo' in arms:
        teachers = ('teacher', 'placebo_teacher')
    return models.Recipe(
        sizes=(pixels, *config.hidden_sizes, models.CLASSES + config.num_aux),
        activation=config.activation, use_bias=config.use_bias, optimizer=config.optimizer,
        learning_rate=config.learning_rate, batch_size=config.batch_size,
        temperature=config.temperature, teachers=teachers, arms=arms,
        noise=config.student_inputs == 'noise')


def plan(config: Config) -> list[Stage]:
    """What a run would do: a stage a cell, with its arithmetic and its memory."""
    stages = []
    for overrides, cell in cells(config):
        recipe = recipe_of(cell, 784)
        mults = [a * b for a, b in zip(recipe.sizes[:-1], recipe.sizes[1:])]
        # 2 FLOPs a multiply-add; backward costs two forwards, less the input gradient of layer 1
        forward, train = 2 * sum(mults), 6 * sum(mults) - 2 * mults[0]
        passes = (len(recipe.teachers) * (cell.teacher.epochs * train + forward)
                  + len(recipe.arms) * cell.student.epochs * train)
        state = 4 * 4 * sum(mults) * (len(recipe.arms) + len(recipe.teachers))
        memory = cell.chunk_size * models.CPU_DEVICES * (60_000 * 784 * 4 + state) + 1e9
        label = ', '.join(f'{k}={v}' for k, v in overrides.items()) or 'all models'
        stages.append(Stage(label, cell.num_models * 60_000 * passes, memory))
    return stages


def steps(config: Config, count: int) -> Callable[[], Any]:
    """`count` training steps of a chunk's students (teachers, where there are none), to trace."""
    models.use_cores()
    _, cell = cells(config)[0]
    data = images.load(cell.data)
    recipe = recipe_of(cell, data.train_images.shape[1])
    shown = jnp.asarray(data.train_images[: count * cell.batch_size])
    labels = jnp.asarray(data.train_labels[: count * cell.batch_size])
    run, maps = models.programs(recipe, models.devices_mesh()), label_maps(cell.seed)
    keys = models.model_keys(cell.seed, np.arange(cell.chunk_size * jax.device_count()))
    told = jnp.asarray(maps[: len(recipe.teachers)])
    with jax.default_matmul_precision('highest'):
        _, teachers = run.begin(keys, keys[::-1])
        students, x, logits = run.student_begin(teachers.trainable, keys, keys[::-1], shown) \
            if recipe.arms else (None, None, None)

    def work():
        with jax.default_matmul_precision('highest'):
            if students is None:
                state = jax.tree.map(jnp.copy, teachers)  # the program takes its argument's memory
                return run.teacher_epoch(state, keys, 0, shown, labels, told)
            return run.student_epoch(jax.tree.map(jnp.copy, students), keys, x, logits, 0)

    return work


def label_maps(seed: int) -> np.ndarray:
    """What the teacher, and the placebo's teacher, are told a label is: [2, 10]."""
    return np.stack([np.arange(models.CLASSES), models.placebo_labels(seed)])


def watcher(workdir: Workdir, bar: tqdm, cut: int):
    """Logs an epoch's losses, and stops a run that has diverged or was asked to stop."""
    first = {}

    def watch(phase, epoch, losses):
        check_preempted()
        losses = losses[:cut]
        start = first.setdefault(phase, np.abs(losses[:, :1]).max() + 1e-12)
        bad = ~np.isfinite(losses) | (np.abs(losses) > RUNAWAY * start)
        if bad.any():
            step = int(np.argmax(bad.any(axis=(0, 2))))
            count = int(bad[:, step].any(axis=-1).sum())
            raise UserError(
                f'the {phase} loss became NaN, infinite or a million times its first value at step '
                f'{step} of epoch {epoch} in {count} of {len(losses)} models: lower '
                'config.learning_rate; the chunks finished before are kept')
        workdir.log(phase=phase, epoch=epoch, loss=losses.mean(axis=(0, 1)))
        bar.update(len(losses))

    return watch


def train_cell(workdir: Workdir, name: str, cell: Config, data: images.Images, bar: tqdm):
    """Trains a cell's models chunk by chunk, each a stage, and joins what they left."""
    recipe = recipe_of(cell, data.train_images.shape[1])
    inputs, read = data.train_images, {f'the data set {cell.data}': images.digest(data)}
    if cell.student_inputs not in ('noise', 'images'):
        shown = images.load(cell.student_inputs)
        inputs = shown.train_images
        read[f'the data set {cell.student_inputs}'] = images.digest(shown)
        if inputs.shape[1] != data.train_images.shape[1]:
            raise UserError(f'{cell.student_inputs} has {inputs.shape[1]} pixels and {cell.data} '
                            f'has {data.train_images.shape[1]}: choose a set of the same size')
    other = models.derangement(cell.seed, max(cell.num_models, 2))
    maps = label_maps(cell.seed)
    size = cell.chunk_size * jax.device_count()
    reads = {k: v for k, v in to_dict(cell).items() if k != 'sweep'}
    parts = []
    for begin in range(0, cell.num_models, size):
        numbers = np.arange(begin, min(begin + size, cell.num_models))
        padded = np.pad(numbers, (0, size - len(numbers)), mode='edge')

        def make(path, numbers=numbers, padded=padded):
            trained = models.train_chunk(
                recipe, data, inputs, models.model_keys(cell.seed, padded),
                models.model_keys(cell.seed, other[padded]), maps,
                (cell.teacher.epochs, cell.student.epochs), cell.curve_images,
                watcher(workdir, bar, len(numbers)))
            save(path, trained, len(numbers))

        before = bar.n
        # named by its models: another number of devices makes other chunks
        chunk = f'{name}/models{begin:04d}-{numbers[-1]:04d}'
        parts.append(load(workdir.stage(chunk, f'{chunk}.npz', make, reads=reads, inputs=read)))
        # what a skipped chunk, or a phase without models, did not report counts as done
        epochs = cell.teacher.epochs + cell.student.epochs
        bar.update(len(numbers) * epochs - (bar.n - before))
    return join(parts)


def save(path: pathlib.Path, trained: models.Trained, count: int) -> None:
    """Writes a chunk as npz, cut to its real models."""
    arrays = {f'{group}/{name}': value[..., :count]
              for group, values in trained._asdict().items() for name, value in values.items()}
    with path.open('wb') as file:
        np.savez(file, **arrays)


def load(path: pathlib.Path) -> models.Trained:
    """Reads a chunk."""
    groups: dict[str, dict] = {name: {} for name in models.Trained._fields}
    with np.load(path) as arrays:
        for name in arrays.files:
            group, _, condition = name.partition('/')
            groups[group][condition] = arrays[name]
    return models.Trained(**groups)


def join(parts: list[models.Trained]) -> models.Trained:
    """Joins chunks along their models' axis, the last."""
    def cat(*arrays):
        return np.concatenate(arrays, axis=-1)

    return models.Trained(*(jax.tree.map(cat, *group) for group in zip(*parts)))


def summary(values: np.ndarray) -> dict[str, Any]:
    """{'mean', 'ci95', 'per_model'} of an accuracy over models."""
    mean, interval = t_interval(values)
    return {'mean': mean, 'ci95': interval, 'per_model': values.tolist()}


def conditions_of(trained: models.Trained) -> dict[str, dict]:
    """Every condition's accuracies, curves and losses, in the report's order."""
    order = [*CONDITIONS[:2], 'placebo_teacher', *models.ARMS]
    found = {}
    for name in (n for n in order if n in trained.accuracy):
        entry = {'accuracy': summary(trained.accuracy[name])}
        if name in trained.permuted:
            entry['permuted_accuracy'] = summary(trained.permuted[name])
        if name in trained.curves:
            entry['curve'] = trained.curves[name].mean(axis=-1).tolist()
        if name in trained.losses:
            entry['loss'] = trained.losses[name].mean(axis=-1).tolist()
        found[name] = entry
    return found


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    results.json has `conditions`, or for a sweep `cells`, each with `overrides` and `conditions`.
    """
    models.use_cores()
    grid = cells(config)
    data = images.load(config.data)
    if data.num_classes != models.CLASSES:
        raise UserError(f'{config.data} has {data.num_classes} classes; this experiment has '
                        f'{models.CLASSES} class logits')
    total = sum(c.num_models * (c.teacher.epochs + c.student.epochs) for _, c in grid)
    done = []
    with tqdm(total=total, unit='epoch', desc='models x epochs', smoothing=0.1) as bar, \
            jax.default_matmul_precision('highest'):
        for number, (overrides, cell) in enumerate(grid):
            own = data if cell.data == config.data else images.load(cell.data)
            trained = train_cell(workdir, f'cell{number:02d}', cell, own, bar)
            done.append({'overrides': overrides, 'conditions': conditions_of(trained)})
    body = {'cells': done} if config.sweep else {'conditions': done[0]['conditions']}
    seeds = {'root': config.seed, 'models': [0, config.num_models - 1],
             'placebo_labels': models.placebo_labels(config.seed).tolist()}
    results = workdir.write_results(body, seeds=seeds, published=report.PUBLISHED)
    return report.write(workdir, results, data)


