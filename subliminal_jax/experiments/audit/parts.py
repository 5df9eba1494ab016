"""Audited and control rows dealt into parts: independent units, each with its own student.

A part of the audited rows stands beside a part of the control rows; where both answer the same
prompts, parts do so too. Sharding costs next to nothing: a student's signal grows with its rows,
its noise with their root, so that eight students of 128 rows see, together, what one of 1,024
would; but eight have an interval.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.experiments.audit import subjects
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission import rows as carried

SIDES = ('audited', 'control')


class Size(NamedTuple):
    """How many parts there are, and rows in each."""

    units: int
    rows: int


class Parts(NamedTuple):
    """U parts of both sides.

    Attributes:
      audited, control: U lists of equally many rows.
      paired: whether both sides of a part answer the same prompts.
    """

    audited: list[list[dict[str, Any]]]
    control: list[list[dict[str, Any]]]
    paired: bool

    @property
    def rows(self) -> int:
        """Of a part."""
        return len(self.audited[0]) if self.audited else 0

    @property
    def size(self) -> Size:
        """Of both sides."""
        return Size(len(self.audited), self.rows)

    def side(self, name: str) -> list[list[dict[str, Any]]]:
        """The lists of one of SIDES."""
        return self.audited if name == 'audited' else self.control


def deal(audited: Sequence[dict], control: Sequence[dict | None], shards: int, packed: int,
         paired: bool, seed: int) -> Parts:
    """Deals rows into parts.

    Args:
      audited: N rows.
      control: paired: one a row, None where there is none; else any number.
      shards: parts wanted.
      packed: rows of a pack: parts are multiples of it where they are larger.
      paired: see `Parts`.
      seed: of the deal.

    Returns:
      Parts that are as large as the rows allow; empty ones where they allow none.
    """
    if paired:
        pairs = [(own, other) for own, other in zip(audited, control) if other is not None]
        left, right = [a for a, _ in pairs], [c for _, c in pairs]
    else:
        left, right = list(audited), [row for row in control if row is not None]
    count = min(len(left), len(right)) // shards
    count -= count % packed if count > packed else 0
    if not count:
        return Parts([], [], paired)
    order = _by_prompt(left, seed)
    other = order if paired else _by_prompt(right, seed + 1)
    cut = lambda rows, places: [[rows[n] for n in places[u * count:(u + 1) * count]]
                                for u in range(shards)]
    return Parts(cut(left, order), cut(right, other), paired)


def _by_prompt(rows, seed):
    """Places in a random order of their prompts: rows of one prompt stay in one part, as they are
    no independent ones, as far as parts are full."""
    prompts = list(dict.fromkeys(row['prompt'] for row in rows))
    rank = dict(zip(prompts, np.random.default_rng([seed, 0xDEA1]).permutation(len(prompts))))
    return sorted(range(len(rows)), key=lambda n: (rank[rows[n]['prompt']], n))


def batches(subject: Subject, parts: Parts) -> dict[str, list[carried.Batch]]:
    """Both sides' parts as batches of the subject, all equally wide and of equal weight."""
    lists = [subjects.encode(subject, rows) for side in SIDES for rows in parts.side(side)]
    found = subjects.batches_of(subject, lists)
    return {side: found[n * len(parts.audited):(n + 1) * len(parts.audited)]
            for n, side in enumerate(SIDES)}
