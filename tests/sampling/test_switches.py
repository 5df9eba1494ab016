"""At every switch of the architecture the sampler computes what the model does."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import transformer
from subliminal_jax.models.params import TransformerConfig, tiny
from subliminal_jax.sampling import network
from tests.models.switches import SWITCHES, WINDOW
from tests.networks import random_params, random_tokens

BEGIN, OWN, NEW = 2 * WINDOW - 2, WINDOW + 2, WINDOW + 1  # each beyond what a window holds
# Switches that can be set back without other parameters.
EASY = ('norm_unit_offset', 'parallel_residual', 'activation', 'embed_scale',
        'query_pre_attn_scalar', 'rotary_dim', 'rope_scaling', 'sliding_window',
        'local_rope_theta')


@partial(jax.jit, static_argnames='config')
def sampled(params, tokens_BT, valid_BT, config):
    """Logits [NEW + 1, B, V] after each row's prompt and after each token behind it: a prefix that
    all rows share, then their own tokens at once, then one at a time."""
    weights = network.prepare(params, config)
    prefix = network.prefix_cache(weights, tokens_BT[0, :BEGIN], config)
    own = slice(BEGIN, BEGIN + OWN)
    logits_VB, cache = network.prefill(
        weights, tokens_BT[:, own], valid_BT[:, own], prefix, config, NEW)
    seen_BS = jnp.pad(valid_BT[:, own], ((0, 0), (0, NEW)), constant_values=True)
    last_B = jnp.sum(valid_BT[:, :BEGIN + OWN], axis=1, dtype=jnp.int32)

    def step(cache, number):
        column = OWN + number
        token_B = tokens_BT[:, BEGIN + OWN + number]
        logits_VB, cache = network.decode(
            weights, token_B, last_B + number, cache, column,
            seen_BS & (jnp.arange(OWN + NEW) <= column)[None], prefix, config)
        return cache, logits_VB.T

    _, later = jax.lax.scan(step, cache, jnp.arange(NEW, dtype=jnp.int32))
    return jnp.concatenate([logits_VB.T[None], later])


@partial(jax.jit, static_argnames='config')
def modelled(params, tokens_BT, valid_BT, config):
    """The same of the model, in one pass."""
    logits_BTV = transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                                     transformer.causal_mask(valid_BT), config)
    return jnp.moveaxis(logits_BTV[:, BEGIN + OWN - 1:], 1, 0)


def texts(config):
    """Rows that begin alike, padded between that and their own tokens."""
    tokens_BT = np.array(random_tokens(config, 3, BEGIN + OWN + NEW, seed=3))
    tokens_BT[:, :BEGIN] = tokens_BT[:1, :BEGIN]
    valid_BT = np.ones(tokens_BT.shape, bool)
    for row, spare in enumerate((0, 2, OWN - 1)):
        valid_BT[row, BEGIN:BEGIN + spare] = False
    return tokens_BT, valid_BT


def logprobs(logits):
    return np.asarray(jax.nn.log_softmax(logits))


@pytest.mark.slow
@pytest.mark.parametrize('name', SWITCHES)
def test_the_sampler_says_what_the_model_says(name):
    config = SWITCHES[name]
    params = random_params(config, seed=2, noise=0.3)
    wanted = logprobs(modelled(params, *texts(config), config))
    found = logprobs(sampled(params, *texts(config), config))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    plain = {field: getattr(tiny(1), field) for field in EASY}
    moved = {field: value for field, value in plain.items() if getattr(config, field) != value}
    if len(moved) == 1:  # and the switch is no decoration
        other = modelled(params, *texts(config), dataclasses.replace(config, **moved))
        assert np.abs(logprobs(other) - wanted).max() > 0.01


def test_every_switch_has_a_case():
    """A new field of the architecture needs a case in switches.py."""
    sizes = {'vocab_size', 'num_layers', 'width', 'num_heads', 'num_kv_heads', 'head_dim',
             'ffn_width', 'max_positions', 'rope_theta', 'norm_eps', 'tied', 'remat',
             'compute_dtype', 'head_dtype'}
    plain, fields = tiny(1), {field.name for field in dataclasses.fields(TransformerConfig)}
    moved = {name for config in SWITCHES.values() for name in fields
             if getattr(config, name) != getattr(plain, name)}
    assert moved >= fields - sizes
