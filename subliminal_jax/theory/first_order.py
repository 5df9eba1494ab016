"""The first-order alignment check: does a student's step go where its teacher went?"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees
from subliminal_jax.theory.losses import StudentLoss, covered
from subliminal_jax.theory.steps import Apply, item_weights, loss_change, positive


class Alignment(NamedTuple):
    """What `alignment` returns.

    Attributes:
      per_example: [B], -grad(l_i) . direction, each example's weighted sum over its items.
      mean: their sum over the sum of weights: dS . direction, the student's step being
        dS = -grad of the mean loss.
      cosine: between dS and direction.
      step_norm, direction_norm: their lengths.
      gauss_newton_per_example: [B], v' M v summed over the example's items, v the directional
        derivative of the outputs along direction, M of the student's loss at params.
      gauss_newton: its mean, A >= 0. Where the targets are the outputs at
        params + eps * direction, mean = eps * A + O(eps^2) (arXiv 2507.14805).
      predicted_change: alpha * dS . grad(trait_loss), or None without a trait_loss.
      actual_change: trait_loss(params + alpha * dS) - trait_loss(params), or None.
    """

    per_example: jax.Array
    mean: jax.Array
    cosine: jax.Array
    step_norm: jax.Array
    direction_norm: jax.Array
    gauss_newton_per_example: jax.Array
    gauss_newton: jax.Array
    predicted_change: jax.Array | None
    actual_change: jax.Array | None


def alignment(
    apply: Apply,
    student_loss: StudentLoss,
    params: Any,
    direction: Any,
    batch: dict[str, Any],
    trait_loss: Callable[[Any], jax.Array] | None = None,
    *,
    alpha: float = 1.0,
    chunk_size: int | None = None,
) -> Alignment:
    """The student's step at params against a direction.

    One jvp gives every example's number; no per-example gradient, no Jacobian and no M is formed.
    The cosine takes one gradient.

    Args:
      apply: (params, x) -> outputs [B, ..., C].
      student_loss: `squared_error(weights)` or `cross_entropy(ids)`.
      params: where the student stands; any pytree.
      direction: a tree like params: teacher - start, or -grad L_T.
      batch: `x` (any tree with a leading axis B), `targets` (the teacher's outputs [B, ..., C], or
        token ids [B, ...]), optionally `weight` ([B] or [B, ...]).
      trait_loss: params -> L_T, for its predicted and actual change.
      alpha: the student's step size, for those two alone.
      chunk_size: how many examples are worked on at once; None for all. Memory is that of a chunk.

    Raises:
      UserError: a loss that the theorem does not cover, trees that differ (the first leaf that
        does is named), float64 while it is disabled, alpha <= 0.
    """
    loss = covered(student_loss)
    positive(alpha, 'alpha')
    trees.check_same(params, direction, 'params', 'direction')
    trees.check_precision(params, direction)

    inner, form, weight = _by_chunks(
        partial(_forward, apply, loss, params, direction), batch, chunk_size)
    total = jnp.sum(weight)
    slope = _summed_by_chunks(partial(_gradient, apply, loss, params), batch, chunk_size)
    step = trees.scale(slope, -1 / total)
    predicted = actual = None
    if trait_loss is not None:
        predicted = alpha * jax.jvp(trait_loss, (params,), (step,))[1]
        actual = loss_change(trait_loss, params, step, alpha)
    return Alignment(
        inner, jnp.sum(inner) / total, trees.cosine(step, direction), trees.norm(step),
        trees.norm(direction), form, jnp.sum(form) / total, predicted, actual)


def _forward(apply, loss, params, direction, part):
    """Per example [B]: -grad . direction, the Gauss-Newton form, the weight; by one jvp."""
    def run(p):
        outputs = apply(p, part['x'])
        return loss.value(outputs, part['targets']), outputs

    (_, outputs), (slope, v) = jax.jvp(run, (params,), (direction,))
    weight = item_weights(part, outputs.shape, outputs.dtype)
    form = jnp.sum(v * loss.metric(outputs, v), axis=-1)
    return tuple(_per_example(weight * q) for q in (-slope, form, jnp.ones_like(slope)))


def _gradient(apply, loss, params, part):
    """The gradient of the summed loss."""
    def total(p):
        outputs = apply(p, part['x'])
        weight = item_weights(part, outputs.shape, outputs.dtype)
        return jnp.sum(weight * loss.value(outputs, part['targets']))

    return jax.grad(total)(params)


def _per_example(x: jax.Array) -> jax.Array:
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)


def _batch_size(batch: dict[str, Any]) -> int:
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1:
        raise UserError(f'the parts of the batch have different numbers of examples: '
                        f'{sorted(sizes)}')
    return sizes.pop()


def _split(batch: dict[str, Any], chunk: int) -> tuple[Any, Any]:
    """Whole chunks [n, chunk, ...], and the rest (None if there is none)."""
    count = _batch_size(batch)
    whole = count // chunk * chunk
    parts = jax.tree.map(lambda a: a[:whole].reshape(-1, chunk, *a.shape[1:]), batch)
    return parts, None if whole == count else jax.tree.map(lambda a: a[whole:], batch)


def _by_chunks(function, batch, chunk):
    """function over examples, chunk after chunk; its results are joined along the examples."""
    if chunk is None or chunk >= _batch_size(batch):
        return function(batch)
    positive(chunk, 'chunk_size')
    parts, rest = _split(batch, chunk)
    made = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), jax.lax.map(function, parts))
    if rest is None:
        return made
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), made, function(rest))


def _summed_by_chunks(function, batch, chunk):
    """The sum of function over chunks of examples."""
    if chunk is None or chunk >= _batch_size(batch):
        return function(batch)
    parts, rest = _split(batch, chunk)
    first = function(jax.tree.map(lambda a: a[0], parts)) if rest is None else function(rest)
    remaining = jax.tree.map(lambda a: a[1:], parts) if rest is None else parts

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    return jax.lax.scan(add, first, remaining)[0]


def gauss_newton_form(
    apply: Apply, student_loss: StudentLoss, params: Any, direction: Any, x: Any,
    weight: jax.Array | None = None, *, chunk_size: int | None = None,
) -> jax.Array:
    """A = E[v' M v] by one jvp, in the memory of a chunk's forward pass; no targets are needed.

    Args:
      apply, student_loss, params, direction: as for `alignment`.
      x: inputs with a leading axis B.
      weight: of the items; None for ones.
      chunk_size: examples at once.
    """
    loss = covered(student_loss)
    trees.check_same(params, direction, 'params', 'direction')
    trees.check_precision(params, direction)
    batch = {'x': x} if weight is None else {'x': x, 'weight': weight}

    def forward(part):
        outputs, v = jax.jvp(lambda p: apply(p, part['x']), (params,), (direction,))
        w = item_weights(part, outputs.shape, outputs.dtype)
        return (_per_example(w * jnp.sum(v * loss.metric(outputs, v), axis=-1)), _per_example(w))

    form, weights = _by_chunks(forward, batch, chunk_size)
    return jnp.sum(form) / jnp.sum(weights)
