"""Images of ten kinds in place of MNIST, and one device in place of eight."""

import jax
import pytest

from subliminal_jax.experiments.digits import devices
from tests import blobs


@pytest.fixture(scope='session')
def one_device():
    return jax.make_mesh((1,), ('models',), devices=jax.devices()[:1],
                         axis_types=(jax.sharding.AxisType.Auto,))


@pytest.fixture(scope='module', autouse=True)
def data(one_device):
    with blobs.loaded() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, 'devices_mesh', lambda: one_device)
        yield made
