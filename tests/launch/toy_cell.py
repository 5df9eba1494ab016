"""An experiment of one stage, as a program: cells of a sweep that take no time and no JAX.

  python -m tests.launch.toy_cell --config=FILE --workdir=DIR [--config.FIELD=VALUE ...]
"""

import dataclasses
import os
import pathlib
import signal
import sys
import time

from subliminal_jax.runs import UserError, Workdir, config as configs, run_program, spec
from subliminal_jax.runs.experiment import Experiment

FILE = '''from ml_collections import ConfigDict


def get_config():
    return ConfigDict({'experiment': 'toy'})
'''


@dataclasses.dataclass(frozen=True)
class Config:
    """What a cell does."""

    seed: int = spec(0, ge=0, doc='of its figure')
    sizes: tuple[int, ...] = spec((1,), doc='widths')
    trouble: str = spec('', choices=('', 'kill', 'worker', 'crash', 'mistake', 'hang'),
                        doc='that it is in, for the first time or always')
    save_every: int = spec(1, changes_nothing=True, doc='nothing')


def page(folder: pathlib.Path, results: dict) -> str:
    """A report."""
    from subliminal_jax.report.page import Text, write

    write(folder, 'Toy', results['verdict'], [Text('a report')], results)
    return 'table'


TABLE = {'toy': lambda: Experiment(Config, plan=lambda c: [], run=run, page=page)}


def run(config: Config, workdir: Workdir) -> str:
    """The stage and the results; begun twice, it goes on."""
    begun = workdir.path / 'begun'
    first = not begun.exists()
    with begun.open('a') as file:
        file.write('x')

    def make(path):
        path.write_text(str(config.seed**2))

    workdir.stage('square', 'square.txt', make, reads={'seed': config.seed})
    if config.trouble == 'mistake':
        raise UserError('this can never be')
    if config.trouble == 'crash':
        raise RuntimeError('a bug')
    if config.trouble == 'hang':
        time.sleep(60)
    if first and config.trouble == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if first and config.trouble == 'worker':
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    square = int((workdir.path / 'square.txt').read_text())
    workdir.write_results({'verdict': f'the square is {square}', 'headline': {
        'square': square, 'effect': [square / 2, [0.0, square], 0.5]}}, seeds={}, published={})
    return 'done'


def main(arguments: list[str]) -> None:
    loaded = configs.load(arguments, TABLE)
    folder = next(a.partition('=')[2] for a in sys.argv if a.startswith('--workdir='))
    run(loaded.config, Workdir(folder, loaded.config, loaded.name))


if __name__ == '__main__':
    from absl import flags

    flags.DEFINE_string('workdir', None, 'the folder')
    run_program(main, allow_prefix='--config')
