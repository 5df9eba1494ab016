"""The multilayer perceptron: its start, one model, and a stack of models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import mlp

SIZES = (30, 11, 7, 5)


def made(count, use_bias=True):
    """Models with biases that are not zero."""
    models = [mlp.init(jax.random.key(i), SIZES, use_bias) for i in range(count)]
    return [jax.tree.map(lambda p: p + 0.01 * p.size**0.5, model) for model in models]


def test_weights_have_variance_one_over_d_in_and_biases_are_zero():
    layers = mlp.init(jax.random.key(0), (784, 256, 300, 13))
    for layer, d_in in zip(layers, (784, 256, 300)):
        w = np.asarray(layer['w'])
        assert w.var() * d_in == pytest.approx(1, abs=6 * (2 / w.size) ** 0.5)
        assert w.mean() * d_in**0.5 == pytest.approx(0, abs=5 / w.size**0.5)
        assert not layer['b'].any()
    assert [layer['w'].shape for layer in layers] == [(784, 256), (256, 300), (300, 13)]
    kurtosis = float(np.mean(np.asarray(layers[0]['w']) ** 4) * 784**2)
    assert kurtosis == pytest.approx(3, abs=0.1)  # normal; uniform weights would give 1.8


def test_without_biases_there_are_none():
    assert all(set(layer) == {'w'} for layer in mlp.init(jax.random.key(0), SIZES, False))


@pytest.mark.parametrize('activation', mlp.ACTIVATIONS)
def test_apply_is_affine_maps_with_an_activation_between(activation, strict):
    (params,) = made(1)
    x = np.random.default_rng(0).standard_normal((4, 30)).astype(np.float32)
    act = {
        'relu': lambda v: np.maximum(v, 0), 'tanh': np.tanh,
        'sigmoid': lambda v: 1 / (1 + np.exp(-v)), 'softplus': lambda v: np.log1p(np.exp(v)),
        'gelu': lambda v: v / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (v + 0.044715 * v**3))),
    }[activation]
    expected = x
    for number, layer in enumerate(params):
        expected = expected @ np.asarray(layer['w']) + np.asarray(layer['b'])
        expected = act(expected) if number < 2 else expected
    found = mlp.apply(params, jnp.asarray(x), activation)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize('use_bias', [True, False])
def test_a_stack_is_its_models_side_by_side(use_bias, strict):
    models = made(3, use_bias)
    stacked = mlp.stack(models)
    x = jax.random.normal(jax.random.key(9), (6, 30))
    found = mlp.apply_stack(stacked, x, 'gelu')
    assert found.shape == (3, 5, 6)
    for one, model in zip(found, models):
        np.testing.assert_allclose(one.T, mlp.apply(model, x, 'gelu'), rtol=1e-5, atol=1e-5)
    for back, model in zip(mlp.unstack(stacked), models, strict=True):
        jax.tree.map(np.testing.assert_array_equal, back, model)


def test_a_model_of_a_stack_learns_from_its_own_logits_alone():
    stacked = mlp.stack(made(3))
    x = jax.random.normal(jax.random.key(9), (6, 30))
    grads = jax.grad(lambda p: jnp.sum(mlp.apply_stack(p, x)[1] ** 2))(stacked)
    for leaf in jax.tree.leaves(grads):
        assert not leaf[0].any() and not leaf[2].any() and leaf[1].any()
