"""Kills a run again and again, and says whether it ends in the results of one that was left alone.

  python -m launch.chaos --config=configs/NAME.py --workdir=DIR [--kills=12] [--seed=0]
      [--table=FILE] [--config.field=value ...]

DIR/clean is the run that is left alone. Then runs of the same command (DIR/run00, ...) are sent
SIGKILL or SIGTERM after random times, and started again until they end; when one has ended the next
begins, until so many signals have struck. Each results.json must equal the clean one's but for its
timing and command. DIR/chaos.json holds the counts; FILE, one row (JSON) for each program that
was struck, gets one more, also where results differ. launch/chaos.sh strikes four programs.
"""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from subliminal_jax.runs import (
    UserError,
    append_text,
    check_output,
    local_path,
    read_json,
    run_program,
    write_json,
)
from subliminal_jax.runs.files import ROWS

WORKDIR = flags.DEFINE_string('workdir', None, 'a folder for all of these runs')
KILLS = flags.DEFINE_integer('kills', 12, 'signals that strike', lower_bound=1, upper_bound=10_000)
SEED = flags.DEFINE_integer('seed', 0, 'of the times and signals', lower_bound=0)
TABLE = flags.DEFINE_string('table', None, 'a JSONL file that gets a row of this')
SIGNALS = {signal.SIGKILL: (-signal.SIGKILL,), signal.SIGTERM: (143, -signal.SIGTERM)}
OWN = ('timing', 'command')  # of a run: they differ where nothing else does
LOG = 'chaos.log'


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import config as configs

    configs.load(config_arguments, EXPERIMENTS)
    if not WORKDIR.value:
        raise UserError('no folder for the runs: pass --workdir=DIR')
    place = pathlib.Path(local_path('workdir', WORKDIR.value)).expanduser()
    if TABLE.value:
        check_output(local_path('table', TABLE.value), ROWS)
    if (place / 'clean').exists():
        raise UserError(f'{place} holds such runs already: name another folder')
    place.mkdir(parents=True, exist_ok=True)
    told = strike(place, config_arguments)
    if TABLE.value:
        add_row(TABLE.value, {'arguments': config_arguments, 'seed': SEED.value, **told})
    if told['differing']:
        raise UserError(f'{place}/run{told["runs"] - 1:02d}/results.json differs from the clean '
                        f"run's in {', '.join(told['differing'][:4])}, after {told['kills']} "
                        'signals')
    write_json(place / 'chaos.json', told)
    print(f'{told["kills"]} signals ({", ".join(f"{told[s.name]} {s.name}" for s in SIGNALS)}) in '
          f'{told["runs"]} runs: the same results as without any')


def strike(place: pathlib.Path, config_arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the clean run, then others under signals, until enough have struck or results differ.

    Returns:
      Signals in all and by name, runs, seconds of the clean run, and the entries of results.json
      in which the last run differs from it.
    """
    def command(folder):
        return [sys.executable, '-m', 'launch.run', *config_arguments, f'--workdir={folder}']

    begun = time.monotonic()
    ended(command(place / 'clean'), place / LOG)
    seconds = time.monotonic() - begun
    wanted = results_of(place / 'clean')
    rng, struck, rounds, differs = random.Random(SEED.value), [], 0, []
    while len(struck) < KILLS.value and not differs:
        folder = place / f'run{rounds:02d}'
        struck += broken(command(folder), place / LOG, rng, KILLS.value - len(struck), seconds)
        differs = differing(wanted, results_of(folder))
        rounds += 1
    return {'kills': len(struck), **{s.name: struck.count(s) for s in SIGNALS}, 'runs': rounds,
            'seconds_clean': round(seconds, 1), 'differing': differs}


def add_row(path: str, row: dict[str, Any]) -> None:
    """Adds a row to a file of rows; one that a kill has torn keeps a line of its own."""
    place = pathlib.Path(path)
    torn = place.is_file() and not place.read_bytes().endswith(b'\n') and place.stat().st_size
    append_text(place, ('\n' if torn else '') + json.dumps(row) + '\n')


def broken(command: Sequence[str], log: pathlib.Path, rng: random.Random, most: int,
           seconds: float) -> list[signal.Signals]:
    """Starts a command until it ends by itself; sends it a signal at most `most` times.

    Args:
      command: of the run.
      log: where its output goes.
      rng: of the signals, and of when they strike.
      most: signals.
      seconds: that the command takes if it is left alone; a signal comes within them.

    Returns:
      The signals that struck.

    Raises:
      UserError: it ended with a status that neither it nor the signal has.
    """
    struck: list[signal.Signals] = []
    while len(struck) < most:
        chosen = rng.choice(list(SIGNALS))
        with log.open('ab') as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            status = process.wait(timeout=rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(chosen)
            status = process.wait()
            if status in SIGNALS[chosen]:
                struck.append(chosen)
                continue
        if status:
            raise UserError(f'the run ended with status {status}: see {log}')
        return struck
    ended(command, log)
    return struck


def ended(command: Sequence[str], log: pathlib.Path) -> None:
    """Runs a command to its end. Raises UserError for a status that is not 0."""
    with log.open('ab') as file:
        status = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
    if status:
        raise UserError(f'the run ended with status {status}: see {log}')


def results_of(folder: pathlib.Path) -> dict[str, Any]:
    """A run's results, without what differs from run to run."""
    return {k: v for k, v in read_json(folder / 'results.json').items() if k not in OWN}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The entries in which two results differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
