"""The numbers of the grid's cells, for every seed and every eps at once.

A program depends on the model and the precision alone: which loss, which logits, the inputs, the
starts and eps are data, so few programs are compiled. The three optimizers share the student's
gradient step, so they are computed together.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from subliminal_jax import theory
from subliminal_jax.theory import reach, trees
from subliminal_jax.theory.losses import StudentLoss
from subliminal_jax.theory.steps import adam_first_step, sign_step

BEYOND = 4  # decades past the largest eps that the search goes on
SPARSE = 4  # where nothing is promised, every fourth eps is enough


def either_loss(is_entropy: jax.Array, mask_C: jax.Array) -> StudentLoss:
    """Cross-entropy or squared error on the mask's logits, chosen by a traced flag."""
    one, two = (theory.masked_loss(n, mask_C) for n in ('cross_entropy', 'squared_error'))
    pick = [lambda *a, f=f, g=g: jnp.where(is_entropy, f(*a), g(*a))
            for f, g in zip(one[1:], two[1:])]
    return StudentLoss('either', *pick)


def one_seed(
    apply: Callable, trait_loss: Callable, loss: StudentLoss, teacher: Any, student: Any,
    x: Any, eps_E: jax.Array, alphas: dict[str, float],
) -> dict[str, jax.Array]:
    """Everything about one seed of a group of cells but how far the signs hold.

    Args:
      apply: the model.
      trait_loss: L_T.
      loss: the student's.
      teacher, student: their starts.
      x: the student's inputs.
      eps_E: the teacher's step sizes; Adam's and sign descent's cells take every fourth one.
      alphas: the student's step size by optimizer.

    Returns:
      Scalars and [E] arrays by name; those of an optimizer are named 'sgd/inner' and so on.
    """
    direction = theory.teacher_step(trait_loss, teacher)
    found = theory.expand(apply, loss, teacher, direction, x)
    links_E = theory.teacher_links(apply, loss, teacher, direction, x, eps_E)
    curve = theory.curve(
        apply, loss, teacher, direction, x, eps_E, student, links_E=links_E)
    before = trait_loss(student)
    outputs, pull = jax.vjp(lambda p: apply(p, x), student)
    items = outputs.size // outputs.shape[-1]

    def step_of(link):
        return pull((link - loss.link(outputs)) / items)[0]

    def change(step, name):
        return trait_loss(trees.add(student, step, alphas[name])) - before

    signs = trees.dot(sign_step(found.step), direction)

    def coordinatewise(row):
        eps, link = row
        step = step_of(link)
        adam, sign = adam_first_step(step), sign_step(step)
        linear = adam_first_step(trees.scale(found.step, eps))
        return {
            'adam/inner': trees.dot(adam, direction), 'adam/change': change(adam, 'adam'),
            'adam/predicted': trees.dot(linear, direction),
            'sign/inner': trees.dot(sign, direction), 'sign/change': change(sign, 'sign'),
            'sign/predicted': signs}

    return {
        'sgd/inner': curve.total, 'sgd/predicted': eps_E * found.first,
        'sgd/change': jax.lax.map(lambda link: change(step_of(link), 'sgd'), links_E),
        **jax.lax.map(coordinatewise, (eps_E[::SPARSE], links_E[::SPARSE])),
        'eps_second': reach.second_order_eps(found.first, found.second),
        'change_second': theory.loss_second_order(trait_loss, teacher, found, alphas['sgd']),
        'first': found.first, 'second': found.second, 'trait': curve.trait,
        'imitation': curve.imitation, 'floor': curve.floor, 'loss': before,
        'trait_slope': theory.trait_slope(apply, loss, teacher, direction, x, student),
        'step_norm': trees.norm(found.step), 'direction_norm': trees.norm(direction)}


def reach_of_seed(
    apply: Callable, trait_loss: Callable, loss: StudentLoss, start: Any, x: Any,
    eps_E: jax.Array, known_E: jax.Array, alpha_eps: float,
) -> dict[str, jax.Array]:
    """How far the signs hold for a gradient step from a shared start: eps and alpha, both ways.

    Args:
      apply, trait_loss, loss, x, eps_E: as for `one_seed`.
      start: of both.
      known_E: the inner product at eps_E; the search goes on from there.
      alpha_eps: the eps at which the largest alpha is sought.
    """
    direction = theory.teacher_step(trait_loss, start)
    outputs, v = jax.jvp(lambda p: apply(p, x), (start,), (direction,))
    base = loss.link(outputs)

    def link_at(eps):
        return loss.link(apply(trees.add(start, direction, eps), x))

    def inner(eps):
        return jnp.mean(jnp.sum(v * (link_at(eps) - base), axis=-1))

    _, pull = jax.vjp(lambda p: apply(p, x), start)
    items = outputs.size // outputs.shape[-1]
    step = pull((link_at(jnp.asarray(alpha_eps, eps_E.dtype)) - base) / items)[0]
    before = trait_loss(start)

    def fall(size):
        return before - trait_loss(trees.add(start, step, size))

    beyond = eps_E[-1] * 10.0 ** jnp.arange(1, BEYOND + 1)
    sizes = 10.0 ** jnp.arange(-3, 7)
    bend = theory.curvature(trait_loss, start, step)
    return {
        'eps_search': reach.search(
            inner, jnp.concatenate([eps_E, beyond.astype(eps_E.dtype)]), known=known_E),
        'alpha_search': reach.search(fall, sizes.astype(eps_E.dtype)),
        'alpha_second': reach.second_order_alpha(trees.dot(step, direction), bend),
    }


@functools.cache
def compiled(
    apply: Callable, trait_loss_of: Callable, alphas: tuple[tuple[str, float], ...],
    alpha_eps: float,
):
    """`one_seed` and `reach_of_seed` over seeds; families of the same functions share programs.

    Args:
      apply: the model.
      trait_loss_of: (a seed's taught examples) -> L_T.
      alphas: (optimizer, step size) pairs.
      alpha_eps: as for `reach_of_seed`.

    Returns:
      Two functions to arrays [M, ...] by name:
      (teachers [M], students [M], is_entropy, mask [C], x [M], taught [M], eps [E]), and
      (starts [M], is_entropy, mask [C], x [M], taught [M], eps [E], inner products [M, E]).
    """

    def run(teacher, student, is_entropy, mask_C, x, taught, eps_E):
        return one_seed(apply, trait_loss_of(taught), either_loss(is_entropy, mask_C), teacher,
                        student, x, eps_E, dict(alphas))

    def far(start, is_entropy, mask_C, x, taught, eps_E, known_E):
        return reach_of_seed(apply, trait_loss_of(taught), either_loss(is_entropy, mask_C), start,
                             x, eps_E, known_E, alpha_eps)

    return (jax.jit(jax.vmap(run, in_axes=(0, 0, None, None, 0, 0, None))),
            jax.jit(jax.vmap(far, in_axes=(0, None, None, 0, 0, None, 0))))
