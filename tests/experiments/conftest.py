"""A folder with tiny checkpoints, and a small run on one of them, as its stages see it."""

import pytest

from subliminal_jax.experiments.weights import language
from tests.experiments import checkpoint


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return checkpoint.folder(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def here(root):
    own = checkpoint.config(root)
    return language.prepare(own, None, language.load(own))
