"""What was predicted beside what was measured, cell by cell; pure functions of both.

A prediction is a region of the true effect; the interval says which side it is on. `contradicted`
needs the whole interval outside of the region, `agrees` the whole interval inside; everything else
is `open`. A hypothesis is contradicted where that still holds with intervals so wide that all of
its cells are covered at once (Bonferroni): with many cells one in twenty would miss by itself.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.evaluation.intervals import t_interval
from subliminal_jax.experiments.cross_model.digits.hypotheses import (
    BETWEEN,
    CHANCE,
    HYPOTHESES,
    RISES,
    SMALLEST,
    Hypothesis,
    predicted,
)
from subliminal_jax.report.page import with_interval

LEVEL = 0.95
AGREES, CONTRADICTED, OPEN, UNREAD = 'agrees', 'contradicted', 'open', 'unread'


class Reading(NamedTuple):
    """The effect of one cell by one read-out.

    Attributes:
      cell: its name.
      kind: of its start.
      readout: own, teacher or probe.
      effects: one or several rises [M]; the cell has risen as far as the least of them.
      below: how far it is below the teacher's own start [M].
      is_read: its diagonal transmits: students of the teacher's own start learn.
    """

    cell: str
    kind: str
    readout: str
    effects: tuple[np.ndarray, ...]
    below: np.ndarray
    is_read: bool


def least(effects: Sequence[np.ndarray], level: float = LEVEL) -> tuple[float, list[float] | None]:
    """The mean and interval of the least of several effects: the least of their means and ends.

    Its lower end misses the least true effect as rarely as one interval does, its upper end at most
    as often as all of them together.
    """
    found = [t_interval(values, level) for values in effects]
    mean = min(m for m, _ in found)
    if any(interval is None for _, interval in found):
        return mean, None
    return mean, [min(i[0] for _, i in found), min(i[1] for _, i in found)]


def status(said: str, reading: Reading, level: float = LEVEL) -> str:
    """AGREES, CONTRADICTED or OPEN: a prediction beside a reading's interval of a level."""
    smallest = SMALLEST[reading.readout]
    interval = least(reading.effects, level)[1]
    if interval is None:
        return OPEN
    low, high = interval
    if said == RISES:
        return AGREES if low >= smallest else CONTRADICTED if high < smallest else OPEN
    if said == CHANCE:
        return AGREES if high < smallest else CONTRADICTED if low >= smallest else OPEN
    assert said == BETWEEN
    under_low, under_high = t_interval(reading.below, level)[1]
    if high < smallest or under_high < smallest:
        return CONTRADICTED
    return AGREES if low >= smallest and under_low >= smallest else OPEN


def compared(readings: Sequence[Reading]) -> dict[str, Any]:
    """Every hypothesis beside every reading.

    Two cells that differ in class rows alone may be one measurement (`starts.trained_as`): it is
    counted once, where it stands first.

    Returns:
      'rows', one a reading: cell, readout, mean, ci95, is_read, `same_as` (the earlier reading that
      is the same measurement, or None), and by hypothesis what it predicts with its status (and
      whether a contradiction holds over all cells at once); 'hypotheses', by name: claim, source,
      why, counts by status, `contradicted_by` (the cells whose contradictions hold at once),
      `parting` (those of them where the hypotheses do not all say the same), `is_contradicted`.
    """
    same_as = _repeated(readings)
    rows = [{'cell': r.cell, 'readout': r.readout, 'is_read': r.is_read, 'same_as': same,
             **dict(zip(('mean', 'ci95'), least(r.effects))), 'predictions': {}}
            for r, same in zip(readings, same_as)]
    once = [same is None for same in same_as]
    summary = {}
    for hypothesis in HYPOTHESES:
        marks = _marks(hypothesis, readings, once)
        for row, mark in zip(rows, marks):
            if mark:
                row['predictions'][hypothesis.name] = mark
        counted = [(r, m) for r, m, first in zip(readings, marks, once) if m and first]
        counts = {name: sum(m['status'] == name for _, m in counted)
                  for name in (AGREES, CONTRADICTED, OPEN, UNREAD)}
        by = [[r.cell, r.readout] for r, m in counted if m['at_once']]
        parting = [[r.cell, r.readout] for r, m in counted if m['at_once'] and _part(r)]
        summary[hypothesis.name] = {
            'claim': hypothesis.claim, 'source': hypothesis.source, 'why': hypothesis.why,
            **counts, 'contradicted_by': by, 'parting': parting, 'is_contradicted': bool(by)}
    return {'rows': rows, 'hypotheses': summary}


def _part(reading: Reading) -> bool:
    """Whether the hypotheses say different things of a reading: only these can tell them apart."""
    return len({predicted(h, reading.kind, reading.readout) for h in HYPOTHESES}) > 1


def _repeated(readings: Sequence[Reading]) -> list[list[str] | None]:
    first: dict[tuple[bytes, ...], Reading] = {}
    found = []
    for reading in readings:
        same = first.setdefault(tuple(e.tobytes() for e in reading.effects), reading)
        found.append(None if same is reading else [same.cell, same.readout])
    return found


def _marks(
    hypothesis: Hypothesis, readings: Sequence[Reading], once: Sequence[bool]
) -> list[dict[str, Any] | None]:
    said = [predicted(hypothesis, r.kind, r.readout) for r in readings]
    count = sum(r.is_read and first and s is not None
                for s, r, first in zip(said, readings, once))
    joint = 1 - (1 - LEVEL) / max(count, 1)
    marks = []
    for s, reading in zip(said, readings):
        if s is None:
            marks.append(None)
        elif not reading.is_read:
            marks.append({'predicted': s, 'status': UNREAD, 'at_once': False})
        else:
            marks.append({'predicted': s, 'status': status(s, reading),
                          'at_once': status(s, reading, joint) == CONTRADICTED})
    return marks


def sentence(found: dict[str, Any]) -> str:
    """Which hypotheses are contradicted, with the clearest cell of each, and which are not."""
    parts = []
    for name, entry in found['hypotheses'].items():
        said = sum(entry[s] for s in (AGREES, CONTRADICTED, OPEN))
        if entry['is_contradicted']:
            cell, readout, row = _clearest(name, entry, found['rows'])
            parts.append(
                f'Contradicted: {name}, in {len(entry["contradicted_by"])} of {said} readings at '
                f'once, {len(entry["parting"])} of them where the hypotheses part; such as {cell} '
                f'by {WORDS[readout]}, '
                f'{with_interval(row["mean"], row["ci95"])} above its start where it predicts '
                f'"{row["predictions"][name]["predicted"]}".')
        else:
            alone = (f', though {entry[CONTRADICTED]} by their own 95 % interval alone'
                     if entry[CONTRADICTED] else '')
            parts.append(f'Not contradicted: {name} (agrees in {entry[AGREES]} of {said} readings, '
                         f'{entry[OPEN]} open{alone}).')
    return ' '.join(parts)


WORDS = {'own': 'its own class head', 'teacher': "its teacher's initial class head",
         'probe': 'a probe'}


def _clearest(name, entry, rows):
    """The contradiction whose interval's end is farthest from the smallest rise; where there are
    any, of those in which the hypotheses part."""
    by = {tuple(pair) for pair in entry['parting'] or entry['contradicted_by']}

    def distance(row):
        low, high = row['ci95']
        smallest = SMALLEST[row['readout']]
        return max(low - smallest, smallest - high) / smallest

    row = max((r for r in rows if (r['cell'], r['readout']) in by), key=distance)
    return row['cell'], row['readout'], row
