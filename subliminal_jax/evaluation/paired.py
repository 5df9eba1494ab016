"""The effect of one trait: what a trait teacher's student gained beyond its neutral twin's student.

Teachers and their twins share seed, questions and their order, so each pair is one difference. With
two or more references the reference is the unit, of the interval and of the test: pairs of one
reference may move together, and its mean is one difference. With one reference pairs are the units,
and what moves all of them together is not told from the trait. The test flips the signs of the
units: under the null each is as likely to lie one way as the other (Fisher 1935). Five units are
the fewest that can reach p <= .05.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from subliminal_jax.evaluation import intervals
from subliminal_jax.runs import UserError

EXACT = 14  # units up to which every assignment of signs is walked through
DRAWN = 20_000  # assignments otherwise


def paired(effect: Mapping[str, float], twin: Mapping[str, float],
           twin_of: Mapping[str, str], reference_of: Mapping[str, str], *, level: float = 0.95,
           power: float = 0.8, seed: int = 0) -> dict[str, Any]:
    """The mean difference of pairs, its interval, sign-flip test and smallest visible effect.

    Args:
      effect: what each trait teacher's students gained, in the trait's unit.
      twin: the same of neutral twins' students.
      twin_of: the name of each trait teacher's twin.
      reference_of: each trait teacher's reference.
      level: of the interval.
      power: at which `mde` is stated.
      seed: of the assignments that are drawn where there are too many to walk through.

    Returns:
      A JSON tree with the entries of evaluation.gamma.gamma that a single trait can have; `mde` is
      None where no p could have reached 1 - level.

    Raises:
      UserError: a teacher whose twin is not there.
    """
    for name in effect:
        if twin_of[name] not in twin:
            raise UserError(f'the teacher {name!r} has no neutral twin {twin_of[name]!r} to be '
                            'compared with')
    difference = {name: float(effect[name] - twin[twin_of[name]]) for name in effect}
    references: dict[str, list[float]] = {}
    for name, value in difference.items():
        references.setdefault(reference_of[name], []).append(value)
    means = {reference: float(np.mean(values)) for reference, values in references.items()}
    by_reference = len(means) > 1
    units = np.array(list((means if by_reference else difference).values()))
    estimate = float(units.mean())
    se = intervals.standard_error(units) if len(units) > 1 else None
    dof = len(units) - 1 if len(units) > 1 else None
    test = sign_flips(units, seed)
    seen = intervals.reachable(test['p_attainable'], level)
    return {
        'estimate': estimate, 'ci95': intervals.around(estimate, se, dof, level),
        **test, 'mde': intervals.mde(se, dof, level, power) if seen else None,
        'mde_power': power, 'level': level, 'unit': 'reference' if by_reference else 'teacher',
        'se': se, 'dof': dof, 'per_teacher': difference, 'per_reference': means,
        'leave_one_out': {'teacher': {name: float(np.mean([v for n, v in difference.items()
                                                           if n != name]))
                                      for name in difference if len(difference) > 1}},
        'own_rise': float(np.mean(list(effect.values()))),
        'others_rise': float(np.mean([twin[twin_of[name]] for name in effect])),
    }


def sign_flips(units: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """{'p', 'p_attainable', 'assignments', 'exact'}: one-sided, of the sum over units."""
    count = len(units)
    exact = count <= EXACT
    if exact:
        signs = np.array(list(itertools.product((1, -1), repeat=count)))
    else:
        drawn = np.random.default_rng(seed).choice((1, -1), (DRAWN - 1, count))
        signs = np.concatenate([np.ones((1, count), int), drawn])
    sums = signs @ units
    p = float((sums >= sums[0] - 1e-12 * max(1.0, abs(sums[0]))).mean())
    return {'p': p, 'p_attainable': 0.5**count if exact else 1 / DRAWN,
            'assignments': len(signs), 'exact': exact}
