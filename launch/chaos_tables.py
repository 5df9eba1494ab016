"""The table of runs that were killed again and again, from the rows that launch.chaos has kept."""

import json
import pathlib
from typing import Any

from launch.entries import Results
from subliminal_jax.runs import UserError


def chaos_table(results: Results, run: str) -> tuple[list[str], list[list[Any]]]:
    """A line a program: signals that struck, runs until they had, and what differed.

    Raises:
      UserError: no such table is kept.
    """
    path = results.folder / run / 'table.jsonl'
    if not path.exists():
        raise UserError(f'results/{run}/table.jsonl is not kept')
    rows = []
    for row in map(json.loads, path.read_text().splitlines()):
        config = pathlib.Path(row['arguments'][0].partition('=')[2]).name
        rows.append([f'`{config}`', row['kills'], row['SIGKILL'], row['SIGTERM'], row['runs'],
                     f'{row["seconds_clean"]:.0f}', ', '.join(row['differing']) or 'nothing'])
    return ['config', 'signals', 'SIGKILL', 'SIGTERM', 'runs', 'seconds of a run left alone',
            'what differed at the end'], rows


TABLES = {'chaos': chaos_table}
