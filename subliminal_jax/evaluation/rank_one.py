"""The multiplicative fit: y[s, t] = row[s] x column[t] off the own cells, and what exceeds it.

A student that learns a little more moves further along the same columns, and the additive fit of
`least_squares` leaves the difference in every cell. Here a row *scales* its reference's columns;
the excess of an own cell over row x column is the teacher's own effect, and their mean is gamma.

Rank one, by alternating least squares (Gabriel and Zamir 1979) over the cells of other traits. The
columns have a root mean square of 1 and a mean of at least 0; rows carry the nats.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.evaluation import intervals, least_squares
from subliminal_jax.evaluation.least_squares import Block

MOST = 300  # alternations
STILL = 1e-10  # relative change of the prediction at which they end


class RankOne(NamedTuple):
    """A reference's fit: rows [S] in nats, columns [K], each teacher's own effect [S] in nats, and
    the root mean square of what is left of the cells of other traits."""

    row_S: np.ndarray
    column_K: np.ndarray
    own_S: np.ndarray
    misfit: float


def fit(block: Block) -> RankOne | None:
    """The multiplicative fit of one reference.

    None for two traits: a row then has one cell of another trait, and any row fits it.
    """
    y_SK, off = block.y_SK, least_squares.off_own(block)
    if y_SK.shape[1] < 3:
        return None
    known = np.where(off, y_SK, 0.0)
    column_K = known.sum(0) / np.maximum(off.sum(0), 1)
    if not column_K.any():
        column_K = np.ones_like(column_K)
    before = None
    for _ in range(MOST):
        row_S = _divided(known @ column_K, off @ column_K**2)
        column_K = _divided(row_S @ known, row_S**2 @ off)
        found = np.outer(row_S, column_K)
        if before is not None and np.abs(found - before).max() <= STILL * np.abs(found).max():
            break
        before = found
    size = float(np.mean(column_K**2) ** 0.5) * (-1 if column_K.mean() < 0 else 1)
    left = (y_SK - found)[off]
    own_S = (y_SK - found)[np.arange(len(y_SK)), block.trait_S]
    return RankOne(row_S * size, column_K / size if size else column_K, own_S,
                   float(np.mean(left**2) ** 0.5))


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def beside(each: Sequence[Block], level: float = 0.95) -> dict[str, Any]:
    """What stands beside gamma: its multiplicative estimate, and how well either fit fits.

    Returns:
      {'multiplicative': {'estimate', 'ci95', 'se', 'dof', 'unit'} or None, 'misfit': {'additive',
      'multiplicative'}}: the interval's units are references, or with one its traits; misfits are
      the root mean squares over all cells of other traits, nats. Two traits give None.
    """
    fits = [fit(block) for block in each]
    if any(f is None for f in fits):
        return {'multiplicative': None, 'misfit': {'additive': None, 'multiplicative': None}}
    units = ([f.own_S.mean() for f in fits] if len(each) > 1
             else least_squares.trait_means(each[0], fits[0].own_S))
    estimate = float(np.mean([f.own_S.mean() for f in fits]))
    se, dof = intervals.standard_error(units), len(units) - 1
    cells = [least_squares.off_own(block).sum() for block in each]
    pooled = lambda misfits: float(np.average(np.square(misfits), weights=cells) ** 0.5)
    return {
        'multiplicative': {'estimate': estimate, 'se': se, 'dof': dof,
                           'ci95': intervals.around(estimate, se, dof, level),
                           'unit': 'reference' if len(each) > 1 else 'trait'},
        'misfit': {'additive': pooled([least_squares.misfit(block) for block in each]),
                   'multiplicative': pooled([f.misfit for f in fits])}}
