"""The experiment: its plan, its stages in order, and training steps to trace."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES, devices, label_maps, placebo_labels
from subliminal_jax.experiments.digits.training import model_keys
from subliminal_jax.experiments.mnist import programs, results, stages
from subliminal_jax.experiments.mnist.config import Config, cells, recipe_of
from subliminal_jax.experiments.mnist.published import PUBLISHED
from subliminal_jax.report import mnist as report
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.runs.plan import Stage

IMAGES, PIXELS = 60_000, 784  # of MNIST, which a plan assumes


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    devices.use_cores()
    grid = cells(config)
    data = images.load(config.data)
    if data.num_classes != CLASSES:
        raise UserError(f'{config.data} has {data.num_classes} classes; this experiment has '
                        f'{CLASSES} class logits')
    sets = [data if cell.data == config.data else images.load(cell.data) for _, cell in grid]
    total = sum(c.num_models * (c.teacher.epochs + c.student.epochs) for _, c in grid)
    with tqdm(total=total, unit='epoch', desc='models x epochs', smoothing=0.1) as bar, \
            jax.default_matmul_precision('highest'):
        chunks = [stages.chunk_stages(workdir, f'cell{number:02d}', cell, own, bar)
                  for number, ((_, cell), own) in enumerate(zip(grid, sets))]
    body = results.body(config, [stages.join([*map(stages.load, paths)]) for paths in chunks])
    body['inputs'] = None
    if body['shown'] == 'noise' and recipe_of(grid[0][1], PIXELS).arms:
        body['inputs'] = stages.inputs_stage(workdir, chunks[0][0], sets[0])
    seeds = {'root': config.seed, 'models': [0, config.num_models - 1],
             'placebo_labels': placebo_labels(config.seed).tolist()}
    return report.write(workdir.path, workdir.write_results(
        body, seeds=seeds, published=PUBLISHED))


def plan(config: Config) -> list[Stage]:
    """What a run would do: a stage a cell, with its arithmetic and its memory."""
    found = []
    for overrides, cell in cells(config):
        recipe = recipe_of(cell, PIXELS)
        mults = [a * b for a, b in zip(recipe.sizes[:-1], recipe.sizes[1:])]
        # 2 FLOPs a multiply-add; backward costs two forwards, less the input gradient of layer 1
        forward, train = 2 * sum(mults), 6 * sum(mults) - 2 * mults[0]
        passes = (len(recipe.teachers) * (cell.teacher.epochs * train + forward)
                  + len(recipe.arms) * cell.student.epochs * train)
        state = 4 * 4 * sum(mults) * (len(recipe.arms) + len(recipe.teachers))
        memory = cell.chunk_size * devices.CPU_DEVICES * (IMAGES * PIXELS * 4 + state) + 1e9
        found.append(Stage(results.label_of(overrides) or 'all models',
                           cell.num_models * IMAGES * passes, memory))
    return found


def steps(config: Config, count: int) -> Callable[[], Any]:
    """`count` training steps of a chunk's students (teachers, where there are none), to trace."""
    devices.use_cores()
    _, cell = cells(config)[0]
    data = images.load(cell.data)
    recipe = recipe_of(cell, data.train_images.shape[1])
    shown = jnp.asarray(data.train_images[: count * cell.batch_size])
    labels = jnp.asarray(data.train_labels[: count * cell.batch_size])
    mesh = devices.devices_mesh()
    run = programs.programs(recipe, mesh)
    keys = jax.device_put(model_keys(cell.seed, np.arange(cell.chunk_size * jax.device_count())),
                          devices.by_model(mesh))
    told = jnp.asarray(label_maps(cell.seed)[: len(recipe.teachers)])
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
