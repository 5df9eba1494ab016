"""The matrix's stages: a group of cells for a chunk of models each, so that a killed run goes on
with what is missing."""

import pathlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from subliminal_jax.data.images import Images
from subliminal_jax.experiments.cross_model.digits.config import Config, Group, read_by
from subliminal_jax.experiments.cross_model.digits.group import Chunk, Found, train_chunk
from subliminal_jax.experiments.digits import derangement, devices, placebo_labels
from subliminal_jax.experiments.digits.training import model_keys
from subliminal_jax.experiments.digits.watching import watcher
from subliminal_jax.runs import Workdir


def epochs_of(config: Config, group: Group) -> int:
    """How many epochs one model of a group trains, over all phases."""
    clone = config.clone.epochs if group.clones else 0
    return config.teacher.epochs + clone + config.student.epochs


def group_stages(
    workdir: Workdir, config: Config, group: Group, data: Images, digest: str, bar: tqdm
) -> Found:
    """Trains a group's models chunk by chunk, and returns all that was found.

    Args:
      workdir: of the run.
      config: the run's.
      group: what is trained.
      data: the labelled set.
      digest: its SHA-256.
      bar: progress in models x epochs.

    Raises:
      UserError: training that diverged.
    """
    count = config.num_models
    other = derangement(config.seed, max(count, 2))  # whose start is the other one
    size = config.chunk_size * devices.devices_mesh().size
    paths = []
    for begin in range(0, count, size):
        numbers = np.arange(begin, min(begin + size, count))
        padded = np.pad(numbers, (0, size - len(numbers)), mode='edge')

        def make(path, numbers=numbers, padded=padded):
            chunk = Chunk(
                group, data, model_keys(config.seed, padded),
                model_keys(config.seed, other[padded]), placebo_labels(config.seed),
                (config.teacher.epochs, config.clone.epochs, config.student.epochs),
                config.probe_images, config.probe_ridge)
            watch = watcher(workdir, bar, len(numbers), _rate_of(group))
            save(path, train_chunk(chunk, watch), len(numbers))

        before = bar.n
        # named by its models: another number of devices makes other chunks
        stage = f'{group.name}/models{begin:04d}-{numbers[-1]:04d}'
        paths.append(workdir.stage(
            stage, f'{stage}.npz', make, reads=read_by(config, group),
            inputs={f'the data set {config.data}': digest}))
        # what a skipped chunk did not report counts as done
        bar.update(len(numbers) * epochs_of(config, group) - (bar.n - before))
    return join([load(path) for path in paths])


def _rate_of(group: Group) -> str:
    if group.optimizer == 'adam':
        return 'config.learning_rate'
    return 'config.sgd_learning_rate (teachers: config.learning_rate)'


def save(path: pathlib.Path, found: Found, count: int) -> None:
    """Writes a chunk as npz, cut to its first `count` models."""
    with path.open('wb') as file:
        np.savez(file, **{name: array[..., :count] for name, array in found._asdict().items()})


def load(path: pathlib.Path) -> Found:
    """Reads a chunk."""
    with np.load(path) as arrays:
        return Found(**{name: arrays[name] for name in Found._fields})


def join(parts: Sequence[Found]) -> Found:
    """Joins chunks along their models' axis, the last."""
    return Found(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts)))
