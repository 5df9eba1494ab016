"""The one update step: every student, teacher and reference of the project is trained by it.

A loss is `loss_fn(trainable, frozen, batch, key) -> (loss_sum, aux)`: a float32 *sum* over
weighted items, with `aux['weight']` the sum of their weights and every other entry a sum. The step
adds the sums over micro-batches, divides once, and so takes the same step however a batch is cut.
What is frozen (a teacher, a base under LoRA) is an argument: a closure would become a constant of
the compiled program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from subliminal_jax.runs import meshes

LossFn = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class TrainState(NamedTuple):
    """What training changes: the step's number, the trainable tree, the optimiser's state."""

    step: jax.Array
    trainable: Any
    opt_state: Any


def init_state(trainable: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), trainable, optimizer.init(trainable))


def places_of(trainable: Any, optimizer: optax.GradientTransformation, mesh: Any) -> TrainState:
    """The shardings of `init_state` over a mesh: moments lie where what they are of lies.

    Args:
      trainable: arrays; one that is not laid over the mesh counts as whole on every device.
      optimizer: of the state.
      mesh: a jax.sharding.Mesh.
    """
    whole = meshes.everywhere(mesh)
    places = jax.tree.map(lambda x: x.sharding if meshes.of(x) is mesh else whole, trainable)
    state = jax.eval_shape(lambda tree: init_state(tree, optimizer), trainable)
    moments = optax.tree.map_params(optimizer, lambda _, place: place, state.opt_state, places,
                                    transform_non_params=lambda _: whole)
    return TrainState(whole, places, moments)


def sum_grads(
    loss_fn: LossFn, trainable: Any, frozen: Any, batch: Any, key: jax.Array, micro_batches: int = 1
) -> tuple[Any, dict[str, jax.Array]]:
    """Sums of gradients, losses and weights over a batch, micro-batch by micro-batch.

    Args:
      loss_fn: a loss of the project's signature (module docstring).
      trainable: the tree to differentiate by.
      frozen: the tree that is held.
      batch: a tree of arrays with a leading batch axis that `micro_batches` divides.
      key: folded with the micro-batch's number.
      micro_batches: in how many parts the batch is walked; memory falls by as much.

    Returns:
      (gradient of the summed loss, {'loss': sum, 'weight': sum, ...}).
    """
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def one(part, part_key):
        (loss, aux), grads = value_and_grad(trainable, frozen, part, part_key)
        return grads, {'loss': loss, **aux}

    if micro_batches == 1:
        return one(batch, key)
    parts = jax.tree.map(
        lambda x: x.reshape(micro_batches, x.shape[0] // micro_batches, *x.shape[1:]), batch
    )
    shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, numbered):
        number, part = numbered
        return jax.tree.map(jnp.add, total, one(part, jax.random.fold_in(key, number))), None

    total, _ = jax.lax.scan(add, zeros, (jnp.arange(micro_batches), parts))
    return total


def make_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, micro_batches: int = 1,
    bend: Callable[[Any, Any], Any] | None = None,
) -> Callable[[TrainState, Any, Any, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds `step(state, frozen, batch, key) -> (state, metrics)`, a pure function to be jitted.

    With `bend`, (update, frozen) -> update, what the optimiser proposes is changed before it is
    taken; the optimiser's own state goes by what it proposed.

    `metrics` holds the means over weight of every sum the loss reports, `grad_norm` (of the mean
    gradient) and `weight`. A batch of zero weight leaves the state as it was, its step included.
    """

    def step(state, frozen, batch, key):
        grads, sums = sum_grads(loss_fn, state.trainable, frozen, batch, key, micro_batches)
        weight = sums.pop('weight')
        inverse = jnp.where(weight > 0, 1 / jnp.where(weight > 0, weight, 1), 0)
        grads = jax.tree.map(lambda g: g * inverse.astype(g.dtype), grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
        if bend is not None:
            updates = bend(updates, frozen)
        moved = TrainState(
            state.step + 1, optax.apply_updates(state.trainable, updates), opt_state
        )
        state = jax.tree.map(lambda new, old: jnp.where(weight > 0, new, old), moved, state)
        metrics = {name: value * inverse for name, value in sums.items()}
        return state, {**metrics, 'grad_norm': optax.tree.norm(grads), 'weight': weight}

    return step
