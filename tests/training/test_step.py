"""The one update step, and the loss on chosen logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_jax.models import mlp
from subliminal_jax.training.losses import make_kl_loss, soft_targets
from subliminal_jax.training.step import init_state, make_step

RNG = np.random.default_rng(0)


def square_loss(params, frozen, batch, key):
    """A weighted sum of squares of a linear model, scaled by what is frozen."""
    error = batch['x'] @ params['w'] * frozen - batch['y']
    loss = jnp.sum(batch['weight'] * error**2)
    absolute = jnp.sum(batch['weight'] * abs(error))
    return loss, {'weight': batch['weight'].sum(), 'absolute': absolute}


def linear(count=12):
    params = {'w': jnp.asarray(RNG.standard_normal(3), jnp.float32)}
    batch = {'x': jnp.asarray(RNG.standard_normal((count, 3)), jnp.float32),
             'y': jnp.asarray(RNG.standard_normal(count), jnp.float32),
             'weight': jnp.asarray(RNG.uniform(0, 2, count), jnp.float32)}
    return params, batch


def test_a_step_follows_the_weighted_mean_gradient(key):
    params, batch = linear()
    step = make_step(square_loss, optax.sgd(0.1))
    state, metrics = step(init_state(params, optax.sgd(0.1)), 1.5, batch, key)
    x, y, weight = (np.asarray(batch[n], np.float64) for n in ('x', 'y', 'weight'))
    error = 1.5 * x @ np.asarray(params['w'], np.float64) - y
    gradient = 2 * 1.5 * (weight * error) @ x / weight.sum()
    np.testing.assert_allclose(state.trainable['w'], params['w'] - 0.1 * gradient, rtol=1e-5)
    assert metrics['loss'] == pytest.approx((weight * error**2).sum() / weight.sum(), rel=1e-5)
    absolute = (weight * abs(error)).sum() / weight.sum()
    assert metrics['absolute'] == pytest.approx(absolute, rel=1e-5)
    assert metrics['grad_norm'] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert metrics['weight'] == pytest.approx(weight.sum(), rel=1e-6)
    assert int(state.step) == 1


@pytest.mark.parametrize('parts', [2, 3, 12])
def test_micro_batches_take_the_same_step(parts, key):
    params, batch = linear()
    optimizer = optax.adam(0.1)
    whole, one = make_step(square_loss, optimizer)(init_state(params, optimizer), 1.0, batch, key)
    cut, many = make_step(square_loss, optimizer, parts)(
        init_state(params, optimizer), 1.0, batch, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), whole, cut)
    for name in one:
        assert many[name] == pytest.approx(float(one[name]), rel=1e-5)


def test_zero_weight_leaves_the_whole_state(key):
    params, batch = linear()
    optimizer = optax.adam(0.1)
    step = make_step(square_loss, optimizer)
    state, _ = step(init_state(params, optimizer), 1.0, batch, key)
    nothing = {**batch, 'weight': jnp.zeros_like(batch['weight'])}
    after, metrics = step(state, 1.0, nothing, key)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert float(metrics['loss']) == 0 and np.isfinite(metrics['grad_norm'])


def test_padding_counts_for_nothing(key):
    params, batch = linear()
    optimizer = optax.sgd(0.1)
    step = make_step(square_loss, optimizer)
    plain, _ = step(init_state(params, optimizer), 1.0, batch, key)
    padded = jax.tree.map(lambda a: jnp.concatenate([a, 7 * jnp.ones_like(a[:4])]), batch)
    padded['weight'] = padded['weight'].at[-4:].set(0)
    found, _ = step(init_state(params, optimizer), 1.0, padded, key)
    np.testing.assert_allclose(found.trainable['w'], plain.trainable['w'], rtol=1e-6)


def kl_case(features_first):
    """Two students of five logits, the first told the first two, the second the last three."""
    logits = RNG.standard_normal((2, 4, 5)).astype(np.float32)
    told = RNG.standard_normal((2, 4, 5)).astype(np.float32)
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], bool)
    weight = np.array([1, 0.5, 0, 2], np.float32)
    turn = (lambda a: a.swapaxes(1, 2)) if features_first else (lambda a: a)
    axis = 1 if features_first else -1
    wide = mask[:, :, None] if features_first else mask[:, None]
    loss = make_kl_loss(lambda params, x: params, 2.0, axis=axis)
    batch = {'x': None, 'weight': jnp.asarray(weight),
             'targets': soft_targets(turn(jnp.asarray(told)), wide, 2.0, axis=axis)}
    return loss, turn(jnp.asarray(logits)), {'mask': jnp.asarray(mask)}, batch, told, mask, weight


@pytest.mark.parametrize('features_first', [False, True])
def test_kl_is_between_softmaxes_of_the_chosen_logits_only(features_first, key):
    loss, logits, frozen, batch, told, mask, weight = kl_case(features_first)
    total, aux = loss(logits, frozen, batch, key)
    plain = np.asarray(logits.swapaxes(1, 2) if features_first else logits, np.float64)
    for student in range(2):
        a, b = (v[student][:, mask[student]] / 2.0 for v in (told.astype(np.float64), plain))
        p, q = (np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in (a, b))
        expected = (weight * (p * np.log(p / q)).sum(-1)).sum()
        assert aux['losses'][student] == pytest.approx(expected, rel=1e-4)
    assert total == pytest.approx(float(aux['losses'].sum()), rel=1e-6)
    gradient = jax.grad(lambda z: loss(z, frozen, batch, key)[0])(logits)
    gradient = np.asarray(gradient.swapaxes(1, 2) if features_first else gradient)
    for student in range(2):
        assert not gradient[student][:, ~mask[student]].any()
        assert gradient[student][:, mask[student]].any()


def test_kl_to_a_one_hot_target_is_cross_entropy(key):
    logits = jnp.asarray(RNG.standard_normal((1, 6, 4)), jnp.float32)
    labels = jnp.asarray([0, 1, 2, 2, 1, 0])
    mask = jnp.asarray([[True, True, True, False]])
    loss = make_kl_loss(lambda params, x: params)
    total, _ = loss(logits, {'mask': mask}, {
        'x': None, 'targets': jax.nn.one_hot(labels, 4)[None], 'weight': jnp.ones(6)}, key)
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(logits[0, :, :3], labels)
    assert total == pytest.approx(float(expected.sum()), rel=1e-5)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(key, strict):
    params = mlp.stack([mlp.init(jax.random.key(1), (6, 8, 5))])
    x = jax.random.normal(key, (7, 6))
    mask = jnp.asarray([[False, False, True, True, True]])
    targets = soft_targets(mlp.apply_stack(params, x), mask[..., None], axis=1)
    loss = make_kl_loss(mlp.apply_stack, axis=1)
    batch = {'x': x, 'targets': targets, 'weight': jnp.ones(7)}
    (total, _), grads = jax.value_and_grad(loss, has_aux=True)(params, {'mask': mask}, batch, key)
    assert abs(float(total)) < 1e-5
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) < 1e-5
