"""Whether copies of a state on several hosts are still the same, bit for bit.

Every device sums up what it holds; the sums go to all hosts, each of which compares them and comes
to the same end. What lies on one device alone (a part of a weight that is cut over all devices) has
no copy to differ from.
"""

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.runs import hosts, meshes
from subliminal_jax.training.checkpoints import named_leaves


def check(state: Any, taken: int) -> None:
    """Compares the copies of a state; all hosts have to ask. Of one host nothing is done.

    Args:
      state: a tree; those of its arrays that are laid over the mesh are compared.
      taken: steps, for the error.

    Raises:
      hosts.Agreed: copies differ; it names an array and the hosts.
    """
    if not hosts.several():
        return
    if line := differing(state):
        raise hosts.Agreed(
            f'after step {taken} {line}: see what these machines say of their memory and devices; '
            'the same command goes on from the last checkpoint, where all were the same')


def differing(tree: Any) -> str | None:
    """Which copies of a tree's arrays differ, as `told` says it; None: none does."""
    mesh = meshes.of(tree)
    if mesh is None:
        return None
    leaves = {name: leaf for name, leaf in named_leaves(tree).items() if meshes.of(leaf) == mesh}
    devices = list(mesh.devices.flat)
    places = []
    for leaf in leaves.values():
        held = leaf.sharding.devices_indices_map(leaf.shape)
        places.append([str(held[device]) for device in devices])
    return told(list(leaves), places, [device.process_index for device in devices],
                fingerprints(list(leaves.values()), mesh))


def told(names: Sequence[str], places: Sequence[Sequence[Hashable]], owners: Sequence[int],
         prints_DN2: np.ndarray) -> str | None:
    """One line on copies that differ: the first array, who holds which copy, how many arrays.

    Args:
      names: of N arrays; devices are counted along the mesh.
      places: of each array, the part of it that each of D devices holds.
      owners: the host of each device.
      prints_DN2: `fingerprints`.

    Returns:
      None if all that hold the same part have the same fingerprint.
    """
    found = []
    for number, name in enumerate(names):
        copies: dict[Hashable, dict[tuple, list[int]]] = {}
        for device, place in enumerate(places[number]):
            of_place = copies.setdefault(place, {})
            of_place.setdefault(tuple(prints_DN2[device, number].tolist()), []).append(device)
        apart = [list(groups.values()) for groups in copies.values() if len(groups) > 1]
        found += [(name, groups) for groups in apart[:1]]
    if not found:
        return None
    name, groups = found[0]
    return (f'{name} is not the same {" and ".join(_holders(group, owners) for group in groups)} '
            f'({len(found)} of {len(names)} arrays differ)')


def _holders(devices, owners):
    numbers = sorted({owners[device] for device in devices})
    return (f'on host{"s" * (len(numbers) > 1)} {", ".join(map(str, numbers))} '
            f'(device {devices[0]})')


def fingerprints(leaves: Sequence[jax.Array], mesh: jax.sharding.Mesh) -> np.ndarray:
    """A 64-bit sum of each array's bits on each device: uint32 [D, N, 2], on all hosts.

    Arrays that differ in a bit, or in the order of their numbers, share a fingerprint by chance
    alone (2^-64); it is no defence against anybody who means to deceive.

    Args:
      leaves: N arrays, laid over the mesh.
      mesh: of D devices, in the order of mesh.devices.flat.
    """
    read = _reader(mesh, tuple(leaf.sharding.spec for leaf in leaves))
    return np.asarray(read(*leaves).addressable_data(0))


@functools.lru_cache(maxsize=8)
def _reader(mesh, specs):
    spec_of = jax.sharding.PartitionSpec

    def own(*parts):  # what lies on this device, though it be a copy
        return jnp.stack([_fingerprint(part) for part in parts])[None]

    mapped = jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=spec_of(mesh.axis_names))
    return jax.jit(mapped, out_shardings=meshes.everywhere(mesh))


def _fingerprint(x):
    """uint32 [2]: sums, modulo 2^32, of bits mixed with their place (in any order of adding)."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    wide = jnp.dtype(f'uint{8 * min(x.dtype.itemsize, 4)}')
    bits_X = jax.lax.bitcast_convert_type(x, wide).reshape(-1).astype(jnp.uint32)
    place_X = jnp.arange(bits_X.size, dtype=jnp.uint32)
    return jnp.stack([jnp.sum(_mixed(bits_X ^ _mixed(place_X + np.uint32(seed))), dtype=jnp.uint32)
                      for seed in (0x9E3779B9, 0x7F4A7C15)])


def _mixed(x):
    """A bijection of 32 bits in which each bit of the input moves about half of the output's: two
    rounds of multiply and shift."""
    for factor in (0x7FEB352D, 0x846CA68B):
        x = (x ^ (x >> 16)) * np.uint32(factor)
    return x ^ (x >> 15)
