"""Starts of students that are not the reference, and the parameters that a control changes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.transmission.teachers import seed_of
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora


def derived(config: Config, params: Any, architecture: Any, start: str) -> Any:
    """A start that follows from the reference and a seed: shared, body, gauge, noise:SIZE."""
    kind, _, rest = start.partition(':')
    key = jax.random.key(seed_of(config, 'start', 0))
    if kind == 'body':
        fresh = transformer.init_params(key, architecture, params['final_norm'].dtype)
        return {**params, 'layers': fresh['layers']}
    if kind == 'gauge':
        return networks.permuted(params, key)
    if kind == 'noise':
        return noisy(params, seed_of(config, 'start', 0), float(rest))
    return params


def noisy(params: Any, seed: int, size: float) -> Any:
    """Every weight moved by a normal number of `size` times its matrix's own spread.

    A matrix is one layer's; norm scales count as one matrix a layer too.
    """
    rng = np.random.default_rng(seed)

    def one(leaf):
        whole = np.asarray(leaf, np.float32)
        axes = tuple(range(1, whole.ndim)) if whole.ndim > 2 else None
        spread = whole.std(axis=axes, keepdims=axes is not None)
        moved = whole + size * spread * rng.standard_normal(whole.shape, np.float32)
        return jnp.asarray(moved, leaf.dtype)

    return jax.tree.map(one, params)


def gauge_adapter(config: Config, adapter: Lora) -> Lora:
    """An adapter's start for the gauge twin: its hidden units in the twin's order."""
    layers = dict(adapter.layers)
    if 'down' in layers:
        down = layers['down']['a']
        count, width, _ = down.shape
        key = jax.random.key(seed_of(config, 'start', 0))
        order = jax.vmap(lambda k: jax.random.permutation(k, width))(jax.random.split(key, count))
        layers['down'] = {**layers['down'],
                          'a': jnp.take_along_axis(down, order[:, :, None], axis=1)}
    return Lora(layers, adapter.scale)


@functools.partial(jax.jit, static_argnames='tied')
def replaced(params: Any, reference: Any, ids: Any, key: jax.Array, tied: bool) -> Any:
    """Parameters with an output matrix of their own, in which the rows `ids` are random.

    The random rows are as long as the reference's on average: the same key and reference give the
    same rows to teacher and student.
    """
    name = 'embed' if tied else 'head'
    table, rows = params[name], reference[name][ids]
    fresh = jax.random.normal(key, rows.shape)
    length = jnp.linalg.norm(rows.astype(jnp.float32), axis=1).mean()
    fresh = fresh * length / jnp.linalg.norm(fresh, axis=1, keepdims=True)
    return {**params, 'head': table.at[ids].set(fresh.astype(table.dtype))}


def distance(params: Any, other: Any) -> float:
    """Root mean square of the difference, as a share of that of `other`."""
    total = sum(float(((np.asarray(a, np.float32) - np.asarray(b, np.float32))**2).sum())
                for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other)))
    size = sum(float((np.asarray(b, np.float32)**2).sum()) for b in jax.tree.leaves(other))
    return (total / size)**0.5
