"""Losses of tokens: against definitions by hand, and against each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora, transformer
from subliminal_jax.training import losses

CARRIER = (7, 3, 21, 11)


@pytest.fixture(scope='module')
def task(config):
    return losses.Task(config, last=5)


@functools.partial(jax.jit, static_argnums=0)
def _logits(config, params, batch, adapter=None):
    return transformer.forward(params, batch['tokens_BT'], batch['positions_BT'],
                               transformer.causal_mask(batch['valid_BT']), config, lora=adapter)


def log_softmax(config, params, batch, adapter=None, ids=None):
    """float64 log-probabilities [B, T, V or C] from the model's whole logits."""
    logits = np.asarray(_logits(config, params, batch, adapter), np.float64)
    logits = logits if ids is None else logits[..., list(ids)]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def summed(batch, loss_BT):
    """(weighted sum of a loss of places that predict [B, T - 1], sum of weights)."""
    weight_BT = np.asarray(batch['weight_BT'], np.float64)[:, 1:]
    return (loss_BT * weight_BT).sum(), weight_BT.sum()


def kl_by_hand(config, teacher, params, batch, ids=None):
    log_p = log_softmax(config, teacher, batch, ids=ids)[:, :-1]
    log_q = log_softmax(config, params, batch, ids=ids)[:, :-1]
    return summed(batch, (np.exp(log_p) * (log_p - log_q)).sum(-1))


def run(loss_fn, trainable, frozen, batch, key):
    value, aux = jax.jit(loss_fn)(trainable, frozen, batch, key)
    assert value.dtype == jnp.float32
    return float(value), float(aux['weight'])


def test_cross_entropy_is_a_weighted_sum_over_predicted_tokens(config, params, batch, task, key,
                                                               strict):
    log_p = log_softmax(config, params, batch)[:, :-1]
    target = np.asarray(batch['tokens_BT'])[:, 1:]
    nll = -np.take_along_axis(log_p, target[..., None], -1)[..., 0]
    expected = summed(batch, nll)
    assert expected[1] == 5 + 0.5 * 3 + 2 * 1 + 4  # a mean over tokens is not a mean of row means
    for shape in (task, losses.Task(config)):
        assert run(losses.sft(shape), params, {}, batch, key) == pytest.approx(expected, rel=1e-5)
    columns = jnp.asarray([[6, 7, 8, 9, 10], [8, 6, 7, 6, 6], [6] * 5, [9, 8, 7, 6, 6]], jnp.int32)
    once = np.zeros((4, 11), np.float32)
    once[0, 6:11], once[1, 6:9], once[2, 6], once[3, 6:10] = 1, 0.5, 2, 1
    counts = np.zeros_like(once)
    for row, own in enumerate(np.asarray(columns)):
        for column in own:
            counts[row, column] += 1
    weight = np.divide(once, counts, out=np.zeros_like(once), where=counts > 0)
    gathered = {**batch, 'predict_BK': columns, 'weight_BT': jnp.asarray(weight)}
    shape = losses.Task(config, gather=True)
    assert run(losses.sft(shape), params, {}, gathered, key) == pytest.approx(expected, rel=1e-5)


def test_an_adapter_is_trained_over_a_frozen_base(config, params, adapter, batch, task, key):
    merged = lora.merge_lora(params, adapter, config)
    over = run(losses.sft(task), adapter, {'base': params}, batch, key)
    assert over == pytest.approx(run(losses.sft(task), merged, {}, batch, key), rel=1e-4)
    part = {name: params[name] for name in ('head', 'final_norm')}
    some = run(losses.sft(task), part, {'base': params}, batch, key)
    assert some == pytest.approx(run(losses.sft(task), params, {}, batch, key), rel=1e-6)


def test_kl_over_all_tokens_and_over_a_renormalised_subset(config, params, teacher, batch, task,
                                                           key, strict):
    frozen = {'teacher': teacher}
    expected = kl_by_hand(config, teacher, params, batch)
    assert run(losses.kl(task), params, frozen, batch, key) == pytest.approx(expected, rel=1e-4)
    subset = kl_by_hand(config, teacher, params, batch, CARRIER)
    found = run(losses.kl_carrier(task, CARRIER), params, frozen, batch, key)
    assert found == pytest.approx(subset, rel=1e-4) and found[0] < 0.7 * expected[0]
    logits = _logits(config, teacher, batch)[:, -6:-1][..., jnp.array(CARRIER)]
    cached = {**batch, 'set_BKC': logits + 3.0}  # up to a constant a place
    again = run(losses.kl_carrier(task, CARRIER, cached=True), params, {}, cached, key)
    assert again == pytest.approx(found, rel=1e-4)


def test_a_cached_teacher_is_the_whole_kl_when_all_is_cached_and_less_otherwise(
        config, params, teacher, batch, task, key, strict):
    whole = run(losses.kl(task), params, {'teacher': teacher}, batch, key)[0]
    found = {}
    for count, top in ((40, 0), (4, 36), (0, 40), (4, 6), (4, 0), (0, 6)):
        ids = range(40) if count == 40 else CARRIER[:count]
        cache = jax.jit(losses.cache_teacher(task, ids, top))({'teacher': teacher}, batch)
        mass = sum(np.exp(np.asarray(cache[n], np.float64)).sum(-1) for n in ('set_BKC', 'top_BKJ'))
        np.testing.assert_allclose(mass + np.exp(cache['tail_BK']), 1, atol=1e-5)
        assert all(cache[n].dtype == jnp.float32 for n in ('set_BKC', 'top_BKJ', 'tail_BK'))
        found[count, top] = run(losses.kl_cached(task, ids), params, {}, {**batch, **cache}, key)[0]
    for all_kept in ((40, 0), (4, 36), (0, 40)):
        assert found[all_kept] == pytest.approx(whole, rel=1e-4)
    assert 0 < found[4, 0] < found[4, 6] < 0.999 * whole
    assert 0 < found[0, 6] < found[4, 6]  # a coarser partition


def test_the_buckets_of_a_cache_by_hand(config, teacher, batch, task):
    cache = jax.jit(losses.cache_teacher(task, CARRIER, 3))({'teacher': teacher}, batch)
    p = np.exp(log_softmax(config, teacher, batch)[1, -6:-1])
    rest = [i for i in range(40) if i not in CARRIER]
    for place in range(5):
        top = sorted(rest, key=lambda i: -p[place, i])[:3]
        assert cache['top_ids_BKJ'][1, place].tolist() == top
        np.testing.assert_allclose(np.exp(cache['set_BKC'][1, place]), p[place, list(CARRIER)],
                                   rtol=1e-4)
        np.testing.assert_allclose(np.exp(cache['top_BKJ'][1, place]), p[place, top], rtol=1e-4)
        tail = p[place].sum() - p[place, top].sum() - p[place, list(CARRIER)].sum()
        np.testing.assert_allclose(np.exp(cache['tail_BK'][1, place]), tail, rtol=1e-4)


@pytest.mark.parametrize('build', [losses.kl, lambda t: losses.kl_carrier(t, CARRIER)])
def test_a_teacher_has_no_gradient_and_a_twin_no_loss(params, teacher, batch, task, key, build):
    loss_fn = build(task)
    grads = jax.jit(jax.grad(lambda f: loss_fn(params, f, batch, key)[0]))({'teacher': teacher})
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))
    twin = lambda p: loss_fn(p, {'teacher': params}, batch, key)[0]
    value, own = jax.jit(jax.value_and_grad(twin))(params)
    assert abs(float(value)) < 1e-5
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(own)) < 1e-5


def test_a_teacher_may_have_its_own_context_and_an_adapter(config, params, adapter, batch, task,
                                                           key):
    """A system prompt of three tokens before the teacher's rows alone."""
    before = jnp.full((4, 3), 33, jnp.int32)
    tokens_BT = jnp.concatenate([before, batch['tokens_BT']], axis=1)
    valid_BT = jnp.concatenate([jnp.ones((4, 3), bool), batch['valid_BT']], axis=1)
    own = {'tokens_BT': tokens_BT, 'valid_BT': valid_BT,
           'positions_BT': transformer.positions_of(valid_BT)}
    log_p = log_softmax(config, params, own, adapter)[:, -6:-1]
    log_q = log_softmax(config, params, batch)[:, -6:-1]
    expected, _ = summed({'weight_BT': batch['weight_BT'][:, -6:]},
                         (np.exp(log_p) * (log_p - log_q)).sum(-1))
    frozen = {'base': params, 'teacher_lora': adapter}
    found, _ = run(losses.kl(task), params, frozen, {**batch, 'teacher': own}, key)
    assert found == pytest.approx(expected, rel=1e-4) and found > 0.01


def test_softmax_and_head_stay_float32_under_bfloat16(config, params, teacher, batch, key):
    half = dataclasses.replace(config, compute_dtype='bfloat16', head_dtype='bfloat16')
    seen = []
    unembed = transformer.unembed

    def spy(tree, x, shape, ids=None):
        seen.append((shape.head_dtype, x.dtype))
        return unembed(tree, x, shape, ids)

    loss_fn = losses.kl(losses.Task(half, last=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, 'unembed', spy)
        frozen = {'teacher': teacher}
        rounded, _ = run(loss_fn, params, frozen, batch, key)
    assert seen == [('float32', jnp.float32)] * 2
    exact, _ = run(losses.kl(losses.Task(config, last=5)), params, frozen, batch, key)
    assert 1e-6 < abs(rounded / exact - 1) < 0.03
    same, _ = run(loss_fn, params, {'teacher': params}, batch, key)
    assert abs(same) < 1e-5  # one program rounds both alike
    grads = jax.jit(jax.grad(lambda p: loss_fn(p, frozen, batch, key)[0]))(params)
    whole = jax.jit(jax.grad(
        lambda p: losses.kl(losses.Task(config, last=5))(p, frozen, batch, key)[0]))(params)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(whole)):
        assert a.dtype == jnp.float32
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b) + 1e-6


def test_places_without_weight_may_hold_anything(params, batch, task, key):
    weight_BT = batch['weight_BT'].at[0].set(0)
    silent = {**batch, 'weight_BT': weight_BT}
    broken = {**params, 'embed': params['embed'].at[39].set(jnp.inf)}
    tokens_BT = batch['tokens_BT'].at[0].set(39)
    value, weight = run(losses.sft(task), broken, {}, {**silent, 'tokens_BT': tokens_BT}, key)
    assert np.isfinite(value) and weight == 7.5


def test_what_cannot_be_asked(config, batch, params, key):
    for ids in ((4,), (4, 4, 5)):
        with pytest.raises(ValueError, match='different tokens'):
            losses.kl_carrier(losses.Task(config), ids)
    with pytest.raises(ValueError, match='predicted by nothing'):
        losses.sft(losses.Task(config, last=11))(params, {}, batch, key)
