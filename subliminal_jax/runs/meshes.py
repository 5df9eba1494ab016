"""Devices as a mesh of three axes, and what of a run is cut over them.

  data    every group of devices reads its own rows; weights lie in each group
  fsdp    rows too, and the weights' width is cut: they are gathered where they are used
          (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054)
  tensor  heads, feed-forward units and the vocabulary are cut (Shoeybi et al. 2019, arXiv
          1909.08053)

Which axis of a parameter goes where stands in models.params.RULES. Programs are compiled for where
their arguments lie, so that they know nothing of a mesh.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError

AXES = ('data', 'fsdp', 'tensor')
ROWS = ('data', 'fsdp')  # axes over which the rows of a batch are cut
FORM = 'write --mesh=data:2,fsdp:4'

_chosen: list[dict[str, int]] = []  # this process's; empty: none was asked for


def sizes_of(texts: Sequence[str]) -> dict[str, int] | None:
    """Sizes of the axes that are named; None where none is.

    Raises:
      UserError: not AXIS:SIZE, an unknown axis, or one twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        axis, _, size = text.partition(':')
        if not size.isdecimal() or not int(size):
            raise UserError(f'--mesh={",".join(texts)}: {FORM}')
        if axis not in AXES:
            raise unknown_name('axis of the mesh', axis, AXES)
        if axis in found:
            raise UserError(f'--mesh={",".join(texts)} has the axis {axis} twice')
        found[axis] = int(size)
    return found or None


def whole_of(sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of all axes: 1 of one that is not named."""
    return {axis: sizes.get(axis, 1) for axis in AXES}


def use(sizes: Mapping[str, int] | None) -> None:
    """Chooses the mesh of this process (None: none)."""
    _chosen[:] = [] if sizes is None else [dict(sizes)]


def chosen() -> dict[str, int] | None:
    """The mesh that was chosen."""
    return _chosen[0] if _chosen else None


def make(sizes: Mapping[str, int]) -> Any:
    """A jax.sharding.Mesh of as many of the machine's devices (of several hosts: of all hosts').

    Raises:
      UserError: more devices than there are, or, on several hosts, not all of them.
    """
    import jax

    asked, there = math.prod(whole_of(sizes).values()), jax.device_count()
    if asked > there or (asked != there and jax.process_count() > 1):
        named = ' x '.join(f'{axis}:{size}' for axis, size in sizes.items())
        raise UserError(f'--mesh: {named} takes {asked} devices, and there are {there} '
                        f'({jax.default_backend()}, hosts: {jax.process_count()})')
    return jax.make_mesh(tuple(whole_of(sizes).values()), AXES, devices=jax.devices()[:asked],
                         axis_types=(jax.sharding.AxisType.Auto,) * len(AXES))


def of(tree: Any) -> Any:
    """The mesh that a tree's arrays are laid over; None where they are on one device or a host."""
    import jax

    for leaf in jax.tree.leaves(tree):
        place = getattr(leaf, 'sharding', None)
        if isinstance(place, jax.sharding.NamedSharding) and place.mesh.size > 1:
            return place.mesh
    return None


def everywhere(mesh: Any) -> Any:
    """The sharding of what every device holds as a whole."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def by_rows(mesh: Any, axis: int = 0) -> Any:
    """The sharding of arrays whose rows, counted by this axis, are cut over `data` and `fsdp`."""
    import jax

    names = tuple(name for name in ROWS if name in mesh.shape)
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*[None] * axis, names))


def spread(batch: Any, mesh: Any, axis: int = 0) -> Any:
    """A batch over the mesh: every device is sent its own rows alone.

    Args:
      batch: a tree of arrays in this host's memory; of several hosts all have the same.
      mesh: the devices; None: the batch is left as it is.
      axis: that counts rows.

    Raises:
      UserError: the axes do not divide the rows.
    """
    if mesh is None:
        return batch
    import jax

    place = by_rows(mesh, axis)

    def put(x):
        check_rows(mesh, x.shape[axis])
        return jax.make_array_from_callback(x.shape, place, lambda index: x[index])

    return jax.tree.map(put, jax.tree.map(np.asarray, batch))


def rows_cut(mesh: Any) -> int:
    """Over how many devices the rows of a batch are cut; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape.get(name, 1) for name in ROWS)


def check_rows(mesh: Any, count: int) -> None:
    """Raises UserError where the axes of the rows do not divide a batch."""
    if count % rows_cut(mesh):
        named = ', '.join(f'{name}={mesh.shape[name]}' for name in ROWS if name in mesh.shape)
        raise UserError(f"the mesh's axes {named} do not divide the {count} rows (or packs of "
                        'rows) of a batch: take another batch size, or another mesh')
