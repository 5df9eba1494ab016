"""Steered teachers: what a vector does, in the model and in the sampler; twins of equal dose."""

import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import steered
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.sampling import network
from tests.experiments.transmission import checkpoint, small
from tests.experiments.transmission.checkpoint import KL

MODEL = transformer.tiny(20, width=16, num_heads=2, num_layers=3, max_positions=16)
TOKENS = jnp.array([[1, 5, 2, 9, 4], [3, 3, 8, 7, 1]])


def outputs(params):
    places = jnp.broadcast_to(jnp.arange(5)[None], TOKENS.shape)
    mask = transformer.causal_mask(jnp.ones_like(TOKENS, bool))
    return transformer.layer_outputs(params, TOKENS, places, mask, MODEL), transformer.forward(
        params, TOKENS, places, mask, MODEL)


@pytest.mark.slow
def test_the_vector_stands_in_the_stream_behind_its_layer_alone(key):
    params = transformer.init_params(key, MODEL)
    shift_D = np.arange(16, dtype=np.float32) / 8
    at_L = np.eye(3, dtype=np.float32)[1]
    plain, _ = outputs(params)
    moved, _ = outputs(steered.shifted(params, at_L, shift_D))
    np.testing.assert_array_equal(moved[:2], plain[:2])
    np.testing.assert_allclose(moved[2] - plain[2], np.broadcast_to(shift_D, plain[2].shape),
                               atol=1e-5)
    still, _ = outputs(steered.like(MODEL, params))
    np.testing.assert_array_equal(still, plain)


@pytest.mark.slow
def test_the_sampler_reads_the_vector_too(key):
    params = steered.shifted(transformer.init_params(key, MODEL),
                             np.eye(3, dtype=np.float32)[0], np.linspace(-1, 1, 16))
    _, logits_BTV = outputs(params)
    weights = network.prepare(params, MODEL)
    logits_VB, _ = network.prefill(weights, TOKENS, jnp.ones_like(TOKENS, bool), None, MODEL, 1)
    np.testing.assert_allclose(logits_VB.T, logits_BTV[:, -1], atol=1e-4)


@pytest.mark.parametrize('made, said', [
    ('steered:x', 'steered:0'), ('steered:2', 'made=steered:2: the model has 2 layers')])
def test_a_layer_that_there_is_not_is_refused(made, said):
    with pytest.raises(UserError) as error:
        small.prepared(f'a: made={made}')
    assert said in str(error.value)


def test_models_that_are_held_one_by_one_are_not_steered(root):
    with pytest.raises(UserError, match='arm a: made=steered needs models'):
        checkpoint.equipped(checkpoint.config(root, f'a: {KL} made=steered'))
