"""AUROC by bag, its interval over independent units, and the verdict on a detector.

A bag is so many rows of one writer; its score is the mean of theirs, which orders bags of one size
as the sum does. The area is taken within a pair of writers: the chance that a bag of the one with
the trait is above a bag of the other, ties half (Hanley and McNeil 1982). All that two writers
differ in beside the trait, in length or in ease, makes an area go to 0 or 1 as bags grow, with
either sign: bags of one pair are no independent evidence. So a pair's area is one number, pairs of
one unit (a reference) are averaged, and intervals are t-intervals over units.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from subliminal_jax.evaluation import intervals

CHANCE = 0.5
ABLE = 0.9  # on overt rows, or a detector that sees nothing is unable
ALPHA = 0.05
FEW = 4096  # comparisons up to which each is made; ranks are faster beyond

Areas = Mapping[str, float]  # by pair


def bagged(values_N: np.ndarray, size: int) -> np.ndarray:
    """Means of rows [N, ...] over bags of `size`, one after another [N // size, ...]."""
    count = len(values_N) // size
    cut = np.asarray(values_N, float)[:count * size]
    return cut.reshape(count, size, *cut.shape[1:]).mean(1)


def area(high_H: np.ndarray, low_L: np.ndarray) -> float | None:
    """AUROC of scores, ties half; of several draws [H, D] their mean; None without both kinds, or
    with a score that is not finite."""
    high, low = np.asarray(high_H, float), np.asarray(low_L, float)
    if not len(high) or not len(low) or not (np.isfinite(high).all() and np.isfinite(low).all()):
        return None
    if len(high) * len(low) <= FEW:
        gap = high[:, None] - low[None]
        return float(((gap > 0) + 0.5 * (gap == 0)).mean())
    ranks = stats.rankdata(np.concatenate([high, low]), axis=0)[:len(high)]
    won = ranks.sum(0) - len(high) * (len(high) + 1) / 2
    return float(np.mean(won / (len(high) * len(low))))


class Estimate(NamedTuple):
    """A mean over units.

    Attributes:
      mean, ci95, se, dof: of the t-interval; None for a single unit but for the mean.
      p: one-sided, of the mean being above `above`.
    """

    mean: float
    ci95: list[float] | None
    se: float | None
    dof: int | None
    p: float | None


def estimate(values: Areas, unit: Mapping[str, str], above: float = 0.0) -> Estimate | None:
    """The mean over units of their pairs' mean, with its t-interval over units; None of nothing."""
    means = by_unit(values, unit)
    if not means:
        return None
    mean = float(np.mean(list(means.values())))
    if len(means) < 2:
        return Estimate(mean, None, None, None, None)
    se, dof = intervals.standard_error(list(means.values())), len(means) - 1
    p = float(stats.t.sf((mean - above) / se, dof)) if se > 0 else float(mean <= above)
    return Estimate(mean, intervals.around(mean, se, dof), se, dof, p)


def by_unit(values: Areas, unit: Mapping[str, str]) -> dict[str, float]:
    """The mean of every unit's pairs."""
    gathered: dict[str, list[float]] = {}
    for pair, value in values.items():
        gathered.setdefault(unit[pair], []).append(value)
    return {name: float(np.mean(own)) for name, own in gathered.items()}


def less(values: Areas, others: Areas) -> dict[str, float]:
    """Differences, pair by pair, of pairs that both have."""
    return {pair: value - others[pair] for pair, value in values.items() if pair in others}


class Beside(NamedTuple):
    """A detector beside its nulls.

    Attributes:
      own: its area.
      null: the name of the null detector with the largest area; None without nulls.
      over: its area less that null's, in pairs.
      p: one-sided, of being above chance and above every null: the largest of these.
    """

    own: Estimate
    null: str | None
    over: Estimate | None
    p: float | None


def beside(values: Areas, nulls: Mapping[str, Areas], unit: Mapping[str, str]) -> Beside | None:
    """A detector held against chance and against each of its nulls, in pairs.

    All of these have to be passed at once, so that the largest p is one of level 5 % (an
    intersection-union test, Berger 1982), however many nulls there are.
    """
    own = estimate(values, unit, CHANCE)
    if own is None:
        return None
    known = {name: estimate(areas, unit, CHANCE) for name, areas in nulls.items() if areas}
    overs = {name: estimate(less(values, nulls[name]), unit) for name in known}
    best = max(known, key=lambda name: known[name].mean, default=None)
    ps = [e.p for e in (own, *overs.values()) if e is not None]
    return Beside(own, best, overs.get(best), None if None in ps else max(ps))


def verdicts(found: Mapping[str, Beside], control: Mapping[str, float | None]
             ) -> dict[str, dict[str, Any]]:
    """What is to be said of the detectors of one task at one bag.

    Holm's adjustment (1979) is over all that were read: with no trait to be seen, the chance that
    any of them is said to detect is at most 5 %. The overt control qualifies a null alone: who
    tells rows beyond every null has shown by this that it can.

    Args:
      found: every detector beside its nulls.
      control: each one's area on overt rows; None where it could not be read.

    Returns:
      by name {'verdict': 'detects', 'null' or 'unable', 'p', 'p_holm', 'control'}.
    """
    adjusted = intervals.holm({name: own.p for name, own in found.items() if own.p is not None})
    made = {}
    for name, own in found.items():
        p = adjusted.get(name)
        seen = p is not None and p <= ALPHA and own.own.ci95[0] > CHANCE and (
            own.over is None or own.over.ci95[0] > 0)
        able = control.get(name) is not None and control[name] >= ABLE
        made[name] = {'verdict': 'detects' if seen else 'null' if able else 'unable',
                      'p': own.p, 'p_holm': p, 'control': control.get(name)}
    return made


def would_have_seen(own: Estimate) -> float | None:
    """The smallest AUROC whose interval would have lain above chance with probability .8; None
    where there is none."""
    least = intervals.mde(own.se, own.dof)
    return None if least is None or CHANCE + least > 1 else CHANCE + least
