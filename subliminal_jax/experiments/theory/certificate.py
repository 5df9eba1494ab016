"""A linear model's certified eps, from constants that can be written down."""

from typing import Any

import jax
import numpy as np

from subliminal_jax import theory
from subliminal_jax.theory import reach


def certificates(
    loss_name: str, family: Any, teachers: Any, x: Any, mask_C: np.ndarray, made: dict, alpha: float
) -> np.ndarray:
    """Each seed's eps below which the teacher's loss must fall, [M]; NaN where A = 0.

    The model is softmax regression, so grad L_T has the Lipschitz constant
    lambda_max(E[x~ x~']) / 2, x~ being a taught example with the bias's 1 (the largest eigenvalue
    of a softmax's M is at most a half).

    Args:
      loss_name: the student's.
      family: a models.Family of the linear model.
      teachers: their starts [M].
      x: the students' inputs [M, B, P].
      mask_C: the logits that the student's loss sees.
      made: A and |s| as 'first' and 'step_norm', [M].
      alpha: the student's step size.
    """

    def pushed(teacher, x, taught):
        direction = theory.teacher_step(family.trait_loss_of(taught), teacher)
        return jax.jvp(lambda p: family.apply(p, x), (teacher,), (direction,))[1]

    v_MBC = np.asarray(jax.jit(jax.vmap(pushed))(teachers, x, family.taught))[..., mask_C]
    spread_MB = v_MBC.max(axis=-1) - v_MBC.min(axis=-1)
    length_MB = np.sqrt(1 + np.sum(np.asarray(x) ** 2, axis=-1))
    bounds = []
    for m in range(len(v_MBC)):
        seen = np.asarray(family.taught[0][m])
        seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
        smooth = np.linalg.eigvalsh(seen @ seen.T / len(seen))[-1] / 2
        bound = reach.certified_eps_linear(
            loss_name, float(made['first'][m]), float(made['step_norm'][m]), smooth, alpha,
            reach.THIRD_MOMENT * np.mean(spread_MB[m] ** 3),
            np.mean(spread_MB[m] * length_MB[m]) / 2)
        bounds.append(np.nan if bound is None else bound)
    return np.asarray(bounds)
