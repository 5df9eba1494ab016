"""Random transformers, drawn in NumPy: no program has to be compiled for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models.params import TransformerConfig, is_spec, param_specs


def random_params(config: TransformerConfig, seed: int = 0, noise: float = 0.0) -> Any:
    """Parameters distributed as `init_params` draws them.

    Args:
      config: the architecture.
      seed: of the draw.
      noise: standard deviation of what is added to norms and biases, which else are ones and zeros.
    """
    rng = np.random.default_rng(seed)

    def draw(spec):
        normal = rng.standard_normal(spec.shape, np.float32)
        value = spec.fill + noise * normal if spec.std is None else spec.std * normal
        return jnp.asarray(value, spec.dtype)

    return jax.tree.map(draw, param_specs(config), is_leaf=is_spec)


def random_tokens(config: TransformerConfig, *shape: int, seed: int = 0) -> jax.Array:
    """Token ids of a shape, int32."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, config.vocab_size, shape), jnp.int32)
