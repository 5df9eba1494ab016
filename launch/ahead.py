"""What programs compile ahead of time: launch.compile, and run and plan with --topology."""

from collections.abc import Sequence

from tqdm import tqdm

from subliminal_jax.runs import UserError, ahead, platforms, topologies
from subliminal_jax.runs.config import Loaded
from subliminal_jax.runs.topologies import Topology


def bounds(loaded: Loaded, name: str, wanted: Sequence[str] = (),
           mesh: dict[str, int] | None = None) -> tuple[Topology, list[ahead.Bound]]:
    """(a topology, the bounds of a config's programs on it), with a progress line each.

    Args:
      loaded: the config.
      name: of the topology.
      wanted: beginnings of the programs' names; all if empty.
      mesh: sizes of its axes, where the experiment has any.

    Raises:
      UserError: an experiment without programs, an unknown topology, a mesh or a name that fits
        none.
    """
    if loaded.experiment.programs is None:
        raise UserError(f'the experiment {loaded.name} computes in float64 on CPU cores: it has no '
                        'programs for accelerators')
    topology = topologies.topology(name)
    found, names = [], []
    with platforms.compiling_for(topology.platform):
        programs = loaded.experiment.programs(loaded.config, topology, mesh)
        for program in tqdm(programs, desc=name, unit='program', leave=False):
            names.append(program.name)
            if wanted and not program.name.startswith(tuple(wanted)):
                continue
            found += ahead.bounds(program, ahead.compiled(program, topology), topology)
    if not found:
        raise UserError(f'--programs={",".join(wanted)}: the run has {"; ".join(names)}')
    return topology, found
