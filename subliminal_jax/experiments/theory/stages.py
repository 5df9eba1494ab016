"""The stages: the grid's cells, a program each; the training tracks, a model each."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.experiments.theory import grid, language, models, results, tracks
from subliminal_jax.experiments.theory.cells import compiled
from subliminal_jax.experiments.theory.certificate import certificates
from subliminal_jax.experiments.theory.config import Config, alphas_of
from subliminal_jax.experiments.theory.grid import Cell
from subliminal_jax.runs import Workdir, check_preempted, to_dict, write_json

NOT_READ = ('training', 'tracks_activation')  # by cells


def grid_stage(workdir: Workdir, cells: Sequence[Cell]) -> None:
    """Writes every cell's name before any is computed."""
    workdir.stage(
        'grid', 'grid.json', lambda path: write_json(path, {'cells': [c._asdict() for c in cells]}),
        reads={'cells': len(cells)})


def cell_stages(
    config: Config, workdir: Workdir, cells: Sequence[Cell], data: images.Images
) -> list[dict[str, Any]]:
    """Computes every program's cells, one stage each, and summarises them."""
    fields = {k: v for k, v in to_dict(config).items() if k not in NOT_READ}
    other = models.other_images(config.other_data) if 'other' in config.inputs else None
    entries = []
    with tqdm(total=len(groups_of(cells)), unit='group', desc='cells', smoothing=0.1) as bar:
        for program, chosen in grid.programs(cells).items():

            def make(path, program=program, chosen=chosen):
                with jax.enable_x64(True), jax.default_matmul_precision('highest'), \
                        jax.default_device(jax.devices('cpu')[0]):
                    family = family_of(config, program, data, other)
                    arrays = compute_program(config, family, program, chosen, bar.update)
                with path.open('wb') as file:
                    np.savez(file, **arrays)

            before, name = bar.n, '-'.join(program)
            path = workdir.stage(f'cells/{name}', f'cells/{name}.npz', make, reads=fields)
            bar.update(len(groups_of(chosen)) - (bar.n - before))
            entries += entries_of(config, path, chosen)
    return entries


def groups_of(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """The groups of cells that are computed together, in order."""
    return list(dict.fromkeys(cell.group for cell in cells))


def family_of(config: Config, program, data: images.Images, other: np.ndarray) -> models.Family:
    """The model of a program, with its starts, inputs and examples."""
    model, activation, dtype = program
    if f'{model}-{activation}' in language.MODELS:
        return language.language_family(model, jnp.dtype(dtype), config)
    return models.image_family(model, activation, jnp.dtype(dtype), config, data, other)


def compute_program(
    config: Config, family: models.Family, program, cells: Sequence[Cell], tick: Callable
) -> dict[str, np.ndarray]:
    """All groups of a program: {'GROUP/name': array}, and the linear model's certificates."""
    run, far = compiled(
        family.apply, family.trait_loss_of, tuple(alphas_of(config).items()), config.alpha_eps)
    eps_E = jnp.asarray(config.eps, program[2])
    found = {}
    for number, group in enumerate(groups_of(cells)):
        cell = next(c for c in cells if c.group == group)
        mask = jnp.asarray(family.mask(cell.logits))
        teachers, students = family.starts(cell.init)
        x = family.inputs(cell.inputs)
        shown = (jnp.asarray(cell.loss == 'cross_entropy'), mask, x, family.taught, eps_E)
        arrays = run(teachers, students, *shown)
        if cell.init == 'shared':
            arrays = {**arrays, **far(teachers, *shown, arrays['sgd/inner'])}
            if family.kinks:
                arrays['kinks'] = family.kinks(teachers, x, family.taught, eps_E)
        arrays = {k: np.asarray(v) for k, v in arrays.items()}
        if cell.model == 'linear':
            arrays['certified_eps'] = certificates(
                cell.loss, family, teachers, x, np.asarray(mask), arrays, config.alpha)
        found.update({f'{number}/{k}': v for k, v in arrays.items()})
        tick()
        check_preempted()
    return found


def entries_of(config: Config, path: pathlib.Path, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A program's cells as entries of results.json, from its artefact."""
    by_group: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            number, _, name = key.partition('/')
            by_group.setdefault(int(number), {})[name] = arrays[key]
    groups = groups_of(cells)
    entries = []
    for cell in cells:
        found = by_group[groups.index(cell.group)]
        certified = found.get('certified_eps')
        lowest = None if certified is None or np.isnan(certified).any() else certified.min()
        entries.append(results.summarise(
            cell, found, np.asarray(config.eps), alphas_of(config)[cell.optimizer], lowest))
    return entries


def track_stages(config: Config, workdir: Workdir, data: images.Images) -> dict[str, Any]:
    """Trains the tracks' models, one stage each, and summarises them."""
    training = config.training
    plan = tracks.Plan(
        (models.SIDE**2, *config.hidden_sizes, CLASSES + config.num_aux),
        config.tracks_activation, training.learning_rate, training.batch_size, training.epochs,
        training.every, training.random_directions, training.probe_images)
    rates = {'adam': training.learning_rate, 'sgd': training.sgd_learning_rate}
    rates = {name: rates[name] for name in training.optimizers}
    reads = {'training': to_dict(training), 'seed': config.seed, 'num_aux': config.num_aux,
             'hidden_sizes': list(config.hidden_sizes), 'data': config.data,
             'tracks_activation': config.tracks_activation}
    steps = training.epochs * -(-len(data.train_images) // training.batch_size)
    probes = -(-steps // training.every) * (1 + len(rates))  # a model's, its teachers' included
    found = []
    with tqdm(total=training.num_models * probes, unit='probe', desc='training',
              smoothing=0.1) as bar:

        def tick():
            bar.update()
            check_preempted()

        for number in range(training.num_models):

            def make(path, number=number):
                key = jax.random.fold_in(jax.random.key(config.seed), number)
                arrays = train_model(plan, rates, key, config.seed, data, tick)
                with path.open('wb') as file:
                    np.savez(file, **arrays)

            name = f'training/model{number:02d}'
            with np.load(workdir.stage(name, f'{name}.npz', make, reads=reads)) as arrays:
                found.append({k: arrays[k] for k in arrays.files})
            bar.n = (number + 1) * probes
            bar.refresh()
    return results.track_summary(found, training.optimizers, training.every)


def train_model(
    plan: tracks.Plan, rates: dict[str, float], key: jax.Array, seed: int, data: images.Images,
    tick: Callable,
) -> dict[str, np.ndarray]:
    """One model's teachers, and its students by optimizer: {'OPTIMIZER/name': array}.

    Args:
      plan: the static part.
      rates: the students' learning rate by optimizer.
      key: the model's.
      seed: of the placebo's label permutation.
      data: the labelled set.
      tick: called after every window of steps.
    """
    found = {}
    with jax.enable_x64(False), jax.default_matmul_precision('highest'):
        teachers = tracks.train_teachers(plan, key, seed, data, tick)
        for optimizer, rate in rates.items():
            seen = tracks.train_students(plan, optimizer, rate, key, seed, teachers, data, tick)
            found.update({f'{optimizer}/{name}': values for name, values in seen.items()})
    return found
