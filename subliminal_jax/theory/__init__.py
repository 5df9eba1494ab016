"""The theorem of subliminal learning, checked: for any `apply(params, x)` and any pytree.

A teacher moves from the start by eps * dT with dT = -grad L_T; a student of the same start takes
one gradient step dS on the teacher's outputs, on any inputs, by squared error or softmax
cross-entropy. Then dS . dT = eps A + O(eps^2) with A = E[v' M v] >= 0 (arXiv 2507.14805,
theorem 1).
"""

from subliminal_jax.theory.expansion import (
    Curve as Curve,
    Expansion as Expansion,
    curve as curve,
    expand as expand,
    loss_second_order as loss_second_order,
    teacher_links as teacher_links,
    trait_slope as trait_slope,
)
from subliminal_jax.theory.first_order import (
    Alignment as Alignment,
    alignment as alignment,
    gauss_newton_form as gauss_newton_form,
)
from subliminal_jax.theory.losses import (
    StudentLoss as StudentLoss,
    cross_entropy as cross_entropy,
    masked_loss as masked_loss,
    squared_error as squared_error,
)
from subliminal_jax.theory.steps import (
    curvature as curvature,
    loss_change as loss_change,
    student_step as student_step,
    teacher_outputs as teacher_outputs,
    teacher_step as teacher_step,
)
