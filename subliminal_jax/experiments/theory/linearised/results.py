"""results.json of the linearised student: means by width, gaps, trends, the verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation.intervals import slope, t_interval
from subliminal_jax.experiments.theory.linearised.students import STUDENTS
from subliminal_jax.report.page import with_interval

PUBLISHED = {
    'source': "a public rerun of the authors' program: width 256 .537 +- .022 (100 models), width "
              '128 .528 (real students, auxiliary logits, m = 3)',
    'student_aux_by_width': {'128': 0.528, '256': 0.537},
}
CHANCE = 0.1


def body(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      found: what `train_model` returned, for every model.

    Returns:
      'verdict', 'headline' (the gap's mean and interval by width), 'widths', 'gap' (of all models)
      and 'per_doubling' (of the width).
    """
    widths, all_gaps, per_doubling = by_width(found), gap(found), trends(found)
    return {'verdict': verdict(widths, all_gaps, per_doubling),
            'headline': {str(e['width']): [e['gap']['mean'], e['gap']['ci95']] for e in widths},
            'widths': widths, 'gap': all_gaps, 'per_doubling': per_doubling}


def verdict(
    widths: Sequence[dict[str, Any]], gap: dict[str, Any], per_doubling: dict[str, Any]
) -> str:
    """What the run shows, in a few sentences."""
    def above(entry, kind):
        return entry[kind]['accuracy']['mean'] - CHANCE

    parts = [f'{above(e, "linearised") / max(above(e, "real"), 1e-3):.0%} at width {e["width"]}'
             for e in widths]
    count = len(gap['per_model'])
    ahead = sum(g > 0 for g in gap['per_model'])
    return (f'Of the real student’s rise above chance the linearised one has {", ".join(parts)}. '
            f'Model by model the real student is ahead in {ahead} of {count}, by '
            f'{with_interval(gap["mean"], gap["ci95"])} in the mean (95 %, over models of all '
            f'widths).{trend(per_doubling)}')


def trend(found: dict[str, Any]) -> str:
    """What a doubling of the width changes, as a sentence; nothing of a single width."""
    if found['gap'] is None:
        return ''
    said = [f'{what} by {with_interval(found[name]["slope"], found[name]["ci95"])}'
            for name, what in (('gap', 'the gap'), ('real', "the real student's accuracy"),
                               ('linearised', "the linearised one's"))]
    return f' A doubling of the width changes {said[0]}, {said[1]} and {said[2]}.'


def gap(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Real minus linearised accuracy, model by model: both students share everything else."""
    values = [f['real']['accuracy'] - f['linearised']['accuracy'] for f in found]
    mean, interval = t_interval(values)
    return {'mean': mean, 'ci95': interval, 'per_model': values}


def trends(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What a doubling of the width changes: the gap, and both students' accuracy."""
    doublings = np.log2([f['width'] for f in found]).tolist()
    values = {'gap': gap(found)['per_model'],
              **{kind: [f[kind]['accuracy'] for f in found] for kind in STUDENTS}}
    made = {name: slope(doublings, own) for name, own in values.items()}
    return {name: line and {'slope': line[0], 'ci95': line[1]} for name, line in made.items()}


def by_width(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results' entries: a width's means and intervals over its models."""
    entries = []
    for width in dict.fromkeys(f['width'] for f in found):
        own = [f for f in found if f['width'] == width]
        entry: dict[str, Any] = {'width': width, 'num_models': len(own)}
        for kind in ('teacher', *STUDENTS):
            values = [f[kind]['accuracy'] for f in own]
            mean, interval = t_interval(values)
            entry[kind] = {'accuracy': {'mean': mean, 'ci95': interval, 'per_model': values},
                           'curve': np.mean([f[kind]['curve'] for f in own], axis=0)}
        for kind in STUDENTS:
            for field in ('relative_move', 'cosine_teacher'):
                entry[kind][field] = float(np.mean([f[kind][field] for f in own]))
            entry[kind]['losses'] = np.mean([f[kind]['losses'] for f in own], axis=0)
        entry['gap'] = gap(own)
        for field in ('same_guess', 'cosine_students'):
            entry[field] = float(np.mean([f[field] for f in own]))
        entries.append(entry)
    return entries
