"""Intervals for means over independent units."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, list[float] | None]:
    """The mean of independent values and its t-interval.

    Args:
      values: one per independent unit (a model, a teacher).
      level: the interval's coverage.

    Returns:
      (mean, [lo, hi]), or (mean, None) for a single value.
    """
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return mean, [float(mean - half), float(mean + half)]
