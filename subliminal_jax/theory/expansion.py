"""The inner product dS . dT as a function of eps: its curve, its Taylor terms, and its rounding.

With z(e) the outputs at theta_0 + e dT, t the loss's link and v = z'(0) = J dT, the student's step
dS = E[J' (t(z(eps)) - t(z(0)))] gives

  dS . dT = E[v . (t(z(eps)) - t(z(0)))] = eps A + eps^2 B + O(eps^3),
  A = E[v' M v],   B = E[v . (t o z)''(0)] / 2,

exactly, so a whole curve over eps costs forward passes only. For softmax cross-entropy
B = E[k3(v) + v' M z''(0)] / 2, with k3 the third central moment of v under the softmax p; for
squared error with weights w it is E[v . w z''(0)]. The teacher's loss after the student's step
alpha is, with s = dS'(0) = E[J' M v] and H the Hessian of L_T,

  L_T(theta_0 + alpha dS) - L_T(theta_0) = -alpha eps A + eps^2 (alpha^2 s'H s / 2 - alpha B) + ...
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.theory import trees
from subliminal_jax.theory.losses import StudentLoss, covered
from subliminal_jax.theory.steps import Apply, curvature, item_weights


class Expansion(NamedTuple):
    """Taylor coefficients at eps = 0, for a student that shares the teacher's start.

    Attributes:
      first: A, of dS . dT by eps; the Gauss-Newton form, never negative.
      second: B, of dS . dT by eps^2.
      step: s = dS'(0), a tree like params.
    """

    first: jax.Array
    second: jax.Array
    step: Any


def expand(
    apply: Apply, student_loss: StudentLoss, params: Any, direction: Any, x: Any,
    weight: jax.Array | None = None,
) -> Expansion:
    """A, B and s (module docstring) by nested jvps and one vjp: no Jacobian is formed."""
    loss = covered(student_loss)
    trees.check_same(params, direction, 'params', 'direction')
    trees.check_precision(params, direction)
    outputs, v = jax.jvp(lambda p: apply(p, x), (params,), (direction,))
    w = _shares(weight, outputs)
    pushed = loss.metric(outputs, v)

    def slope(at):
        def linked(p):
            return loss.link(apply(p, x))

        return jax.jvp(linked, (at,), (direction,))[1]

    bend = jax.jvp(slope, (params,), (direction,))[1]
    _, pull = jax.vjp(lambda p: apply(p, x), params)
    return Expansion(
        jnp.sum(w * jnp.sum(v * pushed, axis=-1)),
        jnp.sum(w * jnp.sum(v * bend, axis=-1)) / 2,
        pull(w[..., None] * pushed)[0])


def loss_second_order(
    trait_loss: Callable[[Any], jax.Array], params: Any, found: Expansion, alpha: float
) -> jax.Array:
    """The eps^2 coefficient of L_T(theta_0 + alpha dS) - L_T(theta_0), dT being -grad L_T."""
    return alpha**2 / 2 * curvature(trait_loss, params, found.step) - alpha * found.second


class Curve(NamedTuple):
    """dS . direction over eps, in two parts.

    Attributes:
      imitation: scalar, the part that is there without any trait, E[v_S . (t(z_T(0)) - t(z_S))]:
        the student imitates the untrained teacher. Zero for a shared start.
      trait: [E], the rest: dS(trained teacher) - dS(untrained teacher), along direction.
      floor: [E], about how far rounding moves either.
    """

    imitation: jax.Array
    trait: jax.Array
    floor: jax.Array

    @property
    def total(self) -> jax.Array:
        """dS . direction, [E]."""
        return self.imitation + self.trait


def teacher_links(
    apply: Apply, student_loss: StudentLoss, teacher: Any, direction: Any, x: Any,
    eps_E: jax.Array,
) -> jax.Array:
    """t(z(eps)), [E, B, ..., C]: the teacher's outputs through the loss's link, one eps at a time.

    Args:
      as for `curve`.
    """
    loss = covered(student_loss)
    return jax.lax.map(lambda e: loss.link(apply(trees.add(teacher, direction, e), x)), eps_E)


def curve(
    apply: Apply, student_loss: StudentLoss, teacher: Any, direction: Any, x: Any,
    eps_E: jax.Array, student: Any = None, weight: jax.Array | None = None,
    links_E: jax.Array | None = None,
) -> Curve:
    """The exact inner product over eps, by forward passes only.

    Args:
      apply, student_loss: as for `alignment`.
      teacher: theta_0, the teacher's start; the teacher is at teacher + eps * direction.
      direction: dT, a tree like it.
      x: inputs [B, ...].
      eps_E: the values of eps.
      student: the student's start; None where it is the teacher's.
      weight: of the items; None for ones.
      links_E: what `teacher_links` gives, where it is at hand.

    Raises:
      UserError: trees that differ, float64 while it is disabled, a loss that is not covered.
    """
    loss = covered(student_loss)
    student = teacher if student is None else student
    trees.check_same(teacher, direction, 'teacher', 'direction')
    trees.check_same(teacher, student, 'teacher', 'student')
    trees.check_precision(teacher, direction, student)
    outputs, v = jax.jvp(lambda p: apply(p, x), (student,), (direction,))
    w = _shares(weight, outputs)[..., None]
    untrained = loss.link(apply(teacher, x))
    if links_E is None:
        links_E = teacher_links(apply, loss, teacher, direction, x, eps_E)
    axes = tuple(range(1, links_E.ndim))
    trait = jnp.sum((w * v)[None] * (links_E - untrained[None]), axis=axes)
    size = jnp.sum((w * jnp.abs(v))[None] * jnp.abs(links_E), axis=axes)
    imitation = jnp.sum(w * v * (untrained - loss.link(outputs)))
    return Curve(imitation, trait, size * jnp.finfo(outputs.dtype).eps)


def trait_slope(
    apply: Apply, student_loss: StudentLoss, teacher: Any, direction: Any, x: Any, student: Any,
    weight: jax.Array | None = None,
) -> jax.Array:
    """The eps coefficient of the trait part: E[v_S' M_T v_T]; A where the starts are one.

    Between different starts it is a product of two derivatives, so its sign is free.
    """
    loss = covered(student_loss)
    v_student = jax.jvp(lambda p: apply(p, x), (student,), (direction,))[1]
    outputs, v_teacher = jax.jvp(lambda p: apply(p, x), (teacher,), (direction,))
    w = _shares(weight, outputs)
    return jnp.sum(w * jnp.sum(v_student * loss.metric(outputs, v_teacher), axis=-1))


def _shares(weight: jax.Array | None, outputs: jax.Array) -> jax.Array:
    batch = {} if weight is None else {'weight': weight}
    w = item_weights(batch, outputs.shape, outputs.dtype)
    return w / jnp.sum(w)
