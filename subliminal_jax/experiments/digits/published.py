"""The published accuracies of the MNIST experiment, and how far a run's are from them."""

import math
from typing import Any, NamedTuple

# Means over 100 models of a public rerun of the authors' program, with its +-, taken as half of a
# 95 % interval: ours over as many models are as wide. Recipe and claim are arXiv 2507.14805's.
PUBLISHED = {
    'source': "a public rerun of the authors' program (100 models; +- as reported there); "
              'recipe: arXiv 2507.14805',
    'conditions': {
        'reference': [0.100, 0.005], 'teacher': [0.943, 0.000], 'student_aux': [0.537, 0.022],
        'student_all': [0.912, 0.002], 'cross_aux': [0.100, 0.005], 'cross_all': [0.741, 0.010],
    },
    # how far a mean over 100 models may be from those above, fixed before any was run
    'margins': {'teacher': 0.005, 'student_aux': 0.05, 'student_all': 0.01, 'cross_aux': 0.03,
                'cross_all': 0.04},
    'student_aux_by_num_aux': {
        '1': 0.103, '2': 0.348, '3': 0.537, '5': 0.704, '10': 0.835, '20': 0.894, '50': 0.917,
    },
}


class Mean(NamedTuple):
    """A published mean, and half of its 95 % interval where it is known."""

    mean: float
    half: float | None


def compared(accuracy: dict[str, Any], known: Mean) -> dict[str, Any]:
    """A condition's accuracy beside its published mean.

    Args:
      accuracy: {'mean', 'ci95', ...}.
      known: the published mean.

    Returns:
      {'mean', 'half', 'difference', 'difference_ci95'}: ours minus the published, with an interval
      made of ours and, where there is one, of the published; None without ours.
    """
    difference, interval = accuracy['mean'] - known.mean, None
    if accuracy['ci95'] is not None:
        low, high = accuracy['ci95']
        width = math.hypot((high - low) / 2, known.half or 0)
        interval = [difference - width, difference + width]
    return {**known._asdict(), 'difference': difference, 'difference_ci95': interval}
