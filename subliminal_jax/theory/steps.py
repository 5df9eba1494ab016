"""The two steps of the theorem, and what one does to the other's loss.

The teacher moves from the start by eps times `teacher_step`; the student sees its outputs on any
inputs and moves by alpha times `student_step` (arXiv 2507.14805, theorem 1).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees
from subliminal_jax.theory.losses import StudentLoss, covered

Apply = Callable[[Any, Any], jax.Array]
ADAM_EPSILON = 1e-8  # optax's default


def teacher_step(trait_loss: Callable[[Any], jax.Array], params: Any) -> Any:
    """dT = -grad L_T, for any differentiable L_T(params) -> scalar."""
    return trees.scale(jax.grad(trait_loss)(params), -1.0)


def positive(value: float, name: str) -> float:
    """The value, if it is a step size.

    Raises:
      UserError: it is not finite, or not above zero.
    """
    if isinstance(value, jax.core.Tracer):
        return value
    if not (np.ndim(value) == 0 and np.isfinite(value) and value > 0):
        raise UserError(f'{name} must be a number above zero, not {value}: the theorem speaks of '
                        'small steps forwards')
    return value


def teacher_outputs(apply: Apply, params: Any, direction: Any, eps: float, x: Any) -> jax.Array:
    """The labels: the outputs [B, ..., C] of the teacher, the start moved by eps * direction.

    Raises:
      UserError: eps <= 0, or a direction that is no tree like params.
    """
    positive(eps, 'eps')
    trees.check_same(params, direction, 'params', 'direction')
    return apply(trees.add(params, direction, eps), x)


def item_weights(batch: dict[str, Any], outputs_shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """The weight of every item (example, or position of one): `batch['weight']`, else ones."""
    weight = batch.get('weight')
    if weight is None:
        return jnp.ones(outputs_shape[:-1], dtype)
    weight = jnp.asarray(weight, dtype)
    missing = len(outputs_shape) - 1 - weight.ndim
    return jnp.broadcast_to(weight.reshape(weight.shape + (1,) * missing), outputs_shape[:-1])


def mean_loss(apply: Apply, loss: StudentLoss, params: Any, batch: dict[str, Any]) -> jax.Array:
    """The student's loss: the weighted mean over the batch's items."""
    outputs = apply(params, batch['x'])
    weight = item_weights(batch, outputs.shape, outputs.dtype)
    return jnp.sum(weight * loss.value(outputs, batch['targets'])) / jnp.sum(weight)


def student_step(apply: Apply, loss: StudentLoss, params: Any, batch: dict[str, Any]) -> Any:
    """dS = -grad of the student's mean loss against `batch['targets']`, a tree like params."""
    loss = covered(loss)
    return trees.scale(jax.grad(lambda p: mean_loss(apply, loss, p, batch))(params), -1.0)


def sign_step(step: Any) -> Any:
    """Sign descent's step for a gradient step: nothing is promised of it."""
    return jax.tree.map(jnp.sign, step)


def adam_first_step(step: Any) -> Any:
    """Adam's first step for a gradient step, learning rate 1: g / (|g| + 1e-8), bias corrected.

    Nothing is promised of it: it is sign descent down to gradients of 1e-8 and a gradient step
    below, so a small enough eps brings the theorem back.
    """
    return jax.tree.map(lambda g: g / (jnp.abs(g) + jnp.asarray(ADAM_EPSILON, g.dtype)), step)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    'sgd': lambda step: step, 'adam': adam_first_step, 'sign': sign_step,
}


def loss_change(
    trait_loss: Callable[[Any], jax.Array], params: Any, step: Any, alpha: float
) -> jax.Array:
    """L_T(params + alpha * step) - L_T(params)."""
    return trait_loss(trees.add(params, step, alpha)) - trait_loss(params)


def curvature(trait_loss: Callable[[Any], jax.Array], params: Any, step: Any) -> jax.Array:
    """step' H step, with H the Hessian of L_T at params: one Hessian-vector product, forwards."""
    def slope(p):
        return jax.jvp(trait_loss, (p,), (step,))[1]

    return jax.jvp(slope, (params,), (step,))[1]
