"""Where the arrays of a run's programs lie on a topology: the weights are cut over it, as
`config.model.devices` cuts them, and all else lies on every device."""

from typing import Any, NamedTuple

import jax

from subliminal_jax.experiments.transmission.run import Run
from subliminal_jax.models.params import TransformerConfig, check_divides, shardings
from subliminal_jax.runs import UserError, meshes
from subliminal_jax.runs.topologies import Topology


def mesh_of(topology: Topology, run: Run, sizes: dict[str, int] | None = None) -> jax.sharding.Mesh:
    """The mesh of a topology: as wide as it is over 'tensor', if nothing else is said.

    Raises:
      UserError: sizes that do not take every device once; several devices where a run takes one.
    """
    if run.together and len(topology.devices) > 1:
        raise UserError(f'--topology={topology.name}: the world {run.config.world} trains its '
                        'models side by side on one device; take a topology of one')
    sizes = meshes.whole_of({'tensor': len(topology.devices)} if sizes is None else sizes)
    found = topology.mesh(tuple(sizes.values()), tuple(sizes))
    for model in run.world.architectures.values():
        check_divides(model, sizes)
    return found


class Places(NamedTuple):
    """A mesh, and the weights' architecture: shapes -> the same shapes, placed."""

    mesh: jax.sharding.Mesh
    model: TransformerConfig

    def everywhere(self, tree: Any) -> Any:
        """On every device as a whole."""
        whole = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
        return jax.tree.map(lambda x: placed(x, whole), tree)

    def rows(self, tree: Any, axis: int) -> Any:
        """Rows, counted by an axis, cut."""
        place = meshes.by_rows(self.mesh, axis)
        for x in jax.tree.leaves(tree):
            meshes.check_rows(self.mesh, x.shape[axis])
        return jax.tree.map(lambda x: placed(x, place), tree)

    def weights(self, tree: Any) -> Any:
        """A whole model's weights, cut; any other tree as a whole."""
        if not isinstance(tree, dict) or 'final_norm' not in tree:
            return self.everywhere(tree)
        plan = shardings(self.model, self.mesh)
        return jax.tree.map(placed, tree, {name: plan[name] for name in tree})

    def prepared(self, tree: Any) -> Any:
        """The sampler's copy of the weights: its matrices are turned, their cut side goes along."""
        cut = {'qkv': ('tensor', None), 'qkv_bias': ('tensor',), 'gate': ('tensor', None),
               'up': ('tensor', None), 'out': (None, 'tensor'), 'down': (None, 'tensor')}
        size = self.mesh.shape['tensor']

        def place(path, x):
            spec = cut.get(path[-1].key, ()) if path[0].key == 'layers' else ()
            if path[0].key in ('embed', 'head'):
                spec = ('tensor', None)
            fits = all(name is None or side % size == 0 for side, name in zip(x.shape, spec))
            return placed(x, jax.sharding.NamedSharding(
                self.mesh, jax.sharding.PartitionSpec(*(spec if fits else ()))))

        return jax.tree.map_with_path(place, tree)


def placed(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
