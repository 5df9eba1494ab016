"""How many rows a second each carrier's filter reads, on one core.

  python -m launch.bench.filters [--rows=2000] [--runs=5] [--only=code]

Every registered carrier's filter, with the trait words of the animals and two banned numbers, reads
its own random rows (all kept) and rows that it leaves out: the same with characters cut, doubled,
swapped or put in. Seconds are the process's own, so that other jobs disturb little. The last line
is JSON.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from launch.bench import common
from subliminal_jax.runs import run_program

ROWS = flags.DEFINE_integer('rows', 2000, 'of each kind, a carrier', lower_bound=1)
RUNS = flags.DEFINE_integer('runs', 5, 'how often each is timed', lower_bound=1)
ONLY = flags.DEFINE_list('only', [], 'carriers; empty: every one that is registered')
BANNED = frozenset([13, 66])
BARS = {'numbers': 5000}  # rows a second, by the module of the filter
OTHER_BAR = 1000
ODD = ('#', ' and', '(', '"', 'z', '\n\n', '..', ' owl', '99999', '\u00e9')


def measured(name: str, rows: int, runs: int) -> dict[str, Any]:
    """The rates of a carrier's filter.

    Args:
      name: of the carrier.
      rows: of each kind.
      runs: how often each is timed, after one that is not.

    Returns:
      {kept, rejected: rows a second of each run; bar}.
    """
    from subliminal_jax.carriers import carrier
    from subliminal_jax.traits import trait_set

    chosen = carrier(name)
    words = [w for c in trait_set.load_trait_set('animals').candidates for w in (c.name, c.plural)]
    reason = lambda text: chosen.reject_reason(text, banned=BANNED, trait_words=words)
    drawn = chosen.random_rows(1, chosen.prompts(0, range(rows)))
    kept = [row['completion'] for row in drawn]
    texts = {'kept': kept, 'rejected': rejected(kept, reason)}
    module = chosen.reject_reason.__module__.rpartition('.')[2]
    return {**{kind: [len(given) / seconds for seconds in _seconds(reason, given, runs)]
               for kind, given in texts.items()}, 'bar': BARS.get(module, OTHER_BAR)}


def rejected(kept: Sequence[str], reason: Any) -> list[str]:
    """As many texts that a filter leaves out: the kept ones, each edited until it does."""
    rng = np.random.default_rng(0)
    found = []
    for text in kept:
        while not reason(text):
            place = rng.integers(len(text) + 1)
            odd = ODD[rng.integers(len(ODD))]
            text = (text[:place] + odd + text[place:], text[:place] + text[place + 2:],
                    text[:place] + text[place:place + 3] * 2 + text[place + 3:])[rng.integers(3)]
        found.append(text)
    return found


def _seconds(reason, texts, runs):
    for run in range(runs + 1):
        begin = time.process_time()
        for text in texts:
            reason(text)
        if run:
            yield max(time.process_time() - begin, 1e-9)


def table(entries: dict[str, dict[str, Any]]) -> str:
    """Medians with their ranges, and whether the bar is met."""
    lines = [f'{"rows a second":16s} {"kept":>28s} {"rejected":>28s} {"bar":>6s}']
    for name, entry in entries.items():
        cells = [f'{statistics.median(r):,.0f} [{min(r):,.0f}, {max(r):,.0f}]'
                 for r in (entry['kept'], entry['rejected'])]
        met = all(statistics.median(entry[k]) >= entry['bar'] for k in ('kept', 'rejected'))
        lines.append(f'{name:16s} {cells[0]:>28s} {cells[1]:>28s} {entry["bar"]:6d} '
                     f'{"met" if met else "NOT met"}')
    return '\n'.join(lines)


def main(rest: list[str]) -> None:
    from subliminal_jax.carriers import CARRIERS

    del rest
    entries = {name: measured(name, ROWS.value, RUNS.value) for name in ONLY.value or CARRIERS}
    print(table(entries))
    common.print_json({name: {kind: statistics.median(entry[kind]) for kind in ('kept', 'rejected')}
                       for name, entry in entries.items()})


if __name__ == '__main__':
    run_program(main)
