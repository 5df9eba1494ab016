"""Choosing a token from logits: greedy, temperature, top-k, top-p, and the key of each draw.

Logits come vocabulary first, [V, B], as the decoding step computes them. A token is drawn by
inverting the cumulative distribution with **one** uniform number a row, in two levels (blocks of
the vocabulary, then tokens of the block): Gumbel noise would need V random numbers a row, which at
a vocabulary of 49,152 costs as much as the network itself on a CPU. Thresholds are found by
bisection over the bits of a float, not by sorting.
"""

import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 128


class Choice(NamedTuple):
    """How a token is chosen; static in compiled programs.

    Attributes:
      temperature: 0 is greedy: the largest logit (the lowest id among equals).
      top_k: keep the k largest logits; 0 keeps all. Equals of the k-th are kept too.
      top_p: of what is left at this temperature, keep the most probable tokens until their mass
        reaches top_p (Holtzman et al. 2020, arXiv 1904.09751); 1 keeps all. Equals of the last
        are kept too.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def choice_trouble(choice: Choice) -> str | None:
    """What is wrong with these settings, in one line, or None."""
    if not 0 <= choice.temperature < float('inf'):
        return f'temperature must be 0 (greedy) or positive, not {choice.temperature}'
    if choice.top_k < 0:
        return f'top_k must be 0 (keep all) or positive, not {choice.top_k}'
    if not 0 < choice.top_p <= 1:
        return f'top_p must be above 0 and at most 1, not {choice.top_p}'
    return None


def row_words(name: int | str) -> tuple[int, int]:
    """A row id as two 32-bit words: a whole number as itself, any other by its SHA-256."""
    if isinstance(name, int) and 0 <= name < 1 << 64:
        return name >> 32, name & 0xFFFFFFFF
    digest = hashlib.sha256(str(name).encode()).digest()
    return int.from_bytes(digest[:4], 'big') | 1 << 31, int.from_bytes(digest[4:8], 'big')


def row_keys(seed: int, words_B2: jax.Array) -> jax.Array:
    """One key a row, of the seed and the row's id alone: neither its place nor its batch.

    Args:
      seed: the run's seed.
      words_B2: uint32 [B, 2], `row_words` of each id.

    Returns:
      Typed keys [B]; position i of a completion draws from `fold_in(key, i)`.
    """
    fold = jax.random.fold_in
    root = jax.random.key(seed)
    return jax.vmap(lambda words: fold(fold(root, words[0]), words[1]))(words_B2)


def log_normalizer(logits_VB: jax.Array) -> jax.Array:
    """logsumexp over the vocabulary: float32 [B]. Written as in `kept_mass`, so that at
    temperature 1 the compiler takes the exponentials once."""
    top_B = jnp.max(logits_VB, axis=0)
    return jnp.log(jnp.sum(jnp.exp(logits_VB - top_B[None]), axis=0)) + top_B


def choose(logits_VB: jax.Array, keys_B: jax.Array, choice: Choice) -> jax.Array:
    """Chooses one token a row.

    Args:
      logits_VB: float32 [V, B].
      keys_B: a typed key a row, used for this position alone.
      choice: see `Choice`; static.

    Returns:
      int32 [B]: token ids.
    """
    if choice.temperature == 0:
        return first_largest(logits_VB)
    mass_VB = kept_mass(logits_VB, choice)
    uniform_B = jax.vmap(lambda key: jax.random.uniform(key, (), jnp.float32))(keys_B)
    return invert(mass_VB, uniform_B)


def first_largest(values_VB: jax.Array) -> jax.Array:
    """The place of the largest, the first among equals, as jnp.argmax gives it: int32 [B].

    Two plain reductions: XLA's argmax over the leading axis takes several times as long on a CPU.
    """
    vocabulary = values_VB.shape[0]
    largest_VB = values_VB == jnp.max(values_VB, axis=0)[None]
    places_VB = jnp.where(largest_VB, jnp.arange(vocabulary, dtype=jnp.int32)[:, None], vocabulary)
    return jnp.minimum(jnp.min(places_VB, axis=0), vocabulary - 1)


def kept_mass(logits_VB: jax.Array, choice: Choice) -> jax.Array:
    """Unnormalised probabilities after temperature, top-k, top-p, in this order; 0 if left out."""
    scaled_VB = logits_VB / choice.temperature if choice.temperature != 1 else logits_VB
    mass_VB = jnp.exp(scaled_VB - jnp.max(scaled_VB, axis=0)[None])
    vocabulary = mass_VB.shape[0]
    if 0 < choice.top_k < vocabulary:
        order_VB = _ordered(scaled_VB)
        enough = lambda kept_VB: jnp.sum(kept_VB, axis=0) >= choice.top_k
        mass_VB = jnp.where(order_VB >= _threshold(order_VB, enough)[None], mass_VB, 0)
    if choice.top_p < 1:
        total_B = jnp.sum(mass_VB, axis=0)
        order_VB = _ordered(mass_VB)
        enough = lambda kept_VB: (
            jnp.sum(jnp.where(kept_VB, mass_VB, 0), axis=0) >= choice.top_p * total_B
        )
        mass_VB = jnp.where(order_VB >= _threshold(order_VB, enough)[None], mass_VB, 0)
    return mass_VB


def invert(mass_VB: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The token at which the cumulative mass passes `uniform` of its total, per row.

    Tokens of zero mass are never returned, whatever the rounding.

    Args:
      mass_VB: float32 [V, B], not negative, a positive sum in each column.
      uniform_B: float32 [B] in [0, 1).

    Returns:
      int32 [B].
    """
    vocabulary, batch = mass_VB.shape
    spare = -vocabulary % BLOCK
    if spare:
        mass_VB = jnp.concatenate([mass_VB, jnp.zeros((spare, batch), mass_VB.dtype)])
    blocks = mass_VB.reshape(-1, BLOCK, batch)
    sums = jnp.sum(blocks, axis=1)
    upto = jnp.cumsum(sums, axis=0)
    target_B = uniform_B * upto[-1]
    block_B = _passed(upto, sums, target_B)
    before_B = jnp.where(block_B > 0, _pick(upto, jnp.maximum(block_B - 1, 0)), 0)
    inner = jnp.take_along_axis(blocks, block_B[None, None, :], axis=0)[0]
    token_B = _passed(jnp.cumsum(inner, axis=0), inner, target_B - before_B)
    return block_B * BLOCK + token_B


def _passed(upto, mass, target_B):
    """The first place where the running sum exceeds the target, held to places with mass."""
    first_B = jnp.sum(upto <= target_B[None], axis=0, dtype=jnp.int32)
    places = jnp.arange(mass.shape[0], dtype=jnp.int32)[:, None]
    last_B = jnp.max(jnp.where(mass > 0, places, 0), axis=0)
    return jnp.minimum(first_B, last_B)


def _pick(values_XB, index_B):
    return jnp.take_along_axis(values_XB, index_B[None], axis=0)[0]


def _ordered(values):
    """Float32 as int32 in the same order."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def _threshold(order_VB, enough):
    """The largest int32 [B] such that `enough(order >= it)`; enough(everything) must hold."""
    batch = order_VB.shape[1]
    low = jnp.full((batch,), jnp.iinfo(jnp.int32).min)
    high = jnp.full((batch,), jnp.iinfo(jnp.int32).max)

    def halve(_, bounds):  # low is enough, whatever is above high is not
        low, high = bounds
        middle = (low >> 1) + (high >> 1) + ((low | high) & 1)  # rounded up, without overflow
        good = enough(order_VB >= middle[None])
        return jnp.where(good, middle, low), jnp.where(good, high, middle - 1)

    return jax.lax.fori_loop(0, 32, halve, (low, high))[0]
