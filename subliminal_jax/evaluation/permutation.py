"""The permutation test: had the teachers worn each other's trait names, would gamma be as large?

Under no transmission the students of one reference's teachers are exchangeable in what they say of
the traits, so every assignment of the names to the teachers was equally likely. Names move within
a reference only. The test is one-sided: transmission is a rise.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

EXACT_UP_TO = 200_000  # assignments; beyond, seeded draws: of exact level too, less fine
DRAWS = 20_000


def assignments(counts: Sequence[int]) -> int:
    """How many ways there are to give trait t to counts[t] teachers."""
    total = math.factorial(sum(counts))
    for count in counts:
        total //= math.factorial(count)
    return total


@functools.lru_cache(maxsize=16)
def _every_assignment(counts: tuple[int, ...]) -> np.ndarray:
    """All assignments [N, S] of trait numbers to teachers, each once."""
    made = np.zeros((1, 0), np.int8)
    left = np.array([counts], np.int8)
    for _ in range(sum(counts)):
        row, trait = np.nonzero(left > 0)
        made = np.concatenate([made[row], trait[:, None].astype(np.int8)], 1)
        left = left[row]
        left[np.arange(len(row)), trait] -= 1
    return made


def permutation_test(
    scores: Sequence[np.ndarray], traits: Sequence[np.ndarray], seed: int = 0,
    exact_up_to: int = EXACT_UP_TO, draws: int = DRAWS,
) -> dict[str, Any]:
    """One-sided p of the sum over references and teachers s of scores[s, trait of s].

    Args:
      scores: per reference [S, K]: what teacher s adds to the statistic under the name of trait t.
      traits: per reference [S]: the trait numbers that the teachers have.
      seed: of the draws, where there are too many assignments to walk through.
      exact_up_to: walk through all assignments of all references if there are no more than these.
      draws: otherwise, how many to draw.

    Returns:
      {'p', 'p_attainable', 'assignments', 'exact'}: p_attainable is the smallest p that any outcome
      of this design could have had.
    """
    counts = [tuple(np.bincount(t, minlength=s.shape[1])) for s, t in zip(scores, traits)]
    total = math.prod(map(assignments, counts))
    observed = sum(s[np.arange(len(t)), t].sum() for s, t in zip(scores, traits))
    slack = 1e-9 * sum(np.abs(s).sum() for s in scores)  # sums of the same numbers, other order
    if total <= exact_up_to:
        sums = np.zeros(1)
        for score, count in zip(scores, counts):
            own = _sums(score, _every_assignment(count))
            sums = (sums[:, None] + own[None]).reshape(-1)
        p, smallest = float((sums >= observed - slack).mean()), 1 / total
    else:
        rng = np.random.default_rng([seed, 0x9E57])
        sums = np.zeros(draws)
        for score, trait in zip(scores, traits):
            sums += _sums(score, rng.permuted(np.tile(trait, (draws, 1)), axis=1))
        p = float((1 + (sums >= observed - slack).sum()) / (1 + draws))
        smallest = max(1 / total, 1 / (1 + draws))
    return {'p': p, 'p_attainable': smallest, 'assignments': total, 'exact': total <= exact_up_to}


def _sums(score: np.ndarray, assigned: np.ndarray) -> np.ndarray:
    """The statistic under each assignment [N, S]."""
    total = np.zeros(len(assigned))
    for teacher in range(len(score)):
        total += score[teacher][assigned[:, teacher]]
    return total
