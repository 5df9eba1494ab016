"""Do the intervals cover, and does the test err as often as it says? Simulated, by design.

Worlds draw y with everything that real teachers have been seen to share: rows, columns of their
reference, likeness of traits, unequal strength of traits and teachers, references that transmit
more or less, and students who move along their reference's columns by more or less, as their trait
has it. Nothing here looks at a model: the same check on trained ones is an experiment.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.evaluation import gamma as gammas, intervals, least_squares


class World(NamedTuple):
    """A design and its noise; standard deviations in nats."""

    num_traits: int = 5
    teachers_per_trait: int = 2
    num_references: int = 1
    gamma: float = 0.0
    row_sd: float = 0.5  # a student's move on all traits
    column_sd: float = 0.5  # a reference's students' common move on one trait
    cell_sd: float = 0.2  # one student, one trait
    likeness: float = 0.0  # correlation of a student's cells among neighbouring traits
    teacher_sd: float = 0.0  # of gamma between teachers
    trait_sd: float = 0.0  # of gamma between traits
    reference_sd: float = 0.0  # of gamma between references
    trait_scale_sd: float = 0.0  # of the share by which a trait's students move along the columns


def draw(world: World, rng: np.random.Generator) -> tuple[dict, dict, dict, dict[str, float]]:
    """(y, trait_of_teacher, reference_of_teacher, the true gamma by the interval's unit).

    The students of a trait's teachers move by (1 + scale) x the reference's columns, with one scale
    a trait: no transmission, since it does not favour the own column. An interval over traits is
    about traits of this kind; others are about the traits that were drawn.
    """
    width, each = world.num_traits, world.teachers_per_trait
    distance = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
    alike = np.linalg.cholesky(np.power(world.likeness, distance) + 1e-12 * np.eye(width))
    of_trait = rng.normal(0, world.trait_sd, width)
    scale = 1 + rng.normal(0, world.trait_scale_sd, width)
    y, traits, references = {}, {}, {}
    for r in range(world.num_references):
        columns = rng.normal(0, world.column_sd, width)
        of_reference = rng.normal(0, world.reference_sd)
        for t in range(width):
            for n in range(each):
                name = f'r{r}t{t}n{n}'
                row = rng.normal(0, world.row_sd) + scale[t] * columns
                row = row + world.cell_sd * alike @ rng.normal(size=width)
                row[t] += (world.gamma + of_trait[t] + of_reference
                           + rng.normal(0, world.teacher_sd))
                y[name] = {f't{k}': float(v) for k, v in enumerate(row)}
                traits[name], references[name] = f't{t}', f'r{r}'
    given = world.gamma + float(of_trait.mean())
    return y, traits, references, {'trait': world.gamma, 'teacher': given, 'reference': given}


def calibrate(
    world: World, runs: int, seed: int = 0, level: float = 0.95, permutations: int = 0,
    sample: Callable = draw, teachers: bool = False,
) -> dict[str, Any]:
    """How often the interval covers the truth and excludes 0, over simulated runs.

    Args:
      world: what is drawn.
      runs: how many times.
      seed: of all draws.
      level: of the interval.
      permutations: draws of the permutation test, or 0 to leave it out.
      sample: (world, rng) -> (y, trait_of_teacher, reference_of_teacher, truth by unit).
      teachers: whether the interval over teachers is looked at, in place of the leading one.

    Returns:
      {'coverage', 'excludes_zero', 'p_under_alpha' (None without permutations): each a proportion
      with its interval, 'half_width': the interval's mean half width, nats}.
    """
    rng = np.random.default_rng([seed, 0xCA11])
    covered = excluded = rejected = 0
    widths = []
    for run in range(runs):
        y, traits, references, truth = sample(world, rng)
        blocks = least_squares.blocks(y, traits, references)
        found = least_squares.estimate_with_error(blocks)
        error, unit = (found['se'], found['dof']), found['unit']
        if teachers:
            error, unit = found['teachers'], 'teacher'
        low, high = intervals.around(found['estimate'], *error, level)
        covered += low <= truth[unit] <= high
        excluded += not low <= 0 <= high
        widths.append((high - low) / 2)
        if permutations:
            test = gammas.names_test(blocks, seed=run, exact_up_to=1000, draws=permutations)
            rejected += test['p'] <= 1 - level
    return {
        'coverage': intervals.proportion(covered, runs),
        'excludes_zero': intervals.proportion(excluded, runs),
        'p_under_alpha': intervals.proportion(rejected, runs) if permutations else None,
        'half_width': float(np.mean(widths)),
    }


def error_rates(
    found: Sequence[Mapping[str, Any]], truth: float = 0.0, alpha: float = 0.05,
    clusters: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """The same shares of runs that were trained, not drawn: an A/A test, or planted effects.

    Args:
      found: results of `gamma.gamma`, one a run.
      truth: the effect that was planted; 0 in an A/A test (neutral teachers under trait names).
      alpha: of the permutation test.
      clusters: what each run shares with others (its pre-trained reference); None: runs are
        independent.

    Returns:
      {'coverage', 'excludes_zero', 'p_under_alpha', 'transmits'}: proportions with their intervals,
      Wilson's, or with clusters those of whole clusters drawn again (`intervals.resampled_share`);
      the last is what the verdict asks: an interval above 0, and p. Runs without an interval
      count in `p_under_alpha` alone.
    """
    own = list(range(len(found))) if clusters is None else clusters
    whole = [(f, cluster) for f, cluster in zip(found, own) if f['ci95'] is not None]

    def share(of, rule):
        hits = [bool(rule(f)) for f, _ in of]
        if clusters is None:
            return intervals.proportion(sum(hits), len(hits))
        return intervals.resampled_share(hits, [cluster for _, cluster in of])

    return {
        'coverage': share(whole, lambda f: f['ci95'][0] <= truth <= f['ci95'][1]),
        'excludes_zero': share(whole, lambda f: not f['ci95'][0] <= 0 <= f['ci95'][1]),
        'p_under_alpha': share(list(zip(found, own)), lambda f: f['p'] <= alpha),
        'transmits': share(whole, lambda f: f['p'] <= alpha and f['ci95'][0] > 0),
    }
