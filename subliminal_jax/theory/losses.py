"""The losses of which the theorem speaks: squared error, and softmax cross-entropy.

Both have one shape: with outputs z and a teacher's outputs y, the gradient by z is t(z) - t(y) for
a monotone map t, the *link*: t(z) = 2 w z for squared error with weights w, and the softmax over
the chosen logits for cross-entropy. Its derivative M is positive semi-definite, which is all that
the lemma needs (arXiv 2507.14805, theorem 1).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.runs import UserError

OUT = -1e30  # stands for minus infinity without making NaN of 0 * inf


class StudentLoss(NamedTuple):
    """A loss that a student may be trained by under the theorem.

    Attributes:
      name: for messages.
      value: (outputs z [..., C], targets) -> loss [...]. Targets are the teacher's outputs
        [..., C] or, for cross-entropy, token ids [...] (integers).
      link: z [..., C] -> t(z) [..., C]; the loss's gradient by z is t(z) - t(targets).
      metric: (z [..., C], v [..., C]) -> M v, with M the derivative of the link at z.
    """

    name: str
    value: Callable[[jax.Array, jax.Array], jax.Array]
    link: Callable[[jax.Array], jax.Array]
    metric: Callable[[jax.Array, jax.Array], jax.Array]


def squared_error(weights: Any = None) -> StudentLoss:
    """sum_c w_c (z_c - y_c)^2, so that M = 2 diag(w).

    Args:
      weights: [C], not negative, a zero leaving an output out; None for all ones.

    Raises:
      UserError: a negative or non-finite weight, or not one weight an output.
    """
    if weights is not None and not isinstance(weights, jax.core.Tracer):
        array = np.asarray(weights)
        if array.ndim != 1 or not np.all(np.isfinite(array)) or np.any(array < 0):
            raise UserError('squared_error takes one finite weight >= 0 for each output: with a '
                            'negative weight M is not positive and the theorem does not hold')

    def w(z):
        if weights is None:
            return jnp.ones(z.shape[-1:], z.dtype)
        if np.shape(weights) != z.shape[-1:]:
            raise UserError(f'squared_error has {np.shape(weights)[0]} weights and the model '
                            f'{z.shape[-1]} outputs: give one weight for each output')
        return jnp.asarray(weights, z.dtype)

    def link(z):
        return 2 * _wide(w(z), z) * z

    def value(z, targets):
        if jnp.issubdtype(targets.dtype, jnp.integer):
            raise UserError('squared_error needs the outputs of the teacher as targets, not token '
                            'ids: use cross_entropy')
        return jnp.sum(_wide(w(z), z) * (z - targets) ** 2, axis=-1)

    return StudentLoss('squared_error', value, link, lambda z, v: 2 * _wide(w(z), z) * v)


def cross_entropy(ids: Any = None) -> StudentLoss:
    """-sum_c p_c(y) log p_c(z), p the softmax over chosen logits: M = diag(p) - p p'.

    Args:
      ids: which logits: a sequence of indices, a bool mask [C] (which may be traced), or None for
        all of them.

    Raises:
      UserError: (when outputs are seen) an index that the model does not have, or none at all.
    """
    if ids is not None and not isinstance(ids, jax.core.Tracer):
        ids = np.asarray(list(ids) if isinstance(ids, range) else ids)

    def masked(z):
        mask = _mask(ids, z.shape[-1])
        return z if mask is None else jnp.where(_wide(mask, z), z, jnp.asarray(OUT, z.dtype))

    def link(z):
        return jax.nn.softmax(masked(z), axis=-1)

    def value(z, targets):
        log_p = jax.nn.log_softmax(masked(z), axis=-1)
        if jnp.issubdtype(targets.dtype, jnp.integer):
            return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
        p_y = link(targets)
        return -jnp.sum(jnp.where(p_y > 0, p_y * log_p, 0), axis=-1)

    def metric(z, v):
        p = link(z)
        return p * (v - jnp.sum(p * v, axis=-1, keepdims=True))

    return StudentLoss('cross_entropy', value, link, metric)


LOSSES = {'squared_error': squared_error, 'cross_entropy': cross_entropy}


def covered(loss: Any) -> StudentLoss:
    """The loss itself, if it is one that the theorem covers.

    Raises:
      UserError: it is not.
    """
    if isinstance(loss, StudentLoss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    raise UserError(f'the theorem does not cover the loss {getattr(loss, "__name__", loss)!r}: '
                    'pass squared_error(weights) or cross_entropy(ids)')


def masked_loss(name: str, mask: jax.Array) -> StudentLoss:
    """The named loss on the logits of a bool mask [C]; the mask may be traced.

    Raises:
      UserError: a loss that the theorem does not cover.
    """
    covered(name)
    return LOSSES[name](mask)


def _wide(w: jax.Array, z: jax.Array) -> jax.Array:
    """Explicit broadcasting of [C] against [..., C]."""
    return w.reshape((1,) * (z.ndim - 1) + w.shape)


def _mask(ids: Any, outputs: int) -> jax.Array | None:
    if ids is None:
        return None
    if isinstance(ids, jax.core.Tracer) or np.asarray(ids).dtype == bool:
        if np.shape(ids) != (outputs,):
            raise UserError(f'cross_entropy has a mask of shape {np.shape(ids)} and the model '
                            f'{outputs} outputs')
        if not isinstance(ids, jax.core.Tracer) and not np.any(ids):
            raise UserError('cross_entropy needs at least one logit')
        return jnp.asarray(ids, bool)
    return jnp.asarray(ids_mask(ids, outputs))


def ids_mask(ids: Sequence[int], outputs: int) -> np.ndarray:
    """bool [C], true at the indices.

    Raises:
      UserError: an index outside the model's outputs, or none at all.
    """
    chosen = np.asarray(ids).reshape(-1)
    if not len(chosen):
        raise UserError('at least one logit is needed')
    outside = [int(i) for i in chosen if not 0 <= i < outputs]
    if outside:
        raise UserError(f'logit {outside[0]} is outside the model\'s: it has {outputs} outputs, '
                        f'0 to {outputs - 1}')
    return np.isin(np.arange(outputs), chosen)
