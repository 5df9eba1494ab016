"""Do the intervals cover, and does the test err as often as it says? Simulated, by design.

Worlds draw y with everything that real teachers have been seen to share: rows, columns of their
reference, likeness of traits, unequal strength of traits and teachers, and references that transmit
more or less. Nothing here looks at a model: the same check on trained ones is an experiment.
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


def draw(world: World, rng: np.random.Generator) -> tuple[dict, dict, dict, float]:
    """(y, trait_of_teacher, reference_of_teacher, the true gamma of these traits)."""
    width, each = world.num_traits, world.teachers_per_trait
    distance = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
    alike = np.linalg.cholesky(np.power(world.likeness, distance) + 1e-12 * np.eye(width))
    of_trait = rng.normal(0, world.trait_sd, width)
    y, traits, references = {}, {}, {}
    for r in range(world.num_references):
        columns = rng.normal(0, world.column_sd, width)
        of_reference = rng.normal(0, world.reference_sd)
        for t in range(width):
            for n in range(each):
                name = f'r{r}t{t}n{n}'
                row = rng.normal(0, world.row_sd) + columns
                row = row + world.cell_sd * alike @ rng.normal(size=width)
                row[t] += (world.gamma + of_trait[t] + of_reference
                           + rng.normal(0, world.teacher_sd))
                y[name] = {f't{k}': float(v) for k, v in enumerate(row)}
                traits[name], references[name] = f't{t}', f'r{r}'
    return y, traits, references, world.gamma + float(of_trait.mean())


def calibrate(
    world: World, runs: int, seed: int = 0, level: float = 0.95, permutations: int = 0,
    sample: Callable = draw,
) -> dict[str, Any]:
    """How often the interval covers the truth and excludes 0, over simulated runs.

    Args:
      world: what is drawn.
      runs: how many times.
      seed: of all draws.
      level: of the interval.
      permutations: draws of the permutation test, or 0 to leave it out.
      sample: (world, rng) -> (y, trait_of_teacher, reference_of_teacher, truth).

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
        low, high = intervals.around(found['estimate'], found['se'], found['dof'], level)
        covered += low <= truth <= high
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
    found: Sequence[Mapping[str, Any]], truth: float = 0.0, alpha: float = 0.05
) -> dict[str, Any]:
    """The same shares of runs that were trained, not drawn: an A/A test, or planted effects.

    Args:
      found: results of `gamma.gamma`, one an independent run.
      truth: the effect that was planted; 0 in an A/A test (neutral teachers under trait names).
      alpha: of the permutation test.

    Returns:
      {'coverage', 'excludes_zero', 'p_under_alpha', 'transmits'}: proportions with their intervals;
      the last is what the verdict asks: an interval above 0, and p. Runs without an interval
      count in `p_under_alpha` alone.
    """
    ends = [f['ci95'] for f in found if f['ci95'] is not None]
    return {
        'coverage': intervals.proportion(sum(a <= truth <= b for a, b in ends), len(ends)),
        'excludes_zero': intervals.proportion(sum(not a <= 0 <= b for a, b in ends), len(ends)),
        'p_under_alpha': intervals.proportion(sum(f['p'] <= alpha for f in found), len(found)),
        'transmits': intervals.proportion(sum(
            f['p'] <= alpha and f['ci95'][0] > 0 for f in found if f['ci95']), len(ends)),
    }
