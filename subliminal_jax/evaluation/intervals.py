"""Intervals, tests over several controls, and the smallest effect that a design could have seen."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, list[float] | None]:
    """The mean of independent values and its t-interval.

    Args:
      values: one per independent unit (a model, a teacher, a reference).
      level: the interval's coverage.

    Returns:
      (mean, [lo, hi]), or (mean, None) for a single value.
    """
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    return mean, around(mean, standard_error(values), len(values) - 1, level)


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean of two or more independent values."""
    values = np.asarray(values, float)
    return float(values.std(ddof=1) / len(values) ** 0.5)


def slope(x: Sequence[float], y: Sequence[float], level: float = 0.95
          ) -> tuple[float, list[float] | None] | None:
    """The slope of a straight line through independent points, by least squares.

    Args:
      x, y: of the points.
      level: the interval's coverage.

    Returns:
      (slope, [lo, hi]), or (slope, None) for two points; None where x does not vary.
    """
    if len(set(x)) < 2:
        return None
    x, y = np.asarray(x, float), np.asarray(y, float)
    far = x - x.mean()
    found = float(far @ y / (far @ far))
    left = y - y.mean() - found * far
    dof = len(x) - 2
    if not dof:
        return found, None
    return found, around(found, float((left @ left / dof / (far @ far)) ** 0.5), dof, level)


def ratio(above: Sequence[float], below: Sequence[float], level: float = 0.95
          ) -> tuple[float, list[float]] | None:
    """The ratio of two means of paired values, with Fieller's interval (Fieller 1954).

    The interval holds every r for which the mean of above - r x below is not told from 0.

    Args:
      above, below: one of each per independent unit.
      level: the interval's coverage.

    Returns:
      (ratio, [lo, hi]); None where `below`'s own interval holds 0, or for a single unit: the ratio
      could be anything.
    """
    count = len(above)
    if count < 2:
        return None
    (a, b), cover = (np.mean([above, below], axis=1), np.cov(above, below) / count)
    t2 = stats.t.ppf((1 + level) / 2, count - 1) ** 2
    lead = b**2 - t2 * cover[1, 1]
    if lead <= 0:
        return None
    middle = (a * b - t2 * cover[0, 1]) / lead
    half = max(middle**2 - (a**2 - t2 * cover[0, 0]) / lead, 0.0) ** 0.5
    return float(a / b), [float(middle - half), float(middle + half)]


def around(
    estimate: float, se: float | None, dof: float | None, level: float = 0.95
) -> list[float] | None:
    """The t-interval [lo, hi] of an estimate with its standard error; None without one."""
    if se is None or dof is None:
        return None
    half = stats.t.ppf((1 + level) / 2, dof) * se
    return [float(estimate - half), float(estimate + half)]


def mde(
    se: float | None, dof: float | None, level: float = 0.95, power: float = 0.8
) -> float | None:
    """The smallest effect whose interval would have lain above 0 with probability `power`.

    With T noncentral t of mean delta, it solves P(T > t_crit) = power for delta; the effect is
    delta x se. It is what a design like this one, with noise as in this run, could have seen; it
    does not depend on what the run did see.

    Args:
      se: the estimate's standard error.
      dof: its degrees of freedom.
      level: of the two-sided interval.
      power: the wanted probability.

    Returns:
      An effect in the estimate's units, or None where there is no standard error.
    """
    if se is None or dof is None:
        return None
    return _seen(float(dof), level, power) * float(se)


@functools.lru_cache(maxsize=1024)
def _seen(dof: float, level: float, power: float) -> float:
    """`mde` in standard errors."""
    critical = stats.t.ppf((1 + level) / 2, dof)
    miss = lambda delta: stats.nct.sf(critical, dof, delta) - power
    upper = critical + 1.0
    while miss(upper) < 0:
        upper *= 2
    return float(optimize.brentq(miss, 0.0, upper))


def reachable(p_attainable: float, level: float = 0.95) -> bool:
    """Whether some outcome of a design could have had p <= 1 - level: without one there is nothing
    that it would have seen."""
    return p_attainable <= 1 - level + 1e-12


def satterthwaite(variances: Sequence[float], dofs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variance estimates.

    Satterthwaite (1946): (sum v)^2 / sum(v^2 / dof).
    """
    variances, dofs = np.asarray(variances, float), np.asarray(dofs, float)
    if not variances.any():
        return float(dofs.sum())
    return float(variances.sum() ** 2 / (variances**2 / dofs).sum())


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment over the controls that are tested together.

    Args:
      p_values: of each control, by name.

    Returns:
      Adjusted p-values in the same order: rejecting those <= alpha keeps the chance of any false
      rejection at alpha, however the tests depend on each other (Holm 1979).
    """
    ordered = sorted(p_values, key=p_values.get)
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def proportion(
    successes: int, trials: int, level: float = 0.95, method: str = 'wilson'
) -> dict[str, Any]:
    """A share of independent trials, with its interval.

    Args:
      successes: of the trials.
      trials: how many.
      level: the interval's coverage.
      method: 'wilson' (the score interval: near its level on average) or 'clopper-pearson' (exact:
        never under its level).

    Returns:
      {'estimate', 'ci95', 'trials'}; without trials estimate and interval are None. The key keeps
      its name at another level.

    Raises:
      ValueError: successes outside 0..trials, or another method.
    """
    if method not in ('wilson', 'clopper-pearson'):
        raise ValueError(f'no such interval: {method!r}')
    if not 0 <= successes <= trials:
        raise ValueError(f'{successes} successes of {trials} trials')
    if trials == 0:
        return {'estimate': None, 'ci95': None, 'trials': 0}
    share = successes / trials
    if method == 'wilson':
        z = stats.norm.ppf((1 + level) / 2)
        scale = 1 + z**2 / trials
        centre = (share + z**2 / (2 * trials)) / scale
        half = z / scale * (share * (1 - share) / trials + z**2 / (4 * trials**2)) ** 0.5
        ends = [max(0.0, centre - half), min(1.0, centre + half)]
    else:
        tail = (1 - level) / 2
        ends = [
            0.0 if successes == 0 else stats.beta.ppf(tail, successes, trials - successes + 1),
            1.0 if successes == trials
            else stats.beta.ppf(1 - tail, successes + 1, trials - successes),
        ]
    return {'estimate': share, 'ci95': [float(e) for e in ends], 'trials': int(trials)}


def resampled_share(
    hits: Sequence[bool], clusters: Sequence[Any], level: float = 0.95, draws: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """A share of trials that depend on each other within clusters, with its interval.

    Whole clusters are drawn with replacement (the cluster bootstrap, Davison and Hinkley 1997); the
    interval lies between percentiles. With few clusters it is somewhat narrow.

    Args:
      hits: one a trial.
      clusters: whose each trial is.
      level: the interval's coverage.
      draws: of the bootstrap.
      seed: of the draws.

    Returns:
      {'estimate', 'ci95', 'trials', 'clusters'}; the interval is None for fewer than two clusters,
      and the estimate too without trials.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    place = [names[name] for name in clusters]
    count = np.bincount(place, minlength=len(names))
    sums = np.bincount(place, np.asarray(hits, float), minlength=len(names))
    made = {'estimate': float(np.mean(hits)) if len(hits) else None, 'ci95': None,
            'trials': len(hits), 'clusters': len(names)}
    if len(names) < 2:
        return made
    drawn = np.random.default_rng([seed, 0xB007]).integers(len(names), size=(draws, len(names)))
    shares = sums[drawn].sum(1) / count[drawn].sum(1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(shares, [tail, 100 - tail]).tolist()
    alone = proportion(int(np.sum(hits)), len(hits), level)['ci95']
    return {**made, 'ci95': [min(low, alone[0]), max(high, alone[1])]}
