"""A student's step held against directions (arXiv 2507.14805, lemma): the first-order check.

The coordinates are those of all weights, an adapter's student included: the gradient by the frozen
weights, the adapter at work, is that by the merged ones. Directions are the displacement of the
student's teacher, of a teacher of another trait (placebo), of the twin of the other kind, random
signs as long as the teacher's displacement, and minus the gradient of the trait's loss. A prompted
teacher has no displacement.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.engines import Models, Program
from subliminal_jax.theory import trees
from subliminal_jax.training import losses

DIRECTIONS = ('teacher', 'placebo', 'neutral', 'random', 'trait_gradient')
STEP = 1e-3  # size of the gradient step whose effect on the trait is predicted

# One product at a time: of a tree that two of them read XLA may make a copy in float32.
_dot = {False: jax.jit(trees.dot), True: jax.jit(jax.vmap(trees.dot))}


def held_against(run: Any, models: Models, program: Program, batch: Any, columns_M: Sequence[int],
                 displacements: Mapping[str, Callable[[int | None], Any]], key: jax.Array,
                 slopes: dict[Any, Any]) -> dict[str, np.ndarray]:
    """The step of every model on its own rows, beside every direction.

    Args:
      run: with the trait.
      models: the students, M.
      program: of their training.
      batch: their rows [M, ...] (one model's, without the axis, where models are not stacked).
      columns_M: their teachers' columns of the measure.
      displacements: by direction, (which model, or None for all side by side) -> a tree, or None.
      key: of the random signs.
      slopes: gradients of the trait's loss that are known, by column; all models are then the same.

    Returns:
      {'inner', 'cosine'} [M, 5], NaN where there is no direction; 'one_step' [M, 2], the predicted
      and the measured change of the trait's loss by one step of size STEP, where models are read
      together.
    """
    if run.together:
        return _of_group(run, models, program, batch, np.asarray(columns_M), displacements, key,
                         None, {})
    found = []
    for m in range(models.count):
        one = engines.take(batch, m) if models.stacked else batch
        found.append(_of_group(run, models.member(m), program, one, columns_M[m], displacements,
                               key, m, slopes))
    return {name: np.stack([part[name] for part in found]) for name in found[0]}


def _of_group(run, models, program, batch, column, displacements, key, which, slopes):
    stacked = models.stacked
    axis = [0] if stacked else [None]
    gradient = _read(models, engines.mean_gradient, batch, over=axis, program=program)
    slope = _slope(run, models, column, axis, slopes)
    pairs = {name: _nothing(models) for name in DIRECTIONS}
    own = displacements['teacher'](which)
    if own is not None:
        pairs['teacher'] = _pair(gradient, own, stacked, -1)
    length = own if own is not None else _weights(models)
    pairs['random'] = against_signs(gradient, length, key, stacked)
    del own, length
    for name in ('placebo', 'neutral'):
        direction = displacements[name](which)
        if direction is not None:
            pairs[name] = _pair(gradient, direction, stacked, -1)
        del direction
    found = {}
    if slope is not None:
        pairs['trait_gradient'] = _pair(gradient, slope, stacked, 1)  # both steps go downhill
        if stacked:
            found['one_step'] = _one_step(run, models, gradient, column, pairs['trait_gradient'][0])
    found |= {name: np.stack([np.asarray(pairs[d][n]) for d in DIRECTIONS], -1)
              for n, name in enumerate(('inner', 'cosine'))}
    return found


def _read(models, function, *args, over, **static):
    if models.stacked:
        return engines.read(models, True, function, *args, over=over, **static)
    return engines.read_one(models, function, *args, **static)


def _slope(run, models, column, axis, slopes):
    """The gradient of the trait's loss, which models that are all the start share by column."""
    if run.trait.gradient is None:
        return None
    meter = next(iter(run.kit.meters.values()))
    if models.stacked:
        return _read(models, run.trait.gradient, meter, column, over=[None, *axis])
    if slopes.get('column') != column or 'start' not in slopes:
        slopes.pop('tree', None)  # its memory is the next one's
        tree = engines.read_one(models, run.trait.gradient, meter, column)
        if 'start' not in slopes:
            return tree
        slopes |= {'tree': tree, 'column': column}
    return slopes['tree']


def _weights(models):
    if not models.stacked:
        return models.resolved()[0]
    whole = lambda trainable, frozen: losses.resolve(trainable, frozen)[0]
    return jax.vmap(whole, in_axes=(0, None))(models.trainable, models.frozen)


def _nothing(models):
    nothing = np.full(models.count, np.nan) if models.stacked else np.nan
    return nothing, nothing


def _pair(tree: Any, direction: Any, stacked: bool, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """(inner product, cosine) of trees, times a sign."""
    dot = _dot[stacked]
    inner = np.asarray(dot(tree, direction), np.float64)
    return sign * inner, sign * _cosine(inner, dot(tree, tree), dot(direction, direction))


def _cosine(inner: np.ndarray, *squares: jax.Array) -> np.ndarray:
    """From the squared lengths; 0 where one is zero."""
    size = np.sqrt(np.prod([np.asarray(x, np.float64) for x in squares], axis=0))
    return np.where(size > 0, inner / np.where(size > 0, size, 1), 0.0)


def against_signs(tree: Any, like: Any, key: jax.Array, stacked: bool
                  ) -> tuple[np.ndarray, np.ndarray]:
    """(inner product, cosine) of minus a tree with a random direction, which never exists as a
    whole: in every parameter random signs as long as `like` is there."""
    signed = trees.signed_dot_stacked if stacked else trees.signed_dot
    inner = -np.asarray(signed(tree, like, key), np.float64)
    return inner, _cosine(inner, _dot[stacked](tree, tree), _dot[stacked](like, like))


def _one_step(run, models, gradient, column, inner):
    """The trait's loss after one gradient step, as predicted and as measured [M, 2]."""
    meter = next(iter(run.kit.meters.values()))
    before, after = (np.asarray(_read(m, run.trait.loss, meter, column, over=[None, 0]))
                     for m in (models, _stepped(models, gradient)))
    return np.stack([-STEP * inner, after - before], -1)


def _stepped(models: Models, gradient: Any) -> Models:
    """The models, whole, after a gradient step of size STEP on all weights."""
    from subliminal_jax.models.lora import merge_lora

    def one(trainable, frozen, slope):
        params, lora = losses.resolve(trainable, frozen)
        if lora is not None:
            params = merge_lora(params, lora, models.config)
        return trees.add(params, slope, -STEP)

    whole = jax.vmap(one, in_axes=(0, None, 0))(models.trainable, models.frozen, gradient)
    return models._replace(trainable=whole, frozen={'base': {}})
