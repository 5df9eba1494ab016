"""A linear probe: ridge regression of the ten classes on a network's last hidden layer.

It says what a body holds in a form that a linear map can read, once digits with labels are shown to
the probe. It does not say that the network would ever use it: an untrained body already holds a
good deal. So a probe counts only less the same probe on the untrained start, and on a student of a
placebo teacher.
"""

import numpy as np
from scipy import linalg


def ridge(zz_FF: np.ndarray, zy_FC: np.ndarray, strength: float) -> np.ndarray:
    """The closed form in float64, from sums over images.

    Args:
      zz_FF: sum of z z' [F + 1, F + 1], z being F features and a one.
      zy_FC: sum of z y' [F + 1, C].
      strength: the penalty, as a share of the features' mean variance; the one has none.

    Returns:
      Weights [F + 1, C] of least |y - W' z|^2 / n + penalty |W|^2.
    """
    zz, zy = np.asarray(zz_FF, np.float64), np.asarray(zy_FC, np.float64)
    count = zz[-1, -1]
    mean_F, mean_C = zz[:-1, -1] / count, zy[-1] / count
    # centred, the constant drops out of the system, and no penalty falls on it
    covariance = zz[:-1, :-1] / count - np.outer(mean_F, mean_F)
    cross = zy[:-1] / count - np.outer(mean_F, mean_C)
    features = len(mean_F)
    penalty = strength * max(np.trace(covariance) / features, 1e-100)  # of a dead layer
    weights = linalg.solve(covariance + penalty * np.eye(features), cross, assume_a='pos')
    return np.vstack([weights, mean_C - mean_F @ weights])
