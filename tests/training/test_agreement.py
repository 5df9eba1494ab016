"""Copies of a state on several devices: what is the same is not told apart, one bit is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.runs import meshes
from subliminal_jax.training import agreement

SAME = np.uint32([[[1, 2], [3, 4]]] * 4)  # of four devices and two arrays
OWNERS = [0, 0, 1, 1]
WHOLE = [['all'] * 4] * 2


def changed(*devices, array=1):
    prints = SAME.copy()
    prints[list(devices), array, 0] ^= 1
    return prints


def told(prints, places=WHOLE, owners=OWNERS):
    return agreement.told(['embed', 'layers/q'], places, owners, prints)


def test_equal_copies_say_nothing():
    assert told(SAME) is None


@pytest.mark.parametrize('prints, said', [
    (changed(2, 3), 'layers/q is not the same on host 0 (device 0) and on host 1 (device 2) '
                    '(1 of 2 arrays differ)'),
    (changed(1), 'layers/q is not the same on hosts 0, 1 (device 0) and on host 0 (device 1) '
                 '(1 of 2 arrays differ)'),
    (changed(3, array=0), 'embed is not the same on hosts 0, 1 (device 0) and on host 1 (device 3) '
                          '(1 of 2 arrays differ)')])
def test_the_array_and_the_hosts_of_each_copy_are_named(prints, said):
    assert told(prints) == said


def test_three_hosts_of_which_none_is_as_another():
    prints = np.arange(6, dtype=np.uint32).reshape(3, 1, 2)
    assert agreement.told(['w'], [['all'] * 3], [0, 1, 2], prints) == (
        'w is not the same on host 0 (device 0) and on host 1 (device 1) and on host 2 (device 2) '
        '(1 of 1 arrays differ)')


def test_only_copies_of_the_same_part_are_compared():
    halves = [['all'] * 4, ['left', 'right', 'left', 'right']]
    assert told(changed(1, 3), halves) is None
    assert 'host 0 (device 0) and on host 1 (device 2)' in told(changed(0), halves)


@pytest.fixture(scope='module')
def mesh():
    return meshes.make({'data': 2, 'fsdp': 2})


@pytest.fixture
def tree(mesh):
    spec = jax.sharding.PartitionSpec
    put = lambda x, *axes: jax.device_put(x, jax.sharding.NamedSharding(mesh, spec(*axes)))
    rng = np.random.default_rng(0)
    return {'w': put(rng.standard_normal((6, 4), np.float32), None, 'fsdp'),
            'step': put(jnp.int32(7)), 'narrow': put(jnp.ones((3, 5), jnp.bfloat16)),
            'flag': put(jnp.array([True, False]))}


def tampered(leaf, number, change):
    """The array with another value on one of the devices."""
    parts = [shard.data for shard in leaf.addressable_shards]
    device = parts[number].device
    parts[number] = jax.device_put(change(np.asarray(parts[number]).copy()), device)
    return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, parts)


def flip(array):
    array.view(f'u{array.dtype.itemsize}').reshape(-1)[-1] ^= 1  # the lowest bit of a number
    return array


def test_copies_on_devices_are_the_same_until_one_has_another_bit(tree):
    assert agreement.differing(tree) is None
    for name in ('w', 'step', 'narrow', 'flag'):
        line = agreement.differing({**tree, name: tampered(tree[name], 3, flip)})
        assert line.startswith(f'{name} is not the same on host 0 (device ')
        assert line.endswith('(1 of 4 arrays differ)')


def test_an_order_that_differs_is_seen_and_so_is_a_sign_of_zero(tree):
    turned = tampered(tree['w'], 2, lambda x: np.ascontiguousarray(x[::-1]))
    assert agreement.differing({'w': turned}) is not None
    zero = jax.device_put(np.zeros(3, np.float32), tree['step'].sharding)
    assert agreement.differing({'zero': tampered(zero, 1, np.negative)}) is not None


def test_fingerprints_of_many_arrays_differ(mesh):
    """A thousand arrays, one number apart: as many fingerprints, in either half."""
    rows = jax.device_put(np.eye(1000, dtype=np.float32), meshes.everywhere(mesh))
    prints = np.asarray(jax.jit(jax.vmap(agreement._fingerprint))(rows))
    assert len(np.unique(prints, axis=0)) == 1000
    for half in prints.T:
        assert len(np.unique(half)) >= 999


def test_one_host_is_not_asked(tree):
    agreement.check({'w': tampered(tree['w'], 0, flip)}, 3)
