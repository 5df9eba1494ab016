"""The cells of a sweep: their settings, their folders, running one, and what they show together."""

import collections
import ctypes
import fcntl
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.runs import UserError, sha256_of, to_dict

LIBC = ctypes.CDLL(None)
ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = 'launch.run'
BUSY = 'is in use by a run that is alive'
FREE_AFTER = 60.0  # seconds that a killed attempt may take to let go of its folder
LONGEST = 120  # characters of a folder's name


class Cell(NamedTuple):
    """One run of a sweep. It can be sent to another process.

    Attributes:
      name: of its folder.
      values: by field, as the command line gives them.
      folder: its workdir.
      log: where it says what it does.
      command: that runs it; the folder of the project is its working directory.
      config: as its config.json will be, without what changes nothing.
      free: dotted names of the fields that change nothing.
    """

    name: str
    values: tuple[tuple[str, str], ...]
    folder: str
    log: str
    command: tuple[str, ...]
    config: dict[str, Any]
    free: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """How a cell ended: 'done' or 'failed', a line that says why, and attempts that it took."""

    name: str
    state: str
    line: str = ''
    attempts: int = 1


def grid_of(lines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """FIELD=a,b,c each, to values by field; with a semicolon in it, values are parted by those.

    Raises:
      UserError: no field, no value, or one named twice.
    """
    grid: dict[str, tuple[str, ...]] = {}
    for line in lines:
        field, equals, rest = line.partition('=')
        field = field.strip().removeprefix('config.')
        values = tuple(v.strip() for v in rest.split(';' if ';' in rest else ',') if v.strip())
        if not equals or not field or not values:
            raise UserError(f'--grid={line}: write FIELD=VALUE,VALUE (or with semicolons, where '
                            'values hold commas)')
        if field in grid:
            raise UserError(f'--grid names {field} twice')
        if doubles := [v for v, count in collections.Counter(values).items() if count > 1]:
            raise UserError(f'--grid={line} names the value {doubles[0]} twice')
        grid[field] = values
    return grid


def cells_of(arguments: Sequence[str], grid: Mapping[str, Sequence[str]], folder: pathlib.Path,
             table: Any, metrics: Sequence[str] = ()) -> list[Cell]:
    """Every combination of a grid as a cell, each checked against the experiment's schema.

    Args:
      arguments: --config=FILE and --config.FIELD=VALUE, as of launch.run.
      grid: values by field.
      folder: of the sweep.
      table: of experiments.
      metrics: sinks that each cell writes, as of launch.run.

    Raises:
      UserError: whatever launch.run would say of a cell before it starts.
    """
    from subliminal_jax.runs import config as configs, schema

    given = {argument.partition('=')[0] for argument in arguments}
    if both := [field for field in grid if f'--config.{field}' in given]:
        raise UserError(f'--config.{both[0]} is set, and --grid names it too: leave one out')
    found = []
    for chosen in itertools.product(*grid.values()):
        values = tuple(zip(grid, chosen))
        own = [*arguments, *(f'--config.{field}={value}' for field, value in values)]
        loaded = configs.load(own, table)
        name = name_of(values)
        place = folder / 'cells' / name
        command = (sys.executable, '-m', PROGRAM, *own, f'--workdir={place}',
                   *([f'--metrics={",".join(metrics)}'] if metrics else []))
        free = tuple(schema.changing_nothing(type(loaded.config)))
        config = _without({'experiment': loaded.name, **to_dict(loaded.config)}, free)
        found.append(Cell(name, values, str(place), str(folder / 'logs' / f'{name}.log'), command,
                          config, free))
    return found


def name_of(values: Sequence[tuple[str, str]]) -> str:
    """A folder's name for a combination: readable, and another for another."""
    text = '+'.join(f'{field}={value}' for field, value in values)
    plain = re.sub(r'[^A-Za-z0-9=+.,_-]', '_', text)
    if plain == text and len(text) <= LONGEST:
        return text
    return f'{plain[:LONGEST]}-{sha256_of([list(pair) for pair in values])[:8]}'


def _without(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A config as plain JSON, without some dotted names."""
    found = json.loads(json.dumps(config))
    for name in names:
        *groups, last = name.split('.')
        place = found
        for group in groups:
            place = place.get(group, {})
        place.pop(last, None)
    return found


def is_done(cell: Cell) -> bool:
    """Whether a cell has its results.

    Raises:
      UserError: its folder belongs to another config.
    """
    place = pathlib.Path(cell.folder)
    if not (place / 'results.json').exists():
        return False
    try:
        held = json.loads((place / 'config.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        held = None
    if held is None or _without(held, cell.free) != cell.config:
        raise UserError(f'{place} holds the results of another config: use another --workdir, or '
                        'delete that folder')
    return True


def run_cell(cell: Cell, retries: int, stop: Sequence[Any] = ()) -> Outcome:
    """Runs a cell as a child process, again while it is killed or crashes.

    A mistake of the user (exit status 1 with one line) is not tried again: it would come again. The
    child dies with the thread that waits for it, however that ends.

    Args:
      cell: the cell.
      retries: how often a cell that was killed, or crashed, is started again.
      stop: once it holds something, the child is asked to save and stop.
    """
    try:
        return _tried(cell, retries, stop)
    except OSError as error:  # no room for a log, no more processes
        return Outcome(cell.name, 'failed', f'it cannot be started: {error}')


def _tried(cell: Cell, retries: int, stop: Sequence[Any]) -> Outcome:
    pathlib.Path(cell.log).parent.mkdir(parents=True, exist_ok=True)
    line = ''
    for attempt in range(1, retries + 2):
        _wait_until_free(pathlib.Path(cell.folder))
        with open(cell.log, 'ab') as log:
            begun = log.tell()
            child = subprocess.Popen(cell.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=subprocess.STDOUT, preexec_fn=_die_together)
            status = _ended(child, stop)
        if stop:
            return Outcome(cell.name, 'failed', 'it was stopped: what it had is saved', attempt)
        if status == 0:
            return Outcome(cell.name, 'done', '', attempt)
        line = _last_line(cell.log, begun) or _spoken(status)
        if line.startswith('error: ') and BUSY not in line:
            return Outcome(cell.name, 'failed', line.removeprefix('error: '), attempt)
        line = line if status > 0 else _spoken(status)
    return Outcome(cell.name, 'failed', f'{line} (see {cell.log})', retries + 1)


def _ended(child: subprocess.Popen, stop: Sequence[Any]) -> int:
    """The exit status of a child, which is asked to save and stop where this task is stopped."""
    try:
        while True:
            try:
                return child.wait(0.2)
            except subprocess.TimeoutExpired:
                if stop:
                    child.terminate()
                    return child.wait()
    except BaseException:  # Ray cancels a task by an exception
        child.terminate()
        child.wait()
        raise


def _die_together() -> None:
    """In a child, before it starts: the kernel kills it when its parent is gone (Linux)."""
    try:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl.h
    except (OSError, AttributeError):
        return


def _wait_until_free(folder: pathlib.Path) -> None:
    """Waits until a killed attempt has let go of its folder, or for FREE_AFTER seconds."""
    begun = time.monotonic()
    while (folder / '.lock').exists() and time.monotonic() - begun < FREE_AFTER:
        with open(folder / '.lock') as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(0.2)


def _last_line(path: str, begun: int) -> str:
    with open(path, 'rb') as file:
        file.seek(max(begun, os.path.getsize(path) - 4096))
        lines = file.read().decode('utf-8', 'replace').replace('\r', '\n').strip().splitlines()
    return lines[-1].strip()[:300] if lines else ''


def _spoken(status: int) -> str:
    if status >= 0:
        return f'it ended with status {status}'
    try:
        return f'it was killed by {signal.Signals(-status).name}'
    except ValueError:
        return f'it was killed by signal {-status}'


# What cells show together.


def table_of(cells: Sequence[Cell], outcomes: Mapping[str, Outcome]
             ) -> tuple[list[str], list[list[str]]]:
    """(heads, rows): the grid's fields, how each cell ended, and the figures of its headline."""
    fields = [field for field, _ in cells[0].values]
    headlines = {cell.name: _headline(cell) for cell in cells
                 if outcomes[cell.name].state == 'done'}
    names = list(dict.fromkeys(name for own in headlines.values() for name in own))
    rows = []
    for cell in cells:
        outcome, own = outcomes[cell.name], headlines.get(cell.name, {})
        rows.append([*(value for _, value in cell.values), outcome.state,
                     *(shown(own.get(name)) for name in names)])
    return [*fields, 'state', *names], rows


def _headline(cell: Cell) -> dict[str, Any]:
    found = json.loads((pathlib.Path(cell.folder) / 'results.json').read_text()).get('headline')
    return found if isinstance(found, dict) else {}


def shown(value: Any) -> str:
    """A figure of a headline: a number, [number, [low, high], ...], or whatever else it is."""
    if value is None:
        return ''
    if isinstance(value, bool) or not isinstance(value, (int, float, list, dict)):
        return str(value)
    if isinstance(value, (int, float)):
        return f'{value:.4g}'
    if isinstance(value, dict):
        return ' '.join(f'{name} {shown(own)}' for name, own in value.items())
    if len(value) > 1 and isinstance(value[1], list):
        return f'{shown(value[0])} [{", ".join(map(shown, value[1]))}]'
    return ', '.join(map(shown, value))


def as_text(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as aligned text."""
    widths = [max(len(str(x)) for x in column) for column in zip(heads, *rows)]
    return '\n'.join('  '.join(str(x).ljust(w) for x, w in zip(line, widths)).rstrip()
                     for line in (heads, *rows))
