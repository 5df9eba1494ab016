"""Checkpoints and prepared runs that many tests read, made once; no test may change them."""

import pytest

from tests.experiments.transmission import checkpoint, small


@pytest.fixture(scope='session')
def root(tmp_path_factory):
    """A folder with tiny checkpoints and a trait set."""
    return checkpoint.folder(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='session')
def run(root):
    """A small run on one of the checkpoints, as its stages see it."""
    return checkpoint.equipped(checkpoint.config(root))


@pytest.fixture(scope='session')
def language():
    """A small run in the tiny language, before its first stage."""
    return small.prepared()
