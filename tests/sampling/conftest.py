"""Small random models for the sampler's tests."""

import jax
import pytest

from subliminal_jax.models.params import init_params, tiny

CONFIGS = {
    'grouped heads, biases, tied': tiny(211, num_kv_heads=2, tied=True, qkv_bias=True),
    'untied': tiny(97, width=48, num_heads=3, num_layers=3, rope_theta=500.0, norm_eps=1e-3),
}


@pytest.fixture(params=CONFIGS)
def model(request):
    """(params, config), with biases and norm scales that are not trivial."""
    config = CONFIGS[request.param]
    params = init_params(jax.random.key(5), config)
    noise = lambda path, x: (
        x + 0.3 * jax.random.normal(jax.random.key(len(str(path))), x.shape)
        if any(word in str(path) for word in ('norm', 'bias')) else x)
    return jax.tree.map_with_path(noise, params), config
