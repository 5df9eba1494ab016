"""Ten kinds of small images that a perceptron tells apart in seconds, in a cache of their own."""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest

from subliminal_jax.data import images
from subliminal_jax.runs import cache_dir

SIDE, TRAIN, TEST = 8, 1500, 400

# Flags that make the MNIST experiment small enough for these images.
SMALL = {'num_models': '3', 'hidden_sizes': '32,32', 'learning_rate': '0.003', 'batch_size': '64',
         'teacher.epochs': '3', 'student.epochs': '4', 'chunk_size': '2', 'curve_images': '100'}


def make() -> images.Images:
    """Images of each kind: a pattern of its own, lightly disturbed."""
    rng = np.random.default_rng(7)
    patterns = rng.integers(60, 196, (10, SIDE * SIDE))

    def draw(count):
        labels = rng.integers(0, 10, count).astype(np.int32)
        noise = rng.normal(0, 60, (count, SIDE * SIDE))
        return np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels

    return images.Images(*draw(TRAIN), *draw(TEST), (SIDE, SIDE, 1), 10)


@contextlib.contextmanager
def loaded() -> Iterator[images.Images]:
    """These images in the place of any data set that is loaded inside."""
    made = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, 'load', lambda name: made)
        yield made


def into_cache(folder: pathlib.Path) -> None:
    """Makes a user cache whose `mnist` is these images, with the real compilation cache."""
    data, place = make(), folder / 'images' / 'mnist'
    place.mkdir(parents=True)
    for field in images.ARRAYS:
        np.save(place / f'{field}.npy', getattr(data, field))
    np.save(place / 'meta.npy', np.array([*data.image_shape, 10]))
    real = cache_dir() / 'xla'
    real.mkdir(parents=True, exist_ok=True)
    (folder / 'xla').symlink_to(real)
