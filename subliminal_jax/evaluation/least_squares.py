"""Least squares of y[s, t] = row[s] + column[t] + gamma x [t is s's trait], reference by reference.

Rows and columns are free, so gamma is a contrast of the cells, whose weights hang on the design
alone. What its units are, and why, stands in `gamma`.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.evaluation import intervals
from subliminal_jax.runs import UserError

Y = Mapping[str, Mapping[str, float]]  # y[teacher][trait], nats


class Block(NamedTuple):
    """The teachers of one reference."""

    reference: str
    teachers: tuple[str, ...]
    traits: tuple[str, ...]
    y_SK: np.ndarray  # teachers by traits, nats
    trait_S: np.ndarray  # each teacher's own column


def blocks(
    y: Y, trait_of_teacher: Mapping[str, str | None],
    reference_of_teacher: Mapping[str, str] | None = None,
) -> list[Block]:
    """Sorts y into one block per reference; teachers without a trait (neutral ones) stay out.

    Raises:
      UserError: a reference with teachers of fewer than two traits, or an absent or infinite cell.
    """
    groups: dict[str, list[str]] = {}
    for teacher in y:
        if teacher not in trait_of_teacher:
            raise UserError(f'teacher {teacher!r} has no entry that says which trait it has')
        if trait_of_teacher[teacher] is not None:
            reference = reference_of_teacher[teacher] if reference_of_teacher else 'reference'
            groups.setdefault(reference, []).append(teacher)
    if not groups:
        raise UserError('no teacher has a trait: gamma needs teachers of two traits or more')
    found = []
    for reference, teachers in groups.items():
        traits = tuple(dict.fromkeys(trait_of_teacher[s] for s in teachers))
        if len(traits) < 2:
            raise UserError(
                f'one trait only ({traits[0]}) among the teachers of {reference}: gamma compares a '
                "teacher's own trait with the others; add teachers of a second trait")
        for s in teachers:
            for t in traits:
                if t not in y[s] or not np.isfinite(y[s][t]):
                    raise UserError(f'teacher {s!r} has no finite measure of trait {t!r}')
        found.append(Block(
            reference, tuple(teachers), traits,
            np.array([[y[s][t] for t in traits] for s in teachers], float),
            np.array([traits.index(trait_of_teacher[s]) for s in teachers])))
    return found


@functools.lru_cache(maxsize=64)
def _weights(traits: tuple[int, ...], width: int) -> np.ndarray:
    """W [S, K] with gamma = sum(W * y): least squares with free rows and columns."""
    is_own = np.eye(width)[list(traits)]
    free = _centred(is_own)
    return free / (free * is_own).sum()


def _centred(x_SK: np.ndarray) -> np.ndarray:
    return x_SK - x_SK.mean(1, keepdims=True) - x_SK.mean(0, keepdims=True) + x_SK.mean()


def _design_weights(block: Block) -> np.ndarray:
    return _weights(tuple(block.trait_S.tolist()), block.y_SK.shape[1])


def name_scores(block: Block) -> np.ndarray:
    """What each teacher would add to gamma under the name of each trait: [S, K], nats."""
    return _centred(block.y_SK) * (_design_weights(block) ** 2).sum()


@functools.lru_cache(maxsize=64)
def _own_effects(traits: tuple[int, ...], width: int) -> np.ndarray | None:
    """G [S, S*K] with G y = each teacher's own gamma: own cells less what the others predict.

    Rows and columns are fitted to the cells of other traits. Two traits leave a row one such cell,
    and no teacher's own effect can be told apart.
    """
    count = len(traits)
    if width < 3:
        return None
    rows = np.kron(np.eye(count), np.ones((width, 1)))
    columns = np.kron(np.ones((count, 1)), np.eye(width))
    both = np.concatenate([rows, columns], 1)
    is_own = np.eye(width)[list(traits)].reshape(-1) > 0
    fitted = np.linalg.pinv(both[~is_own])
    predict = np.zeros((count, count * width))
    predict[:, ~is_own] = both[is_own] @ fitted
    return np.eye(count * width)[is_own] - predict


def own_effects(block: Block) -> np.ndarray:
    """Each teacher's own gamma [S]; with two traits, its part of the estimate instead."""
    operator = _own_effects(tuple(block.trait_S.tolist()), block.y_SK.shape[1])
    if operator is not None:
        return operator @ block.y_SK.reshape(-1)
    count = len(block.y_SK)
    own_S = _centred(block.y_SK)[np.arange(count), block.trait_S]
    return count * (_design_weights(block) ** 2).sum() * own_S


def fit(block: Block) -> tuple[float, float | None, float | None]:
    """(gamma, its standard error, degrees of freedom) of one reference, teachers as units.

    Degrees of freedom are Satterthwaite's, of the variances that were observed. Without replicates
    (two traits, one teacher each) the last two are None.
    """
    parts = (_design_weights(block) * block.y_SK).sum(1)
    estimate = float(parts.sum())
    counts = np.bincount(block.trait_S)
    if counts.min() >= 2:
        variances = [n * parts[block.trait_S == t].var(ddof=1) for t, n in enumerate(counts)]
        return (estimate, float(np.sum(variances)) ** 0.5,
                intervals.satterthwaite(variances, counts - 1))
    if len(counts) < 3:
        return estimate, None, None
    return estimate, intervals.standard_error(own_effects(block)), len(parts) - 1


def trait_means(block: Block, effects_S: np.ndarray) -> np.ndarray:
    """The mean of its teachers' effects, by trait [K]."""
    return np.array([effects_S[block.trait_S == t].mean() for t in range(len(block.traits))])


def off_own(block: Block) -> np.ndarray:
    """Which cells [S, K] are of other traits than the teacher's."""
    return ~np.eye(block.y_SK.shape[1], dtype=bool)[block.trait_S]


def misfit(block: Block) -> float | None:
    """Root mean square of what rows and columns leave of the cells of other traits, nats.

    None for two traits, whose rows have one such cell each.
    """
    count, width = block.y_SK.shape
    if width < 3:
        return None
    off = off_own(block)
    rows = np.kron(np.eye(count), np.ones((width, 1)))
    columns = np.kron(np.ones((count, 1)), np.eye(width))
    design, values = np.concatenate([rows, columns], 1)[off.reshape(-1)], block.y_SK[off]
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(np.mean(left**2) ** 0.5)


def estimate_with_error(each: Sequence[Block]) -> dict[str, Any]:
    """gamma over all references, with the error that its leading interval has.

    Returns:
      {'estimate', 'se', 'dof', 'unit', 'teachers'}: the unit is the reference where there are two
      or more, the trait where one reference has three or more, else the teacher; 'teachers' is
      (se, dof) with teachers as units, given these references and traits.
    """
    fits = [fit(block) for block in each]
    gammas = [f[0] for f in fits]
    teachers = (None, None)
    if all(se is not None for _, se, _ in fits):
        variances = [(se / len(each)) ** 2 for _, se, _ in fits]
        teachers = (sum(variances) ** 0.5,
                    intervals.satterthwaite(variances, [dof for *_, dof in fits]))
    se, dof, unit = *teachers, 'teacher'
    if len(each) > 1:
        se, dof, unit = intervals.standard_error(gammas), len(each) - 1, 'reference'
    elif len(each[0].traits) > 2:
        means_K = trait_means(each[0], own_effects(each[0]))
        se, dof, unit = intervals.standard_error(means_K), len(means_K) - 1, 'trait'
    return {'estimate': float(np.mean(gammas)), 'se': se, 'dof': dof, 'unit': unit,
            'teachers': teachers}
