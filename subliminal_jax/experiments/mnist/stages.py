"""The experiment's stages: a chunk of models each, and the inputs that the page shows."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import derangement, label_maps
from subliminal_jax.experiments.digits.training import model_keys
from subliminal_jax.experiments.digits.watching import watcher
from subliminal_jax.experiments.mnist import config as configs
from subliminal_jax.experiments.mnist.chunk import SEEN, Chunk, Trained, train_chunk
from subliminal_jax.experiments.mnist.config import Config
from subliminal_jax.runs import UserError, Workdir

INPUTS = 'inputs.npz'


def chunk_stages(
    workdir: Workdir, name: str, cell: Config, data: images.Images, bar: tqdm
) -> list[pathlib.Path]:
    """Trains a cell's models chunk by chunk, and returns the chunks' artefacts.

    Raises:
      UserError: training that diverged, or students' images of another size.
    """
    recipe = configs.recipe_of(cell, data.train_images.shape[1])
    inputs, hashes = student_images(cell, data)
    other = derangement(cell.seed, max(cell.num_models, 2))  # whose start a cross student takes
    epochs = cell.teacher.epochs + cell.student.epochs
    size = cell.chunk_size * jax.device_count()
    paths = []
    for begin in range(0, cell.num_models, size):
        numbers = np.arange(begin, min(begin + size, cell.num_models))
        padded = np.pad(numbers, (0, size - len(numbers)), mode='edge')

        def make(path, numbers=numbers, padded=padded):
            chunk = Chunk(
                recipe, data, inputs, model_keys(cell.seed, padded),
                model_keys(cell.seed, other[padded]), label_maps(cell.seed),
                (cell.teacher.epochs, cell.student.epochs), cell.curve_images)
            trained = train_chunk(chunk, watcher(workdir, bar, len(numbers)))
            save(path, trained, len(numbers))

        before = bar.n
        # named by its models: another number of devices makes other chunks
        stage = f'{name}/models{begin:04d}-{numbers[-1]:04d}'
        paths.append(workdir.stage(
            stage, f'{stage}.npz', make, reads=configs.read_by(cell), inputs=hashes))
        # what a skipped chunk, or a phase without models, did not report counts as done
        bar.update(len(numbers) * epochs - (bar.n - before))
    return paths


def student_images(cell: Config, data: images.Images) -> tuple[np.ndarray, dict[str, str]]:
    """The images that students may see, and the hash of every data set that a cell reads.

    Raises:
      UserError: another set, of another size.
    """
    hashes = {f'the data set {cell.data}': images.digest(data)}
    name = configs.other_set(cell)
    if name is None:
        return data.train_images, hashes
    other = images.load(name)
    pixels, expected = other.train_images.shape[1], data.train_images.shape[1]
    if pixels != expected:
        raise UserError(f'{name} has {pixels} pixels and {cell.data} has {expected}: choose a set '
                        'of the same size')
    return other.train_images, {**hashes, f'the data set {name}': images.digest(other)}


def inputs_stage(workdir: Workdir, chunk: pathlib.Path, data: images.Images) -> str:
    """Keeps what the page shows: the first inputs of a chunk's first model, and test images.

    Returns:
      The artefact's name: `seen` and `tested`, [SEEN, height, width, channels] each.

    Raises:
      UserError: a chunk of an older version, which kept no inputs.
    """

    def make(path):
        seen = load(chunk).seen.get('inputs')
        if seen is None:
            raise UserError(f'{chunk} was made by an older version, which did not keep what its '
                            'students saw: use another --workdir')
        shape = (-1, *data.image_shape)
        with path.open('wb') as file:
            np.savez(file, seen=seen[..., 0].reshape(shape),
                     tested=data.test_images[:SEEN].reshape(shape))

    workdir.stage('inputs', INPUTS, make, inputs=[chunk.relative_to(workdir.path)])
    return INPUTS


def save(path: pathlib.Path, trained: Trained, count: int) -> None:
    """Writes a chunk as npz, cut to its first `count` models."""
    arrays = {f'{group}/{name}': value[..., :count]
              for group, values in trained._asdict().items() for name, value in values.items()}
    with path.open('wb') as file:
        np.savez(file, **arrays)


def load(path: pathlib.Path) -> Trained:
    """Reads a chunk."""
    groups: dict[str, dict] = {name: {} for name in Trained._fields}
    with np.load(path) as arrays:
        for name in arrays.files:
            group, _, condition = name.partition('/')
            groups[group][condition] = arrays[name]
    return Trained(**groups)


def join(parts: Sequence[Trained]) -> Trained:
    """Joins chunks along their models' axis, the last."""
    def cat(*arrays):
        return np.concatenate(arrays, axis=-1)

    return Trained(*(jax.tree.map(cat, *group) for group in zip(*parts)))
