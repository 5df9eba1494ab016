"""Small random models for the sampler's tests, made once; programs are shared through them."""

from functools import partial

import jax
import pytest

from subliminal_jax.models.params import tiny
from subliminal_jax.sampling import network
from tests.networks import random_params

CONFIGS = {
    'grouped heads, biases, tied': tiny(211, num_kv_heads=2, tied=True, qkv_bias=True),
    'untied': tiny(97, width=48, num_heads=3, rope_theta=500.0, norm_eps=1e-3),
}


@pytest.fixture(params=CONFIGS, scope='session')
def model(request):
    """(params, config), with biases and norm scales that are not trivial."""
    config = CONFIGS[request.param]
    return random_params(config, seed=5, noise=0.3), config


@pytest.fixture(scope='session')
def weights(model):
    """The model's parameters in the sampler's layout."""
    params, config = model
    return jax.jit(partial(network.prepare, config=config))(params)
