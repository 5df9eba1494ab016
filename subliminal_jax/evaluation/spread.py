"""How far candidates move without a trait, learned from audits of writers that have none.

flags.py tells a candidate from what a writer does to any by the spread of the others in the same
audit: of twelve candidates ten degrees of freedom, at a level of .05 / 12, and the noise of rows a
second time beside it. N audits of writers without a trait, at the same reference and with as many
parts and rows, give every candidate a spread of its own, in which both noises are: one test in
place of two.

K variances from N audits each are noisy themselves. They are moved towards each other as far as
they differ by no more than chance would have them (Smyth 2004, doi 10.2202/1544-6115.1027): with d
= N - 1 degrees of freedom and those of the prior, d_0, from the K variances

    s~_k^2 = (d_0 s_0^2 + d s_k^2) / (d_0 + d)      has d_0 + d degrees of freedom.
"""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from subliminal_jax.evaluation import intervals

FEWEST = 6  # audits from which a spread is learned
STEPS = 50  # of Newton's method, at most


class Spread(NamedTuple):
    """Effects of K candidates in N audits with no trait.

    Attributes:
      mean_K: of the effects.
      sd_K: their standard deviations, moved towards each other.
      dof: of these.
      count: N.
    """

    mean_K: np.ndarray
    sd_K: np.ndarray
    dof: float
    count: int

    def se_K(self, least: float = 0.0) -> np.ndarray:
        """The standard error of one more audit's effects less the mean; `least`: the smallest that
        a deviation may be, the noise of rows in that audit."""
        return np.maximum(self.sd_K, least) * (1 + 1 / self.count) ** 0.5


def learned(effects_NK: np.ndarray) -> Spread:
    """The spread of effects (flags.beyond_others) of N audits with no trait.

    Raises:
      ValueError: fewer than FEWEST audits.
    """
    effects_NK = np.asarray(effects_NK, float)
    count, width = effects_NK.shape
    if count < FEWEST:
        raise ValueError(f'{count} audits are too few to learn a spread from')
    dof = count - 1
    square_K = np.maximum(effects_NK.var(0, ddof=1), 1e-300)
    prior_dof, prior = _prior(square_K, dof)
    if np.isinf(prior_dof):
        moved_K = np.full(width, prior)
    else:
        moved_K = (prior_dof * prior + dof * square_K) / (prior_dof + dof)
    most = dof * max(1, width - 1)  # effects add up to nothing
    return Spread(effects_NK.mean(0), np.sqrt(moved_K), float(min(prior_dof + dof, most)), count)


def p_above(spread: Spread, effect_K: np.ndarray, least: float = 0.0) -> np.ndarray:
    """One-sided p [K] of one more audit's effects being no larger than without a trait."""
    return stats.t.sf((effect_K - spread.mean_K) / spread.se_K(least), spread.dof)


def smallest(spread: Spread, level: float, least: float = 0.0) -> np.ndarray:
    """The smallest effects [K] beyond the mean that would be seen with probability .8, at a
    two-sided level."""
    return np.array([intervals.mde(float(se), spread.dof, level) for se in spread.se_K(least)])


def _prior(square_K, dof):
    """(degrees of freedom, variance) of the prior, by the moments of log variances."""
    log_K = np.log(square_K) - special.digamma(dof / 2) + np.log(dof / 2)
    beyond = log_K.var(ddof=1) - special.polygamma(1, dof / 2) if len(log_K) > 1 else 0.0
    if beyond <= 0:
        return np.inf, float(np.exp(log_K.mean()))
    prior_dof = 2 * _trigamma_inverse(beyond)
    return prior_dof, float(np.exp(
        log_K.mean() + special.digamma(prior_dof / 2) - np.log(prior_dof / 2)))


def _trigamma_inverse(value):
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma, which is convex."""
    x = 0.5 + 1 / value
    for _ in range(STEPS):
        found = special.polygamma(1, x)
        step = found * (1 - found / value) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-10 * x:
            break
    return float(x)
