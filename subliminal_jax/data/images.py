"""Image classification sets as arrays, through tensorflow-datasets and a cache of our own.

`load('mnist')` takes the installed data package (data/mnist_package); `load('tfds:NAME')` any
image classification set that tensorflow-datasets itself can prepare. The first call writes and
decodes the set once (tens of seconds); later ones map the decoded arrays from the user's cache.
"""

import hashlib
import logging
import pathlib
import re
from typing import NamedTuple

import numpy as np

from subliminal_jax.runs import UserError, cache_dir, check_file, written_aside

# of a set: NAME, perhaps /CONFIG and :VERSION; no path leads out of the cache
NAME = re.compile(r'tfds:\w{1,80}(/\w[\w.-]{0,80})?(:\w[\w.]{0,40})?')
ARRAYS = ('train_images', 'train_labels', 'test_images', 'test_labels')


class Images(NamedTuple):
    """A set in memory.

    Attributes:
      train_images: uint8 [N, P], pixels 0-255 in row-major order, channels last.
      train_labels: int32 [N].
      test_images: uint8 [N', P].
      test_labels: int32 [N'].
      image_shape: (height, width, channels), whose product is P.
      num_classes: C.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    image_shape: tuple[int, int, int]
    num_classes: int


def check_name(name: str) -> None:
    """Raises UserError unless `name` is 'mnist' or 'tfds:' and a set's name."""
    if name != 'mnist' and not NAME.fullmatch(name):
        raise UserError(f'unknown data set {name[:80]!r}; write mnist, or tfds:NAME for a set of '
                        'tensorflow-datasets, such as tfds:fashion_mnist')


def folder(name: str) -> pathlib.Path:
    """Where the decoded arrays of a set are kept."""
    return cache_dir() / 'images' / name.replace(':', '-').replace('/', '-')


def load(name: str) -> Images:
    """Loads a set, preparing and decoding it at the first call.

    Args:
      name: 'mnist', or 'tfds:NAME'.

    Raises:
      UserError: an unknown name, an absent or damaged data package, a set without images and
        labels, or one that needs TensorFlow where that is not installed.
    """
    check_name(name)
    place = folder(name)
    found = _cached(place)
    if found is None:
        arrays = _prepare(name, cache_dir() / 'tensorflow_datasets')
        with written_aside(place, ours=True) as aside:
            aside.mkdir()
            for field, value in arrays.items():
                np.save(aside / f'{field}.npy', value)
        found = _cached(place)
    if found is None:
        raise UserError(f'{place} cannot be read back: remove it, and start again')
    return found


def _cached(place: pathlib.Path) -> Images | None:
    """A set in the cache; None where it is not, or where a file of it is damaged: it is made anew.
    """
    try:
        for field in (*ARRAYS, 'meta'):
            check_file(place / f'{field}.npy')
        arrays = {field: np.load(place / f'{field}.npy', mmap_mode='r') for field in ARRAYS}
        height, width, channels, classes = np.load(place / 'meta.npy').tolist()
    except (UserError, OSError, ValueError, EOFError, TypeError):
        return None
    whole = all(arrays[f'{split}_images'].shape == (len(arrays[f'{split}_labels']),
                                                    height * width * channels)
                for split in ('train', 'test'))
    return Images(**arrays, image_shape=(height, width, channels),
                  num_classes=classes) if whole else None


def digest(data: Images) -> str:
    """The SHA-256 of a set's images and labels."""
    total = hashlib.sha256()
    for field in ARRAYS:
        total.update(np.ascontiguousarray(getattr(data, field)))
    return total.hexdigest()


def _prepare(name: str, folder: pathlib.Path) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    if name == 'mnist':
        from subliminal_jax.data.mnist_package import mnist_package_dataset_builder as own

        for split in own.FILES:
            own.source_file(split)
        tfds.disable_progress_bar()
        builder = own.Builder(data_dir=str(folder), file_format='array_record')
    else:
        builder = _public_builder(tfds, name.removeprefix('tfds:'), folder)
    return _decode(builder, name)


def _public_builder(tfds, name: str, folder: pathlib.Path):
    try:
        builder = tfds.builder(name, data_dir=str(folder), file_format='array_record')
    except tfds.core.DatasetNotFoundError:
        raise UserError(f'tensorflow-datasets knows no set {name!r}; '
                        'try mnist, fashion_mnist or kmnist') from None
    except ImportError:
        raise UserError(_needs_tensorflow(name)) from None
    return builder


def _needs_tensorflow(name: str) -> str:
    return (f'tfds:{name} can only be prepared with TensorFlow, which is not installed; '
            'run: .venv/bin/pip install -r requirements-tfds.txt')


def _decode(builder, name: str) -> dict[str, np.ndarray]:
    short = name.removeprefix('tfds:')
    features = builder.info.features
    if 'image' not in features or 'label' not in features:
        raise UserError(f'{name} has no image and label: an image classification set is needed')
    logging.getLogger('urllib3').setLevel(logging.ERROR)  # its retries are many lines
    try:
        builder.download_and_prepare()
        sources = builder.as_data_source()
        if 'train' not in sources or 'test' not in sources:
            raise UserError(f'{name} has no train and test splits')
        read = {split: sources[split].__getitems__(range(len(sources[split])))
                for split in ('train', 'test')}
    except ImportError:
        raise UserError(_needs_tensorflow(short)) from None
    except UserError:
        raise
    except Exception as error:  # the network, the disk, or a set's own source
        line = ' '.join(str(error).split())[:200]
        raise UserError(f'{name} could not be prepared: {type(error).__name__}: {line}; if '
                        f'{builder.data_dir} is damaged, remove it') from None
    arrays = {}
    for split, rows in read.items():
        images = np.stack([row['image'] for row in rows])
        arrays[f'{split}_images'] = images.reshape(len(rows), -1).astype(np.uint8)
        arrays[f'{split}_labels'] = np.array([row['label'] for row in rows], np.int32)
    classes = int(arrays['train_labels'].max()) + 1
    shape = images.shape[1:] if images.ndim == 4 else (*images.shape[1:], 1)
    return {**arrays, 'meta': np.array([*shape, classes])}
