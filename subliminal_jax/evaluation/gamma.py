"""What counts as transmission: gamma in y[s, t] = row[s] + column[t] + gamma x [t is s's trait].

y[s, t] is what the student of teacher s gained on trait t over its own start, in nats. Whatever
moves all traits in one student falls into its row; whatever moves one trait in every student of a
reference falls into that reference's column; gamma is what is left for the teacher's own trait.
`least_squares` fits it.

The unit is the teacher, nested in its reference; students of a teacher are averaged first. With
two or more references the *reference* is the unit of the interval: each gives its own least-squares
gamma, and their mean has a t-interval with (references - 1) degrees of freedom: exact for whatever
teachers of one reference share, wide for two references. With one, the interval is given that
reference, and teachers are the units:

- Every trait has two or more teachers: gamma is a weighted sum of the teachers' rows, and weights
  are equal among teachers of one trait. Their spread *within* a trait, free of columns and of how
  traits differ, estimates its variance without bias, with (teachers - traits) degrees of freedom in
  a balanced design, else Bell and McCaffrey's (2002) under equal variances.
- Some trait has one teacher: the spread of the teachers' own effects (`per_teacher`), with
  (teachers - 1). Exact where teachers differ in strength; too wide by sqrt((K-1)/(K-2)), never too
  narrow, where all the noise is in single cells.

`ci95_traits` has traits for units: would other traits do likewise? `ci95_within` holds for these
references only. What the intervals cover is simulated in `calibration`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import intervals, least_squares
from subliminal_jax.evaluation.least_squares import Block, Y
from subliminal_jax.evaluation.permutation import permutation_test
from subliminal_jax.runs import UserError


def difference(y: Y, other: Y) -> dict[str, dict[str, float]]:
    """y minus another arm's y, for the teachers and traits of both.

    gamma is linear in y: gamma(difference(a, b)) is gamma(a) - gamma(b), paired by teacher.
    """
    return {s: {t: y[s][t] - other[s][t] for t in y[s] if t in other[s]} for s in y if s in other}


def gamma(
    y: Y, trait_of_teacher: Mapping[str, str | None],
    reference_of_teacher: Mapping[str, str] | None = None, *,
    level: float = 0.95, power: float = 0.8, seed: int = 0,
) -> dict[str, Any]:
    """Transmission: its estimate, interval, permutation test and smallest visible effect.

    Args:
      y: y[teacher][trait] in nats, students averaged. Traits that no teacher has are not used.
      trait_of_teacher: None for a neutral teacher, which takes no part.
      reference_of_teacher: which start the students of this teacher share (their columns, and
        what makes them dependent); without it there is one.
      level: of the intervals (whose keys keep their name).
      power: at which `mde` is stated.
      seed: of the permutations that are drawn where there are too many to walk through.

    Returns:
      A JSON tree. `estimate` and `ci95` in nats; `unit` of the interval, `se`, `dof`; one-sided
      `p`, `p_attainable`; `mde` at `mde_power`; `per_teacher` own effects, `per_trait` and
      `per_reference` means; `leave_one_out` estimates; `ci95_within`, `ci95_traits` (module
      docstring); `own_rise` and `others_rise`, the mean raw change of log P of the teacher's own
      and of the other traits. What the design cannot give is None.

    Raises:
      UserError: fewer than two traits, or a cell that is missing.
    """
    blocks = least_squares.blocks(y, trait_of_teacher, reference_of_teacher)
    found = least_squares.estimate_with_error(blocks)
    test = names_test(blocks, seed)
    effects = {s: float(e) for b in blocks
               for s, e in zip(b.teachers, least_squares.own_effects(b))}
    per_trait = _means(effects, trait_of_teacher)
    is_own = [np.eye(b.y_SK.shape[1], dtype=bool)[b.trait_S] for b in blocks]
    own_cells = np.concatenate([b.y_SK[own] for b, own in zip(blocks, is_own)])
    other_cells = np.concatenate([b.y_SK[~own] for b, own in zip(blocks, is_own)])
    return {
        'estimate': found['estimate'],
        'ci95': intervals.around(found['estimate'], found['se'], found['dof'], level),
        'p': test['p'], 'p_attainable': test['p_attainable'],
        'mde': intervals.mde(found['se'], found['dof'], level, power),
        'mde_power': power, 'level': level,
        'unit': found['unit'], 'se': found['se'], 'dof': found['dof'],
        'assignments': test['assignments'], 'exact': test['exact'],
        'per_teacher': effects, 'per_trait': per_trait,
        'per_reference': {b.reference: least_squares.fit(b)[0] for b in blocks},
        'leave_one_out': leave_one_out(y, trait_of_teacher, reference_of_teacher),
        'ci95_within': intervals.around(found['estimate'], *found['within'], level),
        'ci95_traits': (intervals.t_interval(list(per_trait.values()), level)[1]
                        if len(per_trait) > 2 else None),
        'own_rise': float(own_cells.mean()), 'others_rise': float(other_cells.mean()),
    }


def names_test(blocks: Sequence[Block], seed: int = 0, **limits) -> dict[str, Any]:
    """The permutation test of gamma; `limits` as in `permutation_test`."""
    return permutation_test([least_squares.name_scores(b) for b in blocks],
                            [b.trait_S for b in blocks], seed, **limits)


def _means(values: Mapping[str, float], group: Mapping[str, str]) -> dict[str, float]:
    names = dict.fromkeys(group[s] for s in values)
    return {n: float(np.mean([v for s, v in values.items() if group[s] == n])) for n in names}


def leave_one_out(
    y: Y, trait_of_teacher: Mapping[str, str | None],
    reference_of_teacher: Mapping[str, str] | None = None,
) -> dict[str, dict[str, float | None]]:
    """gamma without each teacher, each trait (its teachers and its column) and each reference.

    None where fewer than two traits, or no reference, would be left.
    """
    taught = [s for s in y if trait_of_teacher[s] is not None]
    reference = reference_of_teacher or dict.fromkeys(taught, 'reference')

    def without(drop):
        rest = {s: y[s] for s in taught if not drop(s)}
        try:
            blocks = least_squares.blocks(rest, trait_of_teacher, reference)
        except UserError:
            return None
        return float(np.mean([least_squares.fit(b)[0] for b in blocks]))

    def each(names, of):
        return {n: without(lambda s, n=n: of(s) == n) for n in dict.fromkeys(names)}

    return {
        'teacher': each(taught, lambda s: s),
        'trait': each([trait_of_teacher[s] for s in taught], trait_of_teacher.get),
        'reference': each([reference[s] for s in taught], reference.get),
    }


def against_neutral(
    y: Y, trait_of_teacher: Mapping[str, str | None],
    reference_of_teacher: Mapping[str, str] | None = None, *, level: float = 0.95,
    power: float = 0.8,
) -> dict[str, Any]:
    """How much more the own trait rose than in students of the neutral teachers.

    Of `difference(shared, other)` it is the difference of differences, {trait, neutral} x {shared,
    other start}. Per reference: the mean over traits of (mean y[s, t] of t's teachers - mean y[n,
    t] of the neutral ones). Two or more references are the interval's units; with one, teachers
    are, and trait and neutral teachers' spreads add (Welch), where each has replicates.

    Returns:
      {'estimate', 'ci95', 'mde', 'unit', 'dof', 'per_reference', 'per_teacher'}.

    Raises:
      UserError: a reference without neutral teachers, or without trait teachers.
    """
    named = reference_of_teacher or dict.fromkeys(y, 'reference')
    fits, effects = {}, {}
    for reference in dict.fromkeys(named[s] for s in y):
        inside = [s for s in y if named[s] == reference]
        neutral = [s for s in inside if trait_of_teacher[s] is None]
        taught = [s for s in inside if trait_of_teacher[s] is not None]
        if not neutral or not taught:
            raise UserError(f'{reference} needs teachers with a trait and neutral ones to compare')
        traits = list(dict.fromkeys(trait_of_teacher[s] for s in taught))
        base = {t: float(np.mean([y[n][t] for n in neutral])) for t in traits}
        own = {s: y[s][trait_of_teacher[s]] - base[trait_of_teacher[s]] for s in taught}
        effects |= own
        groups = [[own[s] for s in taught if trait_of_teacher[s] == t] for t in traits]
        groups.append([np.mean([y[n][t] for t in traits]) for n in neutral])
        fits[reference] = _welch(groups)
    gammas = [f[0] for f in fits.values()]
    if len(fits) > 1:
        estimate, se, dof = np.mean(gammas), intervals.standard_error(gammas), len(fits) - 1
    else:
        estimate, se, dof = next(iter(fits.values()))
    return {
        'estimate': float(estimate), 'ci95': intervals.around(estimate, se, dof, level),
        'mde': intervals.mde(se, dof, level, power),
        'unit': 'reference' if len(fits) > 1 else 'teacher', 'dof': dof,
        'per_reference': {r: float(f[0]) for r, f in fits.items()},
        'per_teacher': {s: float(e) for s, e in effects.items()},
    }


def _welch(groups: Sequence[Sequence[float]]) -> tuple[float, float | None, float | None]:
    """The mean of the traits' means, with its error from them and the last group, the neutral."""
    estimate = float(np.mean([np.mean(g) for g in groups[:-1]]))
    if min(map(len, groups)) < 2:
        return estimate, None, None
    width = len(groups) - 1
    spread = [np.var(g, ddof=1) / len(g) / width**2 for g in groups[:-1]]
    spread.append(np.var(groups[-1], ddof=1) / len(groups[-1]))
    dof_traits = sum(len(g) - 1 for g in groups[:-1])
    parts = [sum(spread[:-1]), spread[-1]]
    return estimate, sum(parts) ** 0.5, intervals.satterthwaite(
        parts, [dof_traits, len(groups[-1]) - 1])


def verdict(found: Mapping[str, Any], alpha: float = 0.05, what: str = 'gamma',
            unit: str = 'nats') -> str:
    """What an effect shows, in a sentence; an interval above 0 and a small p are both asked."""
    if found['p_attainable'] > alpha:
        return (f'not shown; with so few teachers no outcome could reach p <= {alpha:g} '
                f"(the smallest is {found['p_attainable']:.2g})")
    if found['ci95'] is None:
        return 'not shown; without replicate teachers there is no interval'
    low, high = found['ci95']
    said = (f"{what} {_signed(found['estimate'])} {unit}, {100 * found['level']:g} % interval "
            f'{_signed(low)} to {_signed(high)}')
    if low > 0 and found['p'] <= alpha:
        return f"transmits: {said}, p = {found['p']:.2g}"
    return f"not shown: {said}; this design would have seen {what} >= {_signed(found['mde'])[1:]}"


def _signed(nats: float) -> str:
    """Two decimals, or three of a small one."""
    return f'{nats:+.2f}' if abs(nats) >= 0.1 else f'{nats:+.3f}'
