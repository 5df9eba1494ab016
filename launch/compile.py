"""Compiles every program of a run for accelerators that are not here.

  python -m launch.compile --config=configs/NAME.py --topology=CARD:SHAPE[,CARD:SHAPE ...]
      [--programs=NAME,NAME] [--mesh=data:1,tensor:8] [--output=FILE] [--config.field=value ...]

A topology is v5e:2x4, v5e:4x4, v6e:2x4, v4:2x2x1, h100:1, h100:8 or alike. The vendors' own
compilers do it (launch/setup.sh --with aot); no weights are read, and nothing is run. Of every
program it says: bytes a device against what one has, arithmetic, bytes moved and sent, collectives,
the least time a step can take, and what binds it. One that does not fit ends it with what helps.
--programs takes the beginnings of their names. --output adds what was found to a JSON file, under
the config's name and the topology's.
"""

import json
import math
import pathlib
from typing import Any

from absl import flags

from launch import ahead as programs_ahead
from launch.kept import growing
from subliminal_jax.runs import UserError, local_path, meshes, run_program, versions, write_text

TOPOLOGY = flags.DEFINE_list('topology', None, 'what to compile for: CARD:SHAPE, or several')
PROGRAMS = flags.DEFINE_list('programs', [], "beginnings of the programs' names; all if empty")
MESH = flags.DEFINE_list('mesh', [], 'sizes of the mesh, such as data:2,tensor:4; by default all '
                         'devices are on the axis tensor')
OUTPUT = flags.DEFINE_string('output', '', 'a JSON file to add the result to')


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import ahead, config as configs

    if not TOPOLOGY.value:
        raise UserError('compile for what? Pass --topology=v5e:2x4, h100:1 or alike')
    loaded = configs.load(config_arguments, EXPERIMENTS)
    over, sizes = None, meshes.sizes_of(MESH.value)
    for name in TOPOLOGY.value:
        topology, found = programs_ahead.bounds(loaded, name, PROGRAMS.value, sizes)
        print(ahead.render(found, topology), flush=True)
        if OUTPUT.value:
            keep(pathlib.Path(local_path('output', OUTPUT.value)), config_arguments, name,
                 ahead.entry(found), ahead.versions(topology))
        try:
            ahead.check_fits(found, topology)
        except UserError as error:
            over = over or error
    if over:
        raise over


def keep(path: pathlib.Path, config_arguments: list[str], topology: str, programs: dict[str, Any],
         compilers: dict[str, str]) -> None:
    """Adds a result to a JSON file: {config: {topology: {program: what was found}}}.

    Raises:
      UserError: another file stands there.
    """
    known = growing(path, 'compile')
    config, *overrides = config_arguments
    name = ' '.join([pathlib.Path(config.partition('=')[2]).stem, *overrides])
    known.setdefault('versions', {}).update({**versions(), **compilers})
    entries = known.setdefault('configs', {}).setdefault(name, {})
    entries[topology] = {**entries.get(topology, {}), **_short(programs)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known, indent=1) + '\n')


def _short(value: Any) -> Any:
    """Numbers to five significant digits; null for one that the compiler does not say."""
    if isinstance(value, float):
        return float(f'{value:.5g}') if math.isfinite(value) else None
    return {k: _short(v) for k, v in value.items()} if isinstance(value, dict) else value


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
