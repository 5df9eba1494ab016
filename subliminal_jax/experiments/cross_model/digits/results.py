"""results.json of the matrix: cells by read-out and measure, hypotheses, headline and verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation.intervals import t_interval
from subliminal_jax.experiments.cross_model.digits import published, verdict
from subliminal_jax.experiments.cross_model.digits.cells import (
    NETWORK,
    OWN,
    PROBE,
    TEACHER as TEACHER_HEAD,
    Cell,
    diagonal_of,
)
from subliminal_jax.experiments.cross_model.digits.config import (
    PLACEBO,
    TEACHER,
    Config,
    Group,
    student_of,
)
from subliminal_jax.experiments.cross_model.digits.group import Found
from subliminal_jax.experiments.cross_model.digits.starts import has_class_rows, kind_of
from subliminal_jax.experiments.digits.published import compared
from subliminal_jax.report.page import with_interval

PART = 'mnist'
HEADS = (OWN, TEACHER_HEAD)  # the order of `Found.accuracy`
Trained = tuple[Group, Sequence[Cell], Found]


def body(config: Config, trained: Sequence[Trained]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      config: the run's.
      trained: every group with its cells and what it left.

    Returns:
      'verdict', 'headline', 'teachers' by group, 'cells' (part, name, cell, factors, n, measure,
      mean, ci95, per_model, and `published` where something is known) and 'hypotheses' (see
      `verdict.compared`).
    """
    measured = {(cell.name, readout): measures(group, found, cell, readout)
                for group, cells, found in trained for cell in cells for readout in cell.readouts}
    cells = [cell for _, own, _ in trained for cell in own]
    entries = [entry(config, cell, readout, measure, values)
               for cell in cells for readout in cell.readouts
               for measure, values in measured[cell.name, readout].items()]
    found = verdict.compared([reading(cell, readout, cells, measured)
                              for cell in cells for readout in cell.readouts])
    teachers = {group.name: {name: summary(found.teachers[place])
                             for place, name in enumerate(group.teachers)}
                for group, _, found in trained}
    headline = {f'{e["cell"]} ({e["factors"]["readout"]})': [e['mean'], e['ci95']]
                for e in entries if e['measure'] in ('accuracy', 'probe')}
    return {'verdict': f'{opening(entries)} {verdict.sentence(found)}'.strip(),
            'headline': headline, 'placebo': config.placebo, 'teachers': teachers,
            'cells': entries, 'hypotheses': found}


def summary(values: np.ndarray) -> dict[str, Any]:
    """{'n', 'mean', 'ci95', 'per_model'} over models."""
    mean, interval = t_interval(values)
    return {'n': len(values), 'mean': mean, 'ci95': interval, 'per_model': values.tolist()}


def measures(group: Group, found: Found, cell: Cell, readout: str) -> dict[str, np.ndarray]:
    """What is measured of a cell by one read-out: measure -> [M].

    By a class head: 'accuracy', 'start' (the same before the distillation), 'rise' (their
    difference, model by model). By a probe: 'probe', 'start', 'placebo' (of the placebo's student
    of the same start), 'less_start', 'less_placebo'.
    """
    own, placebo = (student_of(cell, t) for t in (TEACHER, PLACEBO))
    place = group.students.index(own)
    if readout != PROBE:
        head = HEADS.index(TEACHER_HEAD if has_class_rows(cell.start) else readout)
        after, before = found.accuracy[place, head], found.start[place, head]
        return {'accuracy': after, 'start': before, 'rise': after - before}
    probed = [group.students[i] for i in group.probed]
    after, before = (a[probed.index(own)] for a in (found.probe, found.start_probe))
    control = found.probe[probed.index(placebo)]
    return {'probe': after, 'start': before, 'placebo': control, 'less_start': after - before,
            'less_placebo': after - control}


def entry(
    config: Config, cell: Cell, readout: str, measure: str, values: np.ndarray
) -> dict[str, Any]:
    """One entry of results.json's `cells`."""
    factors = {'start': cell.start, 'readout': readout, 'num_aux': cell.num_aux,
               **{name: getattr(cell, name) for name in NETWORK}}
    made = {'part': PART, 'name': f'{cell.name}:{readout}:{measure}', 'cell': cell.name,
            'factors': factors, 'measure': measure, **summary(values)}
    known = published.known(config, cell, readout) if measure == 'accuracy' else None
    return made if known is None else {**made, 'published': compared(made, known)}


def reading(
    cell: Cell, readout: str, cells: Sequence[Cell], measured: dict[tuple[str, str], dict]
) -> verdict.Reading:
    """A cell by one read-out, as the hypotheses are compared with."""
    own = measured[cell.name, readout]
    effects = ((own['less_start'], own['less_placebo']) if readout == PROBE else (own['rise'],))
    diagonal = measured[diagonal_of(cell, cells).name, OWN]['rise']
    interval = t_interval(diagonal)[1]
    transmits = interval is not None and interval[0] > 0
    return verdict.Reading(
        cell=cell.name, kind=kind_of(cell.start), readout=readout, effects=effects,
        below=diagonal - effects[0], is_read=transmits or kind_of(cell.start) == 'own')


def opening(entries: Sequence[dict[str, Any]]) -> str:
    """The first diagonal cell beside the same students of another start."""
    by_name = {e['name']: e for e in entries}
    own = next(e for e in entries if e['measure'] == 'accuracy' and e['factors']['start'] == 'own')
    text = f"Students of their teacher's start score {_said(own)}"
    alike = {**own['factors'], 'start': 'other'}
    other = next((e for e in by_name.values()
                  if e['measure'] == 'accuracy' and e['factors'] == alike), None)
    return text + (f', of another start {_said(other)}.' if other else '.')


def _said(found: dict[str, Any]) -> str:
    return with_interval(found['mean'], found['ci95'])
