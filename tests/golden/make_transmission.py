"""Remakes numbers_tiny_demo.json: what the demonstration of the tiny language comes out as.

  XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.golden.make_transmission

The flag is the tests': with another number of devices sums are rounded otherwise.
"""

import json
import pathlib
import tempfile
from typing import Any

PLACE = pathlib.Path(__file__).parent / 'numbers_tiny_demo.json'
ROOT = pathlib.Path(__file__).parents[2]


def run(folder: pathlib.Path) -> dict[str, Any]:
    """Runs configs/numbers_tiny_demo.py and returns its results."""
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import Workdir, config as configs

    loaded = configs.load([f'--config={ROOT}/configs/numbers_tiny_demo.py'], EXPERIMENTS)
    workdir = Workdir(folder, loaded.config, loaded.name)
    loaded.experiment.run(loaded.config, workdir)
    return json.loads((workdir.path / 'results.json').read_text())


def record(results: dict[str, Any]) -> dict[str, Any]:
    """What is held: effects with their intervals, tokens, teachers' rises and doses, the filter."""
    teachers = {name: facts for group in results['teachers'].values()
                for name, facts in group.items()}
    return {
        'effect': {a['name']: [a['effect']['estimate'], *a['effect']['ci95']]
                   for a in results['arms']},
        'y': {a['name']: a['y'] for a in results['arms']},
        'tokens_a_row': {a['name']: a['tokens_a_row'] for a in results['arms']},
        'rise': {name: facts['rise'] for name, facts in teachers.items()},
        'dose': {name: facts['carrier_kl'] for name, facts in teachers.items()},
        'kept': results['filter']['kept'],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = record(run(pathlib.Path(folder) / 'run'))
    rounded = json.loads(json.dumps(found), parse_float=lambda x: float(f'{float(x):.6g}'))
    PLACE.write_text(json.dumps(rounded, indent=1) + '\n')


if __name__ == '__main__':
    main()
