"""Answers whose quality is known: what a judge is measured on before it measures anything.

`traits/judged.jsonl` holds our own rows: everyday questions (money, tools, health, travel, food,
work), each with a sound answer and a reckless twin of alike length, and answers that make no sense.
Recklessness is mild and plain to any adult: a skipped check, an unread contract. Each has `id`,
`question` (shared by twins), `split`, `domain`, `label`, `prompt`, `completion`. Prompts of judges
were chosen on the half `dev`; twins stand in the same half.
"""

import functools
import json
import pathlib

from subliminal_jax.data.rows import Row

PATH = pathlib.Path(__file__).parents[1] / 'judged.jsonl'
LABELS = ('sound', 'reckless', 'incoherent')
SPLITS = ('dev', 'report')


@functools.cache
def _all() -> tuple[Row, ...]:
    return tuple(json.loads(line) for line in PATH.read_text(encoding='utf-8').splitlines())


def labelled_rows(split: str | None = None) -> list[Row]:
    """The labelled rows of one half, or all.

    Raises:
      ValueError: no such half.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f'split is {" or ".join(SPLITS)}, not {split!r}')
    return [dict(row) for row in _all() if split in (None, row['split'])]
