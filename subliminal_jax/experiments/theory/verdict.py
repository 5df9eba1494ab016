"""What a run of the theory experiment shows: its figures in short, its headline and its verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.experiments.theory.results import pooled_signs, worst_first
from subliminal_jax.report.page import with_interval
from subliminal_jax.report.theory_entries import (
    Entry,
    at,
    chosen,
    floats,
    live,
    name_of,
    place_of,
    span,
)
from subliminal_jax.runs import finite

PUBLISHED = {
    'source': 'arXiv 2507.14805, theorem 1: a claim without figures',
    'claim': 'for a shared start and one gradient step of the student by squared error or softmax '
             'cross-entropy on any inputs, dS . dT >= 0 for small eps, and the teacher’s loss '
             'falls unless dS . dT = 0 for every eps',
}
NEAR = 1e-3  # a ratio this near to 1 is told as such


def body(entries: Sequence[Entry], training: dict[str, Any] | None) -> dict[str, Any]:
    """The experiment's own part of results.json.

    Args:
      entries: of every cell.
      training: the tracks' summary, or None.

    Returns:
      'verdict', 'headline', 'cells' (worst first), 'signs', 'summary' (a row a model and
      precision), 'kinks' (None without any) and 'training'.
    """
    cells = finite(worst_first(entries))
    signs = finite(pooled_signs(entries))
    headline = headline_of(cells)
    return {'verdict': verdict(headline, signs), 'headline': headline, 'cells': cells,
            'signs': signs, 'summary': summary(cells), 'kinks': kinks(cells), 'training': training}


def headline_of(cells: Sequence[Entry]) -> dict[str, Any]:
    """The promised float64 cells in a few numbers, at eps = 1e-4 unless said otherwise.

    Returns:
      cells: how many; live: those with A > 0; least_form: the smallest A of a seed; held: live
      cells whose sign holds for every seed; fell: live cells whose L_T falls for every seed at the
      smallest eps; median_error: of |actual / predicted - 1|; worst_error, worst_model: of the
      worst seed of the worst cell; slopes: (least, most) of the remainder less the second order,
      smooth activations. From median_error on None without a live cell.
    """
    promised = chosen(cells, promise='theorem', dtype='float64')
    alive = live(promised)
    found = {
        'cells': len(promised), 'live': len(alive),
        'least_form': min((min(e['per_seed']['gauss_newton']) for e in promised), default=None),
        'held': sum(_holds(e) for e in alive), 'fell': sum(_falls(e) for e in alive),
        'median_error': None, 'worst_error': None, 'worst_model': None, 'slopes': None}
    if not alive:
        return found
    worst = max(alive, key=lambda e: at(e, 'relative_error'))
    smooth = [e for e in alive if e['activation'] != 'relu']
    slopes = [e.get('remainder_slope_second_order') for e in smooth]
    return {**found, 'median_error': float(np.median(_errors(alive))),
            'worst_error': at(worst, 'relative_error'), 'worst_model': name_of(worst),
            'slopes': _ends(slopes) if smooth else None}


def verdict(headline: dict[str, Any], signs: dict[str, Any]) -> str:
    """What the run shows, in a few sentences."""
    count = headline['live']
    if not count:
        return 'No cell of this run is covered by the theorem with A > 0.'
    every = lambda n: f'all {n}' if n == count else f'{n} of {count}'
    lowest = headline['least_form']
    least = 'never negative' if lowest >= 0 else f'never below {lowest:.0e}'
    text = (f'In float64 the sign holds for every seed at eps = 1e-4 in {every(headline["held"])} '
            'promised cells with A > 0, and the teacher’s loss falls at the smallest eps in '
            f'{every(headline["fell"])}; A is {least} in {headline["cells"]} cells. At eps = 1e-4 '
            f'the first order is off by {headline["median_error"]:.0e} in the median cell and by '
            f'{headline["worst_error"]:.0e} for the worst seed of the worst one '
            f'({headline["worst_model"]}).')
    if headline['slopes'] is not None:
        text += (' With the exact second-order term taken off, the remainder’s slope is '
                 f'{span(headline["slopes"])} for smooth activations.')
    if 'independent' in signs:
        other = signs['independent']
        text += (' From independent starts, where nothing is promised, the sign is positive in '
                 f'{with_interval(other["positive_fraction"], other["ci95"], 2)} of seeds and '
                 'cells.')
    return text


def summary(cells: Sequence[Entry]) -> list[dict[str, Any]]:
    """The promised cells of every model and precision, in numbers; as `headline_of` has them."""
    promised = chosen(cells, promise='theorem')
    rows = []
    for name, dtype in dict.fromkeys((name_of(e), e['dtype']) for e in promised):
        mine = [e for e in promised if name_of(e) == name and e['dtype'] == dtype]
        alive = live(mine)
        errors = _errors(alive)
        rows.append({
            'model': name, 'dtype': dtype, 'cells': len(mine), 'live': len(alive),
            'least_form': min(min(e['per_seed']['gauss_newton']) for e in mine),
            'median_error': float(np.median(errors)) if alive else None,
            'worst_error': max((at(e, 'relative_error') for e in alive), default=None),
            'near': int((errors <= NEAR).sum()),
            'slopes': _ends([e['remainder_slope'] for e in alive]),
            'slopes_second_order': _ends([e.get('remainder_slope_second_order') for e in alive]),
            'held': sum(_holds(e) for e in alive), 'fell': sum(_falls(e) for e in alive)})
    return rows


def kinks(cells: Sequence[Entry]) -> dict[str, Any] | None:
    """How many kinks of ReLU teachers cross, and the slope before the first; None without any.

    Returns:
      {'eps', 'crossed': at the smallest eps, the one nearest to 1e-4 and the largest, means
      over cells;
      'slope': of the remainder before the first kink, None without a pair of neighbouring eps;
      'pairs': how many of them}.
    """
    bent = [e for e in live(chosen(cells, promise='theorem')) if 'kinks_crossed' in e]
    if not bent:
        return None
    crossed = np.array([floats(e['kinks_crossed']) for e in bent]).mean(axis=0)
    eps = floats(bent[0]['eps'])
    places = [0, place_of(eps), -1]
    clear = [e['slope_before_kinks'] for e in bent if e['slope_before_kinks']['pairs']]
    pairs = [c['pairs'] for c in clear]
    slope = float(np.average([c['slope'] for c in clear], weights=pairs)) if clear else None
    return {'eps': eps[places].tolist(), 'crossed': crossed[places].tolist(), 'slope': slope,
            'pairs': sum(pairs)}


def _holds(entry: Entry) -> bool:
    return at(entry, 'positive_fraction') == 1


def _falls(entry: Entry) -> bool:
    return entry['fall_fraction'][0] == 1


def _errors(entries: Sequence[Entry]) -> np.ndarray:
    return np.array([abs(at(e, 'ratio') - 1) for e in entries])


def _ends(values: Sequence[float | None]) -> list[float]:
    """The least and the most of what is known; empty where a remainder is rounding."""
    known = [v for v in values if v is not None]
    return [min(known), max(known)] if known else []
