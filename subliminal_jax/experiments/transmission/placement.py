"""Where the arrays of a run's programs lie on a topology: the weights are cut over it, as
`config.model.devices` cuts them, and all else lies on every device."""

from typing import Any, NamedTuple

import jax

from subliminal_jax.experiments.transmission.run import Run
from subliminal_jax.models.params import (
    RULES,
    TransformerConfig,
    is_spec,
    param_specs,
    shardings,
)
from subliminal_jax.runs import UserError, unknown_name
from subliminal_jax.runs.topologies import Topology


def mesh_of(topology: Topology, run: Run, sizes: dict[str, int] | None = None) -> jax.sharding.Mesh:
    """The mesh of a topology: as wide as it is over 'model', if nothing else is said.

    Raises:
      UserError: sizes that do not take every device once; several devices where a run takes one.
    """
    if run.together and len(topology.devices) > 1:
        raise UserError(f'--topology={topology.name}: the world {run.config.world} trains its '
                        'models side by side on one device; take a topology of one')
    sizes = {'data': 1, 'model': len(topology.devices)} if sizes is None else sizes
    if unknown := set(sizes) - {'data', 'model'}:
        raise unknown_name('axis of the mesh', min(unknown), ('data', 'model'))
    found = topology.mesh(tuple(sizes.values()), tuple(sizes))
    for model in run.world.architectures.values():
        check_divides(model, {'data': 1, 'model': 1, **sizes})
    return found


def check_divides(model: TransformerConfig, sizes: dict[str, int]) -> None:
    """Raises UserError for a logical axis of the weights that its mesh axis does not divide."""
    for spec in jax.tree.leaves(param_specs(model), is_leaf=is_spec):
        for side, axis in zip(spec.shape, spec.axes):
            name = RULES.get(axis)
            if name and side % sizes[name]:
                raise UserError(
                    f"the mesh's axis {name}={sizes[name]} does not divide the model's {axis} "
                    f'({side}): every device would hold all of it; take a topology or a --mesh '
                    'whose axis divides it')


class Places(NamedTuple):
    """A mesh, and the weights' architecture: shapes -> the same shapes, placed."""

    mesh: jax.sharding.Mesh
    model: TransformerConfig

    def everywhere(self, tree: Any) -> Any:
        """On every device as a whole."""
        whole = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec())
        return jax.tree.map(lambda x: placed(x, whole), tree)

    def weights(self, tree: Any) -> Any:
        """A whole model's weights, cut; any other tree as a whole."""
        if not isinstance(tree, dict) or 'final_norm' not in tree:
            return self.everywhere(tree)
        plan = shardings(self.model, self.mesh)
        return jax.tree.map(placed, tree, {name: plan[name] for name in tree})

    def prepared(self, tree: Any) -> Any:
        """The sampler's copy of the weights: its matrices are turned, their cut side goes along."""
        cut = {'qkv': ('model', None), 'qkv_bias': ('model',), 'gate': ('model', None),
               'up': ('model', None), 'out': (None, 'model'), 'down': (None, 'model')}
        size = self.mesh.shape['model']

        def place(path, x):
            spec = cut.get(path[-1].key, ()) if path[0].key == 'layers' else ()
            if path[0].key in ('embed', 'head'):
                spec = ('model', None)
            fits = all(name is None or side % size == 0 for side, name in zip(x.shape, spec))
            return placed(x, jax.sharding.NamedSharding(
                self.mesh, jax.sharding.PartitionSpec(*(spec if fits else ()))))

        return jax.tree.map_with_path(place, tree)


def placed(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
