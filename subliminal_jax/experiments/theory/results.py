"""From the arrays of a cell's seeds to its entry in results.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from subliminal_jax.evaluation.intervals import t_interval
from subliminal_jax.experiments.theory.cells import SPARSE
from subliminal_jax.experiments.theory.grid import Cell
from subliminal_jax.experiments.theory.tracks import STUDENTS
from subliminal_jax.report.theory_entries import AT, place_of
from subliminal_jax.theory import reach

ZERO_FORM = 1e-12  # below this A the ratio says nothing
STUDENT_KINDS = {
    'shared': {'init': 'shared', 'teacher': 'trait'},
    'independent': {'init': 'independent', 'teacher': 'trait'},
    'placebo': {'init': 'shared', 'teacher': 'placebo'},
}
MEANS = ('cosine_teacher', 'cosine_placebo', 'cosine_random', 'cosine_descent')
LEAST_FALL = 1e-3  # of L_T over the probed steps, in nats: less is no fall to explain


def summarise(
    cell: Cell, arrays: Mapping[str, np.ndarray], eps_E: np.ndarray, alpha: float,
    certified_eps: float | None = None,
) -> dict[str, Any]:
    """A cell's entry.

    Args:
      cell: which.
      arrays: what `cells.compiled` returned, [M] and [M, E].
      eps_E: the values of eps; Adam's and sign descent's cells have every fourth one.
      alpha: the student's step size.
      certified_eps: the smallest over seeds, where one is known.

    Returns:
      The entry: means over seeds, `per_seed`, and what is said in the field names. `predicted` is
      eps A for gradient steps; for Adam and sign descent, of which nothing is promised, it is their
      step for the linearised gradient eps s, along dT. Slopes are of root mean squares over seeds.
    """
    name = cell.optimizer
    if name != 'sgd':
        eps_E = eps_E[::SPARSE]
    first, second = arrays['first'], arrays['second']
    inner, predicted = arrays[f'{name}/inner'], arrays[f'{name}/predicted']
    change = arrays[f'{name}/change']
    live = np.abs(first) >= ZERO_FORM
    positive = inner > 0
    entry = {
        **cell._asdict(), 'promise': cell.promise, 'alpha': alpha, 'eps': eps_E,
        'gauss_newton': first.mean(), 'inner_product': inner.mean(0),
        'predicted': predicted.mean(0), 'ratio': _ratio(inner, predicted, live),
        'relative_error': _relative(inner, predicted, live),
        'teacher_loss_change': change.mean(0), 'predicted_change': -alpha * predicted.mean(0),
        'remainder_slope': None, 'second_order': second.mean(),
        'estimated_eps': _largest_positive(positive, eps_E), 'certified_eps': certified_eps,
        'positive_fraction': positive.mean(0),
        'positive_interval': [wilson(int(k), len(k_s)) for k, k_s in zip(positive.sum(0),
                                                                         positive.T)],
        'fall_fraction': (change < 0).mean(0),
        'per_seed': {'gauss_newton': first, 'inner_product': _short(inner),
                     'teacher_loss_change': _short(change), 'second_order': _short(second)},
    }
    if name == 'sgd':
        entry.update(_gradient_entries(cell, arrays, eps_E, live, alpha))
    return entry


def _gradient_entries(cell, arrays, eps_E, live, alpha):
    """What is known of gradient steps alone."""
    inner, first, second = arrays['sgd/inner'], arrays['first'], arrays['second']
    floor = np.sqrt(np.mean(arrays['floor'] ** 2, axis=0))
    one = inner - first[:, None] * eps_E
    two = one - second[:, None] * eps_E**2
    entry = {
        'remainder': rms(one), 'remainder_second_order': rms(two), 'rounding_floor': floor,
        'second_order_change': arrays['change_second'].mean(),
        'error_coefficient': _error_coefficient(inner, first, second, eps_E, live),
    }
    if 'kinks' in arrays:
        entry['kinks_crossed'] = arrays['kinks'].mean(0)
        entry['slope_before_kinks'] = _slope_before(arrays['kinks'], one, arrays['floor'], eps_E)
    if live.any():
        entry['remainder_slope'] = reach.remainder_slope(eps_E, rms(one), floor)
        entry['remainder_slope_second_order'] = reach.remainder_slope(eps_E, rms(two), floor)
    if cell.init == 'shared':
        loss_floor = np.full(len(eps_E), rms(arrays['loss']) * np.finfo(cell.dtype).eps)
        bend = arrays['change_second'][:, None] * eps_E**2
        change_one = arrays['sgd/change'] + alpha * first[:, None] * eps_E
        alpha_second = np.where(arrays['alpha_second'] > 0, arrays['alpha_second'], 0)
        entry.update(
            estimated_eps=float(arrays['eps_search'].min()),
            estimated_eps_second_order=_finite(np.min(arrays['eps_second'])),
            estimated_alpha=float(arrays['alpha_search'].min()),
            estimated_alpha_second_order=_finite(np.min(alpha_second)),
            loss_floor=loss_floor[0], change_remainder=rms(change_one),
            change_remainder_second_order=rms(change_one - bend))
        if live.any():
            entry['change_slope'] = reach.remainder_slope(eps_E, rms(change_one), loss_floor)
            entry['change_slope_second_order'] = reach.remainder_slope(
                eps_E, rms(change_one - bend), loss_floor)
    else:
        entry.update(
            imitation=arrays['imitation'].mean(), trait_part=arrays['trait'].mean(0),
            trait_slope=arrays['trait_slope'].mean(),
            trait_positive_fraction=(arrays['trait'] > 0).mean(0),
            per_seed_trait_part=_short(arrays['trait']),
            per_seed_imitation=_short(arrays['imitation']))
    return entry


def _slope_before(kinks, remainder, floor, eps_E):
    """The mean local slope where a seed's teacher has crossed no kink yet, and over how many pairs
    of neighbouring eps it is taken; None without any."""
    usable = (kinks == 0) & (np.abs(remainder) > reach.FLOOR_MARGIN * floor)
    pairs = usable[:, 1:] & usable[:, :-1]
    if not pairs.any():
        return {'slope': None, 'pairs': 0}
    with np.errstate(divide='ignore', invalid='ignore'):
        slopes = np.diff(np.log(np.abs(remainder)), axis=1) / np.diff(np.log(eps_E))
    return {'slope': slopes[pairs].mean(), 'pairs': int(pairs.sum())}


def _error_coefficient(inner, first, second, eps_E, live):
    """(inner / (eps A) - 1) / eps at the orientation's eps, beside B / A, both per seed."""
    at = int(np.argmin(np.abs(np.log(eps_E / 1e-3))))
    with np.errstate(divide='ignore', invalid='ignore'):
        seen = (inner[:, at] / (eps_E[at] * first) - 1) / eps_E[at]
        told = second / first
    return {'eps': eps_E[at], 'measured': np.where(live, seen, np.nan),
            'second_order': np.where(live, told, np.nan),
            'largest': np.abs(told[live]).max() if live.any() else None}


def rms(x: np.ndarray) -> np.ndarray:
    """The root mean square over seeds, the first axis."""
    return np.sqrt(np.mean(x**2, axis=0))


def _ratio(inner, predicted, live):
    if not live.any():
        return [None] * inner.shape[1]
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.mean(inner[live] / predicted[live], axis=0)


def _relative(inner, predicted, live):
    """The largest |ratio - 1| over seeds."""
    if not live.any():
        return [None] * inner.shape[1]
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.max(np.abs(inner[live] / predicted[live] - 1), axis=0)


def _largest_positive(positive: np.ndarray, eps_E: np.ndarray) -> float | None:
    """The largest eps of the list up to which every seed's sign holds; None if none does."""
    held = np.cumprod(positive.all(axis=0))
    return float(eps_E[int(held.sum()) - 1]) if held.any() else None


def wilson(successes: int, count: int) -> list[float]:
    """Wilson's 95 % interval of a fraction."""
    found = stats.binomtest(successes, count).proportion_ci(method='wilson')
    return [float(found.low), float(found.high)]


def _finite(x: Any) -> float | None:
    return float(x) if np.isfinite(x) else None


def _short(x: np.ndarray) -> Any:
    """Seven digits a number: enough for a ratio, and a smaller file."""
    return np.vectorize(lambda v: float(f'{v:.7g}'), otypes=[float])(x) if np.size(x) else x


def worst_first(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Cells of the promise first, by the relative error at eps = 1e-4; then the rest, by how
    seldom the sign is positive there."""

    def badness(entry):
        at = place_of(entry['eps'])
        if entry['promise'] == 'theorem':
            error = entry['relative_error'][at]
            return (0, -(error if error is not None else -1.0))
        return (1, entry['positive_fraction'][at])

    return sorted(entries, key=badness)


def pooled_signs(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fractions of positive signs over all gradient cells of a kind of start.

    The seeds of different cells share their weights, so the interval is over seeds (a seed's
    fraction over its cells is one number), not over cells and seeds.
    """
    found = {}
    for start in dict.fromkeys(e['init'] for e in entries):
        chosen = [e for e in entries if e['init'] == start and e['optimizer'] == 'sgd'
                  and e['dtype'] == 'float64' and e['model'] in ('mlp', 'conv')
                  and e['logits'] != 'one_aux']
        if not chosen:
            continue
        at = place_of(chosen[0]['eps'])
        signs = np.array([np.asarray(e['per_seed']['inner_product'])[:, at] > 0 for e in chosen])
        logits = [e['logits'] for e in chosen]
        found[start] = {'cells': len(chosen), 'eps': AT, **_by_logits(signs, logits)}
        if start != 'shared':
            trait = np.array([np.asarray(e['per_seed_trait_part'])[:, at] > 0 for e in chosen])
            found[start]['trait_part'] = _by_logits(trait, logits)
    return found


def _by_logits(signs: np.ndarray, logits: Sequence[str]) -> dict[str, Any]:
    """Over all cells, and over those of each kind of logits; signs [cells, M]."""
    kinds = dict.fromkeys(logits)
    return {**_over_seeds(signs), 'by_logits': {
        kind: _over_seeds(signs[[name == kind for name in logits]]) for kind in kinds}}


def _over_seeds(signs: np.ndarray) -> dict[str, Any]:
    mean, interval = t_interval(signs.mean(axis=0))
    return {'positive_fraction': mean,
            'ci95': None if interval is None else np.clip(interval, 0, 1)}


def track_summary(
    models: Sequence[Mapping[str, np.ndarray]], optimizers: Sequence[str], every: int
) -> dict[str, Any]:
    """The training tracks: a list of students, each with its curves over the probes.

    Args:
      models: a model's arrays [probes, students] by 'OPTIMIZER/name'.
      optimizers: the students'.
      every: steps between probes.

    Returns:
      {'steps', 'num_models',
      'tracks': [{'optimizer', 'init', 'teacher', curves..., 'means', 'share'}]}: curves are means
      over models, `means` are those of some curves over the probes; `cosine_random` is the random
      directions' standard deviation; `share` is the share of the fall of L_T over the probed steps
      that the first order gives, None where a model's probed steps lower L_T by less than
      LEAST_FALL.
    """
    tracks = []
    for name in optimizers:
        for column, student in enumerate(STUDENTS):
            track = {'optimizer': name, 'student': student, **STUDENT_KINDS[student]}
            for key in models[0]:
                optimizer, _, field = key.partition('/')
                if optimizer != name or field == 'cosine_random':
                    continue
                track[field] = np.mean([m[key][:, column] for m in models], axis=0)
            random = np.concatenate(
                [m[f'{name}/cosine_random'][:, column] for m in models], axis=-1)
            track['cosine_random'] = random.std(axis=-1)
            first = sum(m[f'{name}/inner_descent'][:, column].sum() for m in models)
            actual = sum(m[f'{name}/trait_loss_change'][:, column].sum() for m in models)
            track['share'] = float(-first / actual) if actual < -len(models) * LEAST_FALL else None
            track['means'] = {field: float(np.mean(track[field], dtype=np.float64))
                              for field in MEANS}
            track['final_accuracy_per_model'] = [m[f'{name}/accuracy'][-1, column] for m in models]
            tracks.append(track)
    count = len(tracks[0]['accuracy'])
    return {'steps': [every * i for i in range(count)], 'num_models': len(models),
            'tracks': tracks}
