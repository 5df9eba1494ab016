"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), stretched, partial or local."""

from typing import Any

import jax
import jax.numpy as jnp

from subliminal_jax.models.params import TransformerConfig


def rotary_frequencies(config: TransformerConfig, dtype: Any, local: bool = False) -> jax.Array:
    """Radians a position, [R / 2], R the rotated entries of a head (config.rotary_dim).

    Args:
      config: the architecture.
      dtype: of the result.
      local: of layers with a sliding window, where these have a base of their own
        (config.local_rope_theta): such are never stretched.
    """
    half = (config.rotary_dim or config.head_dim) // 2
    exponent = jnp.arange(half, dtype=dtype) / half
    if local and config.local_rope_theta is not None:
        return jnp.asarray(config.local_rope_theta, dtype) ** -exponent
    frequency = jnp.asarray(config.rope_theta, dtype) ** -exponent
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    if scaling.kind == 'linear':
        return frequency / scaling.factor
    if scaling.kind == 'factors':
        return frequency / jnp.asarray(scaling.factors, dtype)
    turns = scaling.original * frequency / (2 * jnp.pi)  # how often it turns in pre-training
    blend = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
    return blend * frequency + (1 - blend) * frequency / scaling.factor


def rotation(positions_BT: jax.Array, config: TransformerConfig, dtype: Any, local: bool = False
             ) -> tuple[jax.Array, jax.Array]:
    """Cosines [B, T, 1, 1, R / 2] and signed sines [B, T, 1, 2, R / 2] of every position."""
    frequency = rotary_frequencies(config, dtype, local)
    angle = positions_BT.astype(dtype)[:, :, None, None, None] * frequency[None, None, None, None]
    sin = jnp.sin(angle)
    return jnp.cos(angle), jnp.concatenate([-sin, sin], axis=-2)


def rotate(x_BTNH: jax.Array, turn: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns the pairs (h, h + R / 2) of every head by their position's angles; what lies behind the
    first R entries of a head stays.

    By a flip of the halves, which XLA fuses into one loop, as it does not their concatenation.
    """
    cos, sin = turn
    rotated = 2 * cos.shape[-1]
    if rotated < x_BTNH.shape[-1]:
        return jnp.concatenate(
            [rotate(x_BTNH[..., :rotated], turn), x_BTNH[..., rotated:]], axis=-1)
    halves = x_BTNH.reshape(*x_BTNH.shape[:3], 2, -1)
    return (halves * cos + jnp.flip(halves, axis=-2) * sin).reshape(x_BTNH.shape)
