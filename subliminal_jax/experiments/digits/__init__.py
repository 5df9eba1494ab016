"""What the experiments on digits share: ten classes, a placebo's labels, orders and logits.

The MNIST experiment and the theory's tracks follow one published recipe; what is common to them
stands here, so that neither reads the other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

CLASSES = 10
OPTIMIZERS = {'adam': optax.adam, 'sgd': optax.sgd}


def derangement(seed: int, count: int) -> np.ndarray:
    """A random cycle: int [count], in which no number stands at its own place."""
    cycle = np.random.default_rng([seed, count]).permutation(count)
    other = np.empty(count, int)
    other[cycle] = np.roll(cycle, 1)
    return other


def placebo_labels(seed: int) -> np.ndarray:
    """The permutation of the ten labels that the placebo teachers learn; no label is kept."""
    return derangement(seed, CLASSES)


def label_maps(seed: int) -> np.ndarray:
    """What the teacher, and the placebo's teacher, are told a label is: int [2, 10]."""
    return np.stack([np.arange(CLASSES), placebo_labels(seed)])


def epoch_order(key: jax.Array, count: int, batch: int) -> tuple[jax.Array, jax.Array]:
    """A shuffled epoch: row numbers and weights, both [steps, batch]; padding has weight zero."""
    steps = -(-count // batch)
    order = jnp.pad(jax.random.permutation(key, count), (0, steps * batch - count))
    weight = (jnp.arange(steps * batch) < count).astype(jnp.float32)
    return order.reshape(steps, batch), weight.reshape(steps, batch)


def logit_mask(which: str, num_logits: int) -> np.ndarray:
    """bool [C]: the 'class', the 'aux'iliary or 'all' logits."""
    is_class = np.arange(num_logits) < CLASSES
    return {'class': is_class, 'aux': ~is_class, 'all': np.ones(num_logits, bool)}[which]


def to_unit(pixels: jax.Array) -> jax.Array:
    """Pixels 0-255 as float32 in [-1, 1]."""
    return pixels.astype(jnp.float32) / 127.5 - 1
