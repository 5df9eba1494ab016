"""The theorem, checked cell by cell, and followed along a real student's training.

Stages: the grid (every cell named before any is computed), one stage a compiled program (model and
precision), one a model of the training tracks; then results.json and the page. The claims are
float64 on the CPU; the tracks are float32, as the MNIST experiment is.
"""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments import (
    theory_cells,
    theory_grid,
    theory_language,
    theory_models,
    theory_results,
    theory_tracks,
)
from subliminal_jax.experiments.theory_certificate import certificates
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.report import theory as report
from subliminal_jax.runs import (
    UserError,
    Workdir,
    check_preempted,
    nested,
    spec,
    to_dict,
    write_json,
)
from subliminal_jax.runs.plan import Stage

EPS = tuple(float(f'{10 ** (k / 2 - 6):.6g}') for k in range(13))


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The alignment along the training of real students."""

    num_models: int = spec(1, ge=0, doc='independent models; 0 leaves the tracks out')
    epochs: int = spec(5, ge=1, doc='of teachers and students')
    every: int = spec(10, ge=2, doc='steps between probes')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    learning_rate: float = spec(3e-4, gt=0, doc="Adam's, of teachers and students")
    sgd_learning_rate: float = spec(0.3, gt=0, doc='of the SGD students')
    optimizers: tuple[str, ...] = spec(
        ('adam', 'sgd'), choices=('adam', 'sgd'), min_len=1, doc="the students'")
    random_directions: int = spec(8, ge=2, doc='covariance-matched random directions')
    probe_images: int = spec(1000, ge=1, doc='examples behind L_T and the accuracy')


@dataclasses.dataclass(frozen=True)
class Config:
    """The theory experiment's schema."""

    seed: int = spec(0, ge=0, doc='root of every random number')
    num_seeds: int = spec(6, ge=1, doc='independent starts, inputs and examples a cell')
    num_inputs: int = spec(32, ge=1, doc="the student's inputs, per seed")
    num_images: int = spec(32, ge=1, doc="the examples of the teacher's loss L_T, per seed")
    eps: tuple[float, ...] = spec(EPS, gt=0, doc="the teacher's step sizes, rising")
    alpha: float = spec(1.0, gt=0, doc="the student's step size, SGD")
    coordinate_alpha: float = spec(3e-4, gt=0, doc="the student's step size, Adam and sign")
    alpha_eps: float = spec(1e-3, gt=0, doc='the eps at which the largest alpha is sought')
    models: tuple[str, ...] = spec(
        theory_grid.MODELS, choices=theory_grid.MODELS, min_len=1, doc='models and activations')
    losses: tuple[str, ...] = spec(
        theory_grid.LOSSES, min_len=1, doc="the student's: cross_entropy, squared_error")
    logits: tuple[str, ...] = spec(
        ('all', 'class', 'aux'), min_len=1,
        doc='logits of the loss: all, class, aux, one_aux, or ids:10+12')
    inputs: tuple[str, ...] = spec(
        theory_grid.INPUTS, choices=theory_grid.INPUTS, min_len=1, doc="the student's inputs")
    starts: tuple[str, ...] = spec(
        ('shared', 'independent', 'interpolated:0.5'), min_len=1,
        doc='shared, independent, interpolated:ALPHA')
    optimizers: tuple[str, ...] = spec(
        theory_grid.OPTIMIZERS, choices=theory_grid.OPTIMIZERS, min_len=1,
        doc="the student's; nothing is promised of adam and sign")
    float32: bool = spec(True, doc='some cells in float32 too, to show where precision ends')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    hidden_sizes: tuple[int, ...] = spec((256, 256), ge=1, doc='of the MLP')
    tracks_activation: str = spec(
        'relu', choices=tuple(ACTIVATIONS), doc='of the students along training')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')
    other_data: str = spec(
        'photo', doc="another data set: photo (patches of matplotlib's sample), or tfds:NAME")
    training: Tracks = nested(Tracks)


def check(config: Config) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    theory_grid.check(config)
    images.check_name(config.data)
    if os.environ.get('JAX_ENABLE_X64', '').lower() in ('0', 'false', 'no'):
        raise UserError('the theory experiment computes in float64, and JAX_ENABLE_X64 disables '
                        'it: unset that variable')


def alphas_of(config: Config) -> dict[str, float]:
    """The student's step size by optimizer."""
    return {'sgd': config.alpha, 'adam': config.coordinate_alpha, 'sign': config.coordinate_alpha}


def plan(config: Config) -> list[Stage]:
    """What a run would do, with its arithmetic and its memory.

    The cells' arithmetic is multiplied by four: float64, and small products that wait for memory,
    take about that many times as long as float32 products of the measured rate.
    """
    check(config)
    stages = []
    for program, cells in theory_grid.programs(theory_grid.grid(config)).items():
        mults = _mults(config, program[0])
        # forward passes of an example, counted in theory_cells.py; a vjp counts two
        passes = (3.5 * len(config.eps) + 18) * config.num_inputs + (
            1.5 * len(config.eps) + 9) * config.num_images
        far = 12 * config.num_inputs + 20 * config.num_images
        inits = [init for *_, init in {c.group for c in cells}]
        passes = len(inits) * passes + inits.count('shared') * far
        memory = 6e8 + config.num_seeds * 8 * (40 * mults + 1e4 * config.num_inputs)
        stages.append(Stage('-'.join(program) + f' ({len(cells)} cells)',
                            4 * config.num_seeds * passes * 2 * mults, memory))
    tracks = config.training
    if tracks.num_models:
        mults = _mults(config, 'mlp')
        probes = tracks.epochs * 60_000 / tracks.batch_size / tracks.every
        one = tracks.epochs * 60_000 * (2 * 6 + len(tracks.optimizers) * 3 * 6) * mults
        one += len(tracks.optimizers) * 60_000 * 2 * 2 * mults
        one += len(tracks.optimizers) * 3 * probes * tracks.probe_images * 12 * mults
        stages.append(Stage('training tracks', tracks.num_models * one, 1.5e9))
    return stages


def _mults(config: Config, model: str) -> int:
    outputs = theory_models.CLASSES + config.num_aux
    if f'{model}-silu' in theory_language.MODELS:
        return 60_000 * 8  # two layers of width 32 and the vocabulary, at some eight places
    if model == 'conv':
        return 196 * 16 * 8 + 49 * 32 * 16 + 784 * outputs
    sizes = (784, *(config.hidden_sizes if model == 'mlp' else ()), outputs)
    return sum(a * b for a, b in zip(sizes[:-1], sizes[1:]))


def compute_program(config: Config, family: theory_models.Family, program, cells, tick) -> dict:
    """All groups of a program: {'GROUP/name': array}, and the linear model's certificates."""
    run, far = theory_cells.compiled(
        family.apply, family.trait_loss_of, tuple(alphas_of(config).items()), config.alpha_eps)
    dtype = program[2]
    eps_E = jnp.asarray(config.eps, dtype)
    found = {}
    for number, group in enumerate(dict.fromkeys(c.group for c in cells)):
        cell = next(c for c in cells if c.group == group)
        mask = jnp.asarray(family.mask(cell.logits))
        teachers, students = family.starts(cell.init)
        x = family.inputs(cell.inputs)
        shown = (jnp.asarray(cell.loss == 'cross_entropy'), mask, x, family.taught, eps_E)
        made = run(teachers, students, *shown)
        if cell.init == 'shared':
            made = {**made, **far(teachers, *shown, made['sgd/inner'])}
            if family.kinks:
                made['kinks'] = family.kinks(teachers, x, family.taught, eps_E)
        made = {k: np.asarray(v) for k, v in made.items()}
        if cell.model == 'linear':
            made['certified_eps'] = certificates(
                cell.loss, family, teachers, x, np.asarray(mask), made, config.alpha)
        found.update({f'{number}/{k}': v for k, v in made.items()})
        tick()
        check_preempted()
    return found


def family_of(config: Config, program, data, other) -> theory_models.Family:
    """The model of a program, with its starts, inputs and examples."""
    model, activation, dtype = program
    if f'{model}-{activation}' in theory_language.MODELS:
        return theory_language.language_family(model, jnp.dtype(dtype), config)
    return theory_models.image_family(model, activation, jnp.dtype(dtype), config, data, other)


def cell_stages(config: Config, workdir: Workdir, cells, data) -> list[dict[str, Any]]:
    """Computes every program's cells, one stage each, and summarises them."""
    fields = {k: v for k, v in to_dict(config).items() if k not in ('training',
                                                                    'tracks_activation')}
    other = theory_models.other_images(config.other_data) if 'other' in config.inputs else None
    grouped = theory_grid.programs(cells)
    total = len({c.group for c in cells})
    entries = []
    with tqdm(total=total, unit='group', desc='cells', smoothing=0.1) as bar:
        for program, own in grouped.items():
            name = '-'.join(program)

            def make(path, program=program, own=own):
                with jax.enable_x64(True), jax.default_matmul_precision('highest'), \
                        jax.default_device(jax.devices('cpu')[0]):
                    family = family_of(config, program, data, other)
                    arrays = compute_program(config, family, program, own, bar.update)
                with path.open('wb') as file:
                    np.savez(file, **arrays)

            groups = list(dict.fromkeys(c.group for c in own))
            before = bar.n
            path = workdir.stage(f'cells/{name}', f'cells/{name}.npz', make, reads=fields)
            bar.update(len(groups) - (bar.n - before))
            entries += _entries(config, path, own, groups)
    return entries


def _entries(config: Config, path: pathlib.Path, cells, groups) -> list[dict[str, Any]]:
    with np.load(path) as arrays:
        by_group: dict[int, dict[str, np.ndarray]] = {}
        for key in arrays.files:
            number, _, name = key.partition('/')
            by_group.setdefault(int(number), {})[name] = arrays[key]
    entries = []
    for cell in cells:
        own = by_group[groups.index(cell.group)]
        certified = own.get('certified_eps')
        lowest = None if certified is None or np.isnan(certified).any() else certified.min()
        entries.append(theory_results.summarise(
            cell, own, np.asarray(config.eps), alphas_of(config)[cell.optimizer], lowest))
    return entries


def track_stages(config: Config, workdir: Workdir, data) -> dict[str, Any]:
    """Trains the tracks' models, one stage each."""
    tracks = config.training
    made = theory_tracks.Plan(
        (theory_models.SIDE**2, *config.hidden_sizes, theory_models.CLASSES + config.num_aux),
        config.tracks_activation, tracks.learning_rate, tracks.batch_size, tracks.epochs,
        tracks.every, tracks.random_directions, tracks.probe_images)
    rates = {'adam': tracks.learning_rate, 'sgd': tracks.sgd_learning_rate}
    windows = -(-tracks.epochs * -(-len(data.train_images) // tracks.batch_size) // tracks.every)
    reads = {'training': to_dict(tracks), 'seed': config.seed, 'num_aux': config.num_aux,
             'hidden_sizes': list(config.hidden_sizes), 'data': config.data,
             'tracks_activation': config.tracks_activation}
    models = []
    total = tracks.num_models * windows * (1 + len(tracks.optimizers))
    with tqdm(total=total, unit='probe', desc='training', smoothing=0.1) as bar:
        for number in range(tracks.num_models):

            def make(path, number=number):
                def tick():
                    bar.update()
                    check_preempted()

                key = jax.random.fold_in(jax.random.key(config.seed), number)
                with jax.enable_x64(False), jax.default_matmul_precision('highest'):
                    teachers = theory_tracks.train_teachers(made, key, config.seed, data, tick)
                    seen = {name: theory_tracks.train_students(
                        made, name, rates[name], key, config.seed, teachers, data, tick)
                        for name in tracks.optimizers}
                with path.open('wb') as file:
                    np.savez(file, **{f'{o}/{k}': v for o, a in seen.items() for k, v in a.items()})

            name = f'training/model{number:02d}'
            with np.load(workdir.stage(name, f'{name}.npz', make, reads=reads)) as arrays:
                models.append({k: arrays[k] for k in arrays.files})
            bar.n = (number + 1) * windows * (1 + len(tracks.optimizers))
            bar.refresh()
    return theory_results.track_summary(models, tracks.optimizers, tracks.every)


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text."""
    check(config)
    cells = theory_grid.grid(config)

    def write_grid(path):
        write_json(path, {'cells': [c._asdict() for c in cells]})

    workdir.stage('grid', 'grid.json', write_grid, reads={'cells': len(cells)})
    data = images.load(config.data)
    if data.train_images.shape[1] != theory_models.SIDE**2:
        raise UserError(f'{config.data} has images of {data.image_shape}; these models need 28 x '
                        '28 grey ones')
    entries = cell_stages(config, workdir, cells, data)
    training = track_stages(config, workdir, data) if config.training.num_models else None
    body = {'cells': theory_results.worst_first(entries),
            'signs': theory_results.pooled_signs(entries), 'training': training}
    seeds = {'root': config.seed, 'seeds': [0, config.num_seeds - 1]}
    results = workdir.write_results(body, seeds=seeds, published=report.PUBLISHED)
    return report.write(workdir, results)
