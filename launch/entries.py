"""Kept results.json files: what a key names in one, or over several runs."""

import pathlib
from collections.abc import Sequence
from typing import Any

from subliminal_jax.evaluation import intervals
from subliminal_jax.runs import UserError, read_json

NO_BOUND = 'an orientation, no bound'  # of a contrast with what the output matrix predicts


class Results:
    """Kept results by name of the run, read when they are asked for."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.read = folder, {}

    def __call__(self, run: str) -> dict[str, Any]:
        """A run's results.

        Raises:
          UserError: no such run is kept, or its file is no JSON object.
        """
        if run not in self.read:
            path = self.folder / run / 'results.json'
            if not path.exists():
                raise UserError(f'results/{run}/results.json is not kept')
            self.read[run] = as_today(read_json(path))
        return self.read[run]


def entry(results: Results, run: str, key: str) -> Any:
    """What a key names: an arm, a contrast or a matrix's cell by its name, a condition, or a path
    joined by `/`.

    Raises:
      UserError: the run has no such entry.
    """
    first, *rest = key.split('/')
    found = results(run)
    named = [e for kind in ('arms', 'contrasts', 'cells') for e in found.get(kind, ())
             if e.get('name') == first]
    value = named[0] if named else found.get('conditions', {}).get(first, found.get(first))
    for part in rest:
        if isinstance(value, list) and part.lstrip('-').isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise UserError(f'results/{run}/results.json has no entry {key!r}')
    return value


def as_today(found: dict[str, Any]) -> dict[str, Any]:
    """Results that were kept before two rules were mended, as today's code writes them.

    Where there is one reference the interval over traits leads, if there is one, and that over
    teachers stands beside it; what exceeds the output matrix's prediction bounds nothing.
    """
    arms, contrasts = found.get('arms', ()), found.get('contrasts', ())
    effects = [arm['effect'] for arm in arms if arm['effect']]
    one = any(len(e.get('per_reference', ())) == 1 for e in effects)
    alone = [e['effect'] for e in found.get('geometry_predicted', {}).values()]
    for value in (*effects, *contrasts, *alone):
        if one and value.get('ci95_traits') and 'ci95_teachers' not in value:
            value |= {'ci95': value['ci95_traits'], 'ci95_teachers': value['ci95'],
                      'unit': 'trait', 'mde': None}
    for arm in arms:
        for value in arm.get('contexts', {}).values():
            value.setdefault('unit', 'teacher' if one else 'reference')
    for contrast in contrasts:
        if contrast['name'].endswith(' less the matrix') and not contrast.get('why'):
            contrast |= {'bounds': False, 'why': NO_BOUND}
    return found


def effect(results: Results, run: str, key: str) -> dict[str, Any]:
    """The estimate and interval that a key names; of runs joined by +, see `pooled`."""
    if '+' in run:
        return pooled(results, run.split('+'), key.split('+'))
    value = entry(results, run, key)
    for inner in ('effect', 'accuracy'):
        value = value.get(inner, value) if isinstance(value, dict) else value
    if not isinstance(value, dict) or 'ci95' not in value:
        raise UserError(f'results/{run}/results.json: {key!r} has no interval')
    return value


def pooled(results: Results, runs: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    """One estimate over the references of several runs: the mean of theirs, with a t-interval.

    Args:
      results: by run.
      runs: whose references differ.
      keys: what it is called in each of them; one for all if it is called the same.

    Returns:
      {'estimate', 'ci95', 'mde', 'unit': 'reference', 'per_reference'}; there is no p.

    Raises:
      UserError: two runs of one seed and split, which have the same references; keys that are not
        one a run; an entry that is gone or has no values by reference.
    """
    names = '+'.join(runs)
    if len(keys) not in (1, len(runs)):
        raise UserError(f'{names}: {"+".join(keys)} is not one key a run')
    drawn = [(results(run).get('world'), results(run)['seeds'].get('root'),
              results(run).get('split')) for run in runs]
    if len(set(drawn)) < len(runs):
        raise UserError(f'{names} are of one seed and split: their references are the same')
    values: dict[str, float] = {}
    for run, key in zip(runs, keys if len(keys) > 1 else [*keys] * len(runs)):
        own = effect(results, run, key).get('per_reference')
        if not own:
            raise UserError(f'results/{run}/results.json: {key!r} has no values by reference')
        values |= {f'{run}/{reference}': value for reference, value in own.items()}
    each = list(values.values())
    estimate, ci95 = intervals.t_interval(each)
    error = intervals.standard_error(each) if len(each) > 1 else None
    return {'estimate': estimate, 'ci95': ci95, 'mde': intervals.mde(error, len(each) - 1),
            'unit': 'reference', 'per_reference': values}


def over(results: Results, run: str) -> str:
    """The units of a run's leading intervals: references, traits or teachers; '' without arms."""
    found = next((a['effect'] for a in results(run).get('arms', ()) if a['effect']), None)
    return '' if found is None else found.get('unit', 'reference') + 's'
