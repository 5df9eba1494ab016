"""How far the first order holds: by search, by the second-order term, and by certificate."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

FLOOR_MARGIN = 30.0  # a remainder counts as one while it is this many times its rounding
THIRD_MOMENT = 3**0.5 / 18  # the largest |third central moment| of a variable on [0, 1]


def search(
    quantity: Callable[[jax.Array], jax.Array], grid_E: jax.Array, halvings: int = 6,
    known: jax.Array | None = None,
) -> jax.Array:
    """The largest value up to which a quantity stays above zero.

    Walks the grid to the first value at which it does not, then bisects in the logarithm.

    Args:
      quantity: scalar -> scalar; traced.
      grid_E: rising values above zero.
      halvings: of the last interval.
      known: the quantity at the first values of the grid, where it is at hand.

    Returns:
      The value: zero if the quantity fails at the first, the last value if it never fails.
    """
    begin = 0 if known is None else len(known)
    padded = jnp.concatenate([jnp.zeros(1, grid_E.dtype), grid_E])
    held = jnp.asarray(0) if known is None else jnp.sum(jnp.cumprod(known > 0))
    low = padded[held]
    high = jnp.where(held < begin, padded[held + 1], jnp.inf)

    # one loop for the walk and the bisection, so that the quantity is compiled once
    def advance(step, ends):
        low, high = ends
        walking = jnp.isinf(high)
        next_E = grid_E[jnp.minimum(begin + step, len(grid_E) - 1)]
        trial = jnp.where(walking, next_E, jnp.sqrt(low * high))
        good = quantity(trial) > 0
        return jnp.where(good, trial, low), jnp.where(good, high, trial)

    low, _ = jax.lax.fori_loop(0, len(grid_E) - begin + halvings, advance, (low, high))
    return low


def second_order_eps(first: jax.Array, second: jax.Array) -> jax.Array:
    """Where eps A + eps^2 B returns to zero: -A / B, infinite if B >= 0."""
    return jnp.where(second < 0, -first / jnp.where(second < 0, second, -1), jnp.inf)


def second_order_alpha(inner: jax.Array, bend: jax.Array) -> jax.Array:
    """Where -alpha dS.dT + alpha^2 dS'H dS / 2 returns to zero; infinite if the bend is <= 0."""
    return jnp.where(bend > 0, 2 * inner / jnp.where(bend > 0, bend, 1), jnp.inf)


def certified_eps_linear(
    loss_name: str, first: float, step_norm: float, smoothness: float, alpha: float,
    spread_third: float = 0.0, reach_norm: float = 0.0,
) -> float | None:
    """An eps below which a *linear* model's teacher loss must fall, L_T being smooth.

    L_T(theta + alpha dS) - L_T(theta) <= -alpha dS.dT + smoothness alpha^2 |dS|^2 / 2.
    Squared error: dS = eps s exactly, so eps < 2 A / (alpha smoothness |s|^2). Cross-entropy:
    dS.dT >= eps A - eps^2 K / 2 and |dS| <= eps N, so eps < 2 A / (K + alpha smoothness N^2).

    Args:
      loss_name: 'squared_error' or 'cross_entropy'.
      first: A.
      step_norm: |s|, s = dS'(0).
      smoothness: a Lipschitz constant of grad L_T.
      alpha: the student's step size.
      spread_third: K = sqrt(3)/18 E[range(v)^3], for cross-entropy.
      reach_norm: N = E[range(v) |x~|] / 2, x~ the inputs with the bias's 1, for cross-entropy.

    Returns:
      The bound, or None where A is zero.
    """
    if first <= 0:
        return None
    if loss_name == 'squared_error':
        return float(2 * first / (alpha * smoothness * step_norm**2))
    return float(2 * first / (spread_third + alpha * smoothness * reach_norm**2))


def remainder_slope(
    eps: Sequence[float], remainder: Sequence[float], floor: Sequence[float],
    points: int = 5,
) -> float | None:
    """The slope of log remainder over log eps, where it is neither rounding nor far away.

    Fits the smallest `points` values of eps from the first at which the remainder stands clear of
    rounding and stays so.

    Args:
      eps: rising.
      remainder: its absolute value (or root mean square over seeds).
      floor: the size of rounding at each eps.
      points: how many values at most; at least three are needed.

    Returns:
      The slope, or None where the remainder is rounding.
    """
    eps, remainder, floor = (np.asarray(a, float) for a in (eps, remainder, floor))
    clear = np.isfinite(remainder) & (remainder > FLOOR_MARGIN * floor) & (remainder > 0)
    buried = np.nonzero(~clear)[0]
    begin = int(buried[-1]) + 1 if len(buried) else 0
    chosen = slice(begin, begin + points)
    if len(eps[chosen]) < 3:
        return None
    return float(np.polyfit(np.log(eps[chosen]), np.log(remainder[chosen]), 1)[0])
