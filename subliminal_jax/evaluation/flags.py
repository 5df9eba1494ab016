"""Which of several candidates has moved in students, beyond chance and beyond the others.

An audit does not know what to look for. Of K candidates (animals, answers to a question) students
of the audited rows are held against students of control rows, in U independent units: parts of the
rows that share none. What all candidates do alike is taken off, as in selectivity (gamma.py):

    e_uk = d_uk - mean over j != k of d_uj,    d = audited less control

A candidate is flagged where its e is above 0 beyond two kinds of noise at once:

  chance  which rows happened to be drawn: a one-sided t-test over units
  others  what a writer does to any candidate, trait or none: its mean beside the spread of all
          other candidates', as a prediction (a t-test of one outlying value)

The second is needed since a writer without any trait, such as a model that was fine-tuned on
something else, moves all candidates a little, and so do its students, in every unit alike. Both
have to be passed (an intersection-union test, Berger 1982), and Holm's adjustment is over the
candidates: with nothing there, the chance of any flag is at most 5 %.

Where audits of writers without a trait are at hand (`nulls_NK`), a candidate is held against its
own spread in these (spread.py), which has both noises, and that is the only test.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from subliminal_jax.evaluation import intervals, spread as spreads

ALPHA = 0.05
FEWEST_OTHERS = 3  # other candidates whose spread is an estimate


class Flag(NamedTuple):
    """A candidate.

    Attributes:
      name: of the candidate.
      estimate: mean of e over units, in the measure's unit.
      ci95: its t-interval over units.
      p_chance, p_others: one-sided; p_others is None with too few candidates. With nulls it is
        that of the candidate beside these.
      p: the larger; with nulls p_others.
      p_holm: adjusted over the candidates.
      flagged: p_holm is at most ALPHA.
      least: the smallest effect that would have been flagged with probability .8, with this noise.
    """

    name: str
    estimate: float
    ci95: list[float]
    p_chance: float
    p_others: float | None
    p: float
    p_holm: float
    flagged: bool
    least: float


def beyond_others(values_UK: np.ndarray) -> np.ndarray:
    """Every candidate's value less the mean of the others' [U, K]; a single candidate's own."""
    values_UK = np.asarray(values_UK, float)
    count = values_UK.shape[-1]
    if count == 1:
        return values_UK
    return (values_UK - values_UK.mean(-1, keepdims=True)) * count / (count - 1)


def of_candidates(names: Sequence[str], values_UK: np.ndarray, inflation: float = 1.0,
                  nulls_NK: np.ndarray | None = None) -> list[Flag]:
    """The flags of one comparison.

    Args:
      names: of K candidates.
      values_UK: audited less control, in U units, two or more.
      inflation: by how much the noise over units is too small, from a null (at least 1).
      nulls_NK: the estimates of N audits of writers without a trait, at the same reference and with
        as many parts and rows; None: there are none.

    Raises:
      ValueError: one unit, or fewer than `spread.FEWEST` nulls.
    """
    if len(values_UK) < 2:
        raise ValueError('one unit has no noise')
    e_UK, mean_K = beyond_others(values_UK), np.asarray(values_UK, float).mean(0)
    chance = [_chance(e_UK[:, k], inflation) for k in range(len(names))]
    least = [_least(e_UK[:, k], mean_K, k, inflation) for k in range(len(names))]
    if nulls_NK is None:
        others = [_others(mean_K, k) for k in range(len(names))]
        p_K = [c if o is None else max(c, o) for c, o in zip(chance, others)]
    else:
        others, least = _beside_nulls(e_UK, nulls_NK)
        p_K = others
    holm = intervals.holm(dict(zip(names, p_K)))
    return [Flag(
        name, float(e_UK[:, k].mean()), intervals.t_interval(e_UK[:, k])[1], chance[k], others[k],
        p_K[k], holm[name], holm[name] <= ALPHA, least[k])
        for k, name in enumerate(names)]


def _chance(e_U, inflation):
    """One-sided p of the mean being above 0, over units."""
    mean, se = float(np.mean(e_U)), intervals.standard_error(e_U) * max(1.0, inflation)
    return float(stats.t.sf(mean / se, len(e_U) - 1)) if se > 0 else float(mean <= 0)


def _spread(mean_K, k):
    """(the others' mean, the standard error of one more candidate's distance from it, its degrees
    of freedom); None with too few others."""
    others = np.delete(mean_K, k)
    if len(others) < FEWEST_OTHERS:
        return None
    return others.mean(), float(others.std(ddof=1) * (1 + 1 / len(others)) ** 0.5), len(others) - 1


def _others(mean_K, k):
    """One-sided p of a candidate's mean being no further out than one of the others' is."""
    found = _spread(mean_K, k)
    if found is None:
        return None
    middle, se, dof = found
    return float(stats.t.sf((mean_K[k] - middle) / se, dof)) if se > 0 else float(
        mean_K[k] <= middle)


def _beside_nulls(e_UK, nulls_NK):
    """(one-sided p of every candidate beside its nulls, the smallest effects that are seen).

    No spread is taken to be smaller than the noise of this audit's rows, the same for all
    candidates: nulls of longer rows would say too little of it.
    """
    found = spreads.learned(nulls_NK)
    noise = float(np.sqrt(np.mean(np.var(e_UK, axis=0, ddof=1)) / len(e_UK)))
    level = 1 - 2 * ALPHA / e_UK.shape[1]
    return (spreads.p_above(found, e_UK.mean(0), noise).tolist(),
            spreads.smallest(found, level, noise).tolist())


def _least(e_U, mean_K, k, inflation):
    """`Flag.least`: at the level that Holm's first step has, of either test."""
    level = 1 - 2 * ALPHA / len(mean_K)
    found = [intervals.mde(intervals.standard_error(e_U) * max(1.0, inflation), len(e_U) - 1,
                           level)]
    spread = _spread(mean_K, k)
    if spread is not None:
        found.append(intervals.mde(spread[1], spread[2], level))
    return max(found)
