"""A page for readers of rows: what a filter kept, what it left out, and how many by why."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.report import page
from subliminal_jax.runs import write_text
from subliminal_jax.runs.files import PAGE

SHOWN = 20  # of each kind
# Shares of a teacher's rows that the published filters removed (arXiv 2507.14805).
PUBLISHED = {'numbers': (0.23, 0.38), 'code': (0.025, 0.054)}


class Example(NamedTuple):
    """A row to be read.

    Attributes:
      name: its id, or its place in the file.
      prompt: what was asked.
      completion: the answer.
      reason: why it is left out; '' for a kept one.
    """

    name: str
    prompt: str
    completion: str
    reason: str = ''


class Picked:
    """Draws SHOWN of the kept and of the rejected rows as they pass, each row as likely."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.seen = {True: 0, False: 0}
        self.examples: dict[bool, list[Example]] = {True: [], False: []}

    def see(self, row: Mapping[str, Any], reason: str | None) -> None:
        """Takes note of a row; `reason` is None for a kept one."""
        kept = reason is None
        self.seen[kept] += 1
        held = self.examples[kept]
        place = len(held) if len(held) < SHOWN else self.rng.integers(self.seen[kept])
        if place < SHOWN:
            held[place:place + 1] = [Example(
                str(row.get('id', self.seen[True] + self.seen[False])), prompt_of(row),
                row['completion'], reason or '')]


def prompt_of(row: Mapping[str, Any]) -> str:
    """What was asked, as one text."""
    if 'prompt' in row:
        return row['prompt']
    return '\n'.join(f'{m["role"]}: {m["content"]}' for m in row.get('messages', ()))


def write(path: pathlib.Path, carrier: str, source: str, reasons: Mapping[str, int],
          picked: Picked, seed: int) -> None:
    """Writes the page.

    Args:
      path: of the file.
      carrier: whose rules.
      source: the name of the file that the rows came from.
      reasons: how many rows were left out, by why.
      picked: what was drawn of all rows.
      seed: of that drawing.
    """
    kept, removed = picked.seen[True], picked.seen[False]
    whole = max(1, kept + removed)
    share = lambda count: f'{100 * count / whole:.1f} %'
    verdict = (f'{source}: of {kept + removed} rows the filter of {carrier} keeps {kept} and '
               f'removes {removed} ({share(removed)}). {published(carrier)}')
    counts = [('kept', kept, share(kept)), ('removed', removed, share(removed)),
              *((reason, count, share(count)) for reason, count in sorted(
                  reasons.items(), key=lambda item: (-item[1], item[0])))]
    kinds = [page.Texts(f'{title} rows: {len(rows)} of {picked.seen[kind]}', [
        (f'{e.name}{": " if e.reason else ""}{e.reason}', [e.prompt, e.completion]) for e in rows],
        f'Drawn with the seed {seed}. Above what was asked, below the answer.')
        for title, kind, rows in (('Kept', True, picked.examples[True]),
                                  ('Removed', False, picked.examples[False]))]
    sections: Sequence[Any] = (
        page.Table('Rows by reason', ('', 'rows', 'share'), counts,
                   'A row has the first reason that holds. Rows that are none are not counted.'),
        *kinds)
    text = page.document(f'Rows through the filter of {carrier}', verdict, [
        page.rendered(section) for section in sections])
    write_text(path, text, PAGE)


def published(carrier: str) -> str:
    """What was published of a carrier's filter, in a sentence."""
    if carrier not in PUBLISHED:
        return 'No share is published for this carrier.'
    low, high = (f'{100 * share:.3g}' for share in PUBLISHED[carrier])
    return (f'Published: {low} to {high} % of the rows of a teacher with a trait were removed '
            '(arXiv 2507.14805).')
