"""What counts as transmission: gamma in y[s, t] = row[s] + column[t] + gamma x [t is s's trait].

y[s, t] is what the student of teacher s gained on trait t over its own start, in nats. Whatever
moves all traits in one student falls into its row; whatever moves one trait in every student of a
reference falls into that reference's column; gamma is what is left for the teacher's own trait.
`least_squares` fits it.

Students of a teacher are averaged, and teachers are nested in their reference. What the leading
interval's units are follows from the design:

- Two or more references: the *reference*. Each gives its own least-squares gamma, and their mean
  has a t-interval with (references - 1) degrees of freedom: exact for whatever teachers of one
  reference share, wide for two references.
- One reference, three or more traits: the *trait*, whose teachers' own effects (`per_teacher`) are
  averaged. Teachers of one trait are not independent: their students may move along the
  reference's columns by more or less, together. The interval is too wide by sqrt((K-1)/(K-2)),
  never too narrow, where all the noise is in single cells. It says nothing of another reference.
- One reference, two traits: the *teacher*. What moves both teachers of a trait together is then in
  the estimate and not in its interval: it speaks of these teachers' like, for these two traits.

`ci95_teachers` has teachers for units always, given these references and traits. Where every trait
has two or more, gamma is a weighted sum of the teachers' rows, with equal weights among teachers of
one trait: their spread *within* traits gives the variance, and Satterthwaite (1946) the degrees of
freedom, from the variances that were observed. Else it is the spread of the teachers' own effects.
`ci95_traits` has traits for units always: would other traits do likewise?

Beside the additive fit stands a multiplicative one (`rank_one`): where a student moves along its
reference's columns by a share of its own, that is no transmission, and rows and columns that are
added do not take it off. `misfit` says which of the two fits the cells of other traits better.
What the intervals cover is simulated in `calibration`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import intervals, least_squares, rank_one
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
      `p`, `p_attainable`; `mde` at `mde_power`, None where no p could have reached 1 - level;
      `per_teacher` own effects, `per_trait` and `per_reference` means; `leave_one_out` estimates;
      `ci95_teachers` (with `se_teachers`, `dof_teachers`) and `ci95_traits` (module docstring);
      `multiplicative` and `misfit`, as `rank_one.beside` has them; `own_rise` and `others_rise`,
      the mean raw change of log P of the teacher's own and of the other traits. What the design
      cannot give is None.

    Raises:
      UserError: fewer than two traits, or a cell that is missing.
    """
    blocks = least_squares.blocks(y, trait_of_teacher, reference_of_teacher)
    found = least_squares.estimate_with_error(blocks)
    test = names_test(blocks, seed)
    effects = {s: float(e) for b in blocks
               for s, e in zip(b.teachers, least_squares.own_effects(b))}
    per_trait = _means(effects, trait_of_teacher)
    others = [least_squares.off_own(b) for b in blocks]
    own_cells = np.concatenate([b.y_SK[~off] for b, off in zip(blocks, others)])
    other_cells = np.concatenate([b.y_SK[off] for b, off in zip(blocks, others)])
    return {
        'estimate': found['estimate'],
        'ci95': intervals.around(found['estimate'], found['se'], found['dof'], level),
        'p': test['p'], 'p_attainable': test['p_attainable'],
        'mde': (intervals.mde(found['se'], found['dof'], level, power)
                if intervals.reachable(test['p_attainable'], level) else None),
        'mde_power': power, 'level': level,
        'unit': found['unit'], 'se': found['se'], 'dof': found['dof'],
        'assignments': test['assignments'], 'exact': test['exact'],
        'per_teacher': effects, 'per_trait': per_trait,
        'per_reference': {b.reference: least_squares.fit(b)[0] for b in blocks},
        'leave_one_out': leave_one_out(y, trait_of_teacher, reference_of_teacher),
        'ci95_teachers': intervals.around(found['estimate'], *found['teachers'], level),
        'se_teachers': found['teachers'][0], 'dof_teachers': found['teachers'][1],
        'ci95_traits': (intervals.t_interval(list(per_trait.values()), level)[1]
                        if len(per_trait) > 2 else None),
        **rank_one.beside(blocks, level),
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
    t] of the neutral ones). The interval's units are those of `gamma`. With one reference the
    neutral students' spread is added to that of traits or teachers (Welch): what lifts all traits
    of a neutral student lifts every difference, and no spread over traits shows it.

    Returns:
      {'estimate', 'ci95', 'mde', 'unit', 'dof', 'ci95_teachers', 'per_trait', 'per_reference',
      'per_teacher'}; without two neutral teachers of a reference the intervals over its traits and
      teachers are None.

    Raises:
      UserError: a reference without neutral teachers, or without trait teachers.
    """
    named = reference_of_teacher or dict.fromkeys(y, 'reference')
    sides = {reference: _side(y, trait_of_teacher, [s for s in y if named[s] == reference],
                              reference) for reference in dict.fromkeys(named[s] for s in y)}
    effects = {s: e for own, _ in sides.values() for s, e in own.items()}
    gammas = {r: float(np.mean(list(_means(own, trait_of_teacher).values())))
              for r, (own, _) in sides.items()}
    per_trait = _means(effects, trait_of_teacher)
    se, dof, unit = None, None, 'reference'
    teachers = (None, None)
    if len(sides) > 1:
        se, dof = intervals.standard_error(list(gammas.values())), len(sides) - 1
    else:
        (own, neutral), = sides.values()
        groups = [[e for s, e in own.items() if trait_of_teacher[s] == t] for t in per_trait]
        teachers = _welch(groups, neutral)
        se, dof, unit = (*_welch([list(per_trait.values())], neutral), 'trait') if len(
            per_trait) > 2 else (*teachers, 'teacher')
    estimate = float(np.mean(list(gammas.values())))
    return {
        'estimate': estimate, 'ci95': intervals.around(estimate, se, dof, level),
        'mde': intervals.mde(se, dof, level, power), 'unit': unit, 'dof': dof,
        'ci95_teachers': intervals.around(estimate, *teachers, level),
        'per_trait': per_trait, 'per_reference': gammas, 'per_teacher': effects,
    }


def _side(y, trait_of_teacher, inside, reference):
    """(own trait's rise beyond the neutral students', by teacher; each neutral student's mean)."""
    neutral = [s for s in inside if trait_of_teacher[s] is None]
    taught = [s for s in inside if trait_of_teacher[s] is not None]
    if not neutral or not taught:
        raise UserError(f'{reference} needs teachers with a trait and neutral ones to compare')
    traits = list(dict.fromkeys(trait_of_teacher[s] for s in taught))
    base = {t: float(np.mean([y[n][t] for n in neutral])) for t in traits}
    own = {s: float(y[s][trait_of_teacher[s]] - base[trait_of_teacher[s]]) for s in taught}
    return own, [float(np.mean([y[n][t] for t in traits])) for n in neutral]


def _welch(groups: Sequence[Sequence[float]], neutral: Sequence[float]
           ) -> tuple[float | None, float | None]:
    """(standard error, degrees of freedom) of the mean of the groups' means less the neutral."""
    if min(map(len, (*groups, neutral))) < 2:
        return None, None
    parts = [np.var(g, ddof=1) / len(g) / len(groups)**2 for g in groups]
    parts.append(np.var(neutral, ddof=1) / len(neutral))
    return float(sum(parts)) ** 0.5, intervals.satterthwaite(
        parts, [len(g) - 1 for g in (*groups, neutral)])


def verdict(found: Mapping[str, Any], alpha: float = 0.05, what: str = 'selectivity',
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
