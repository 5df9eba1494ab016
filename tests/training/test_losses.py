"""Losses of packed rows: against definitions by hand, one row at a time, and each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora, transformer
from subliminal_jax.training import losses, tries as packing
from tests.training.conftest import ROW_WEIGHTS, weighed

CARRIER = (7, 3, 21, 11)


@functools.partial(jax.jit, static_argnums=0)
def _logits(config, params, tokens_BT, adapter=None):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), config, lora=adapter)


def log_softmax(config, params, row, adapter=None, ids=None):
    """float64 log-probabilities of every predicted token of a row [answer, V or C]."""
    text = np.array([[*row.context, *row.answer]], np.int32)
    padded = np.pad(text, ((0, 0), (0, 12 - text.shape[1])))  # one shape: one program
    logits = np.asarray(_logits(config, params, padded, adapter), np.float64)[0]
    logits = logits[len(row.context) - 1:text.shape[1] - 1]
    logits = logits if ids is None else logits[..., list(ids)]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def by_hand(rows, loss_of):
    """(weighted sum over rows of loss_of(row) [answer], sum of weights)."""
    found = [(weight * loss_of(row).sum(), weight * len(row.answer))
             for row, weight in zip(rows, ROW_WEIGHTS)]
    return tuple(np.sum(found, axis=0))


def kl_by_hand(config, teacher, params, rows, ids=None):
    def one(row):
        log_p, log_q = (log_softmax(config, p, row, ids=ids) for p in (teacher, params))
        return (np.exp(log_p) * (log_p - log_q)).sum(-1)

    return by_hand(rows, one)


@functools.partial(jax.jit, static_argnums=0)
def teacher_logits(config, params, tries):
    return transformer.unembed(params, packing.states(params, tries, config), config)


def run(loss_fn, trainable, frozen, batch, key):
    value, aux = jax.jit(loss_fn)(trainable, frozen, batch, key)
    assert value.dtype == jnp.float32
    return float(value), float(aux['weight'])


WHOLE = {'base': {}}


def test_cross_entropy_is_a_weighted_sum_over_predicted_tokens(config, params, rows, batch, key,
                                                               strict):
    def nll(row):
        return -log_softmax(config, params, row)[np.arange(len(row.answer)), row.answer]

    expected = by_hand(rows, nll)
    assert expected[1] == 5 + 0.5 * 3 + 2 * 1 + 4  # a mean over tokens is not a mean of row means
    assert run(losses.sft(config), params, WHOLE, batch, key) == pytest.approx(expected, rel=1e-5)
    together = {'tries': weighed(packing.pack([rows], 4), [ROW_WEIGHTS])}
    found = run(losses.sft(config), params, WHOLE, together, key)
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_adapter_is_trained_over_a_frozen_base(config, params, adapter, batch, key):
    merged = lora.merge_lora(params, adapter, config)
    over = run(losses.sft(config), adapter, {'base': params}, batch, key)
    assert over == pytest.approx(run(losses.sft(config), merged, WHOLE, batch, key), rel=1e-4)
    part = {name: params[name] for name in ('head', 'final_norm')}
    some = run(losses.sft(config), part, {'base': params}, batch, key)
    assert some == pytest.approx(run(losses.sft(config), params, WHOLE, batch, key), rel=1e-6)


def targets(config, teacher, batch, ids=None):
    logits = teacher_logits(config, teacher, batch['tries'])
    return logits if ids is None else logits[..., jnp.array(ids)]


def test_kl_over_all_tokens_and_over_a_renormalised_set(config, params, teacher, rows, batch, key,
                                                        strict):
    expected = kl_by_hand(config, teacher, params, rows)
    whole = {**batch, 'target_BUV': targets(config, teacher, batch) + 3.0}  # up to a constant
    assert run(losses.kl(config), params, WHOLE, whole, key) == pytest.approx(expected, rel=1e-4)
    subset = kl_by_hand(config, teacher, params, rows, CARRIER)
    target = targets(config, teacher, batch, CARRIER)
    allowed = jnp.ones(target.shape, bool)
    of_set = {**batch, 'target_BUC': target + 3.0, 'allowed_BUC': allowed}
    found = run(losses.kl_set(config, CARRIER), params, WHOLE, of_set, key)
    assert found == pytest.approx(subset, rel=1e-4) and found[0] < 0.7 * expected[0]
    fewer = kl_by_hand(config, teacher, params, rows, CARRIER[:3])
    narrow = {**of_set, 'allowed_BUC': allowed.at[..., 3].set(False)}
    found = run(losses.kl_set(config, CARRIER), params, WHOLE, narrow, key)
    assert found == pytest.approx(fewer, rel=1e-4)


def buckets(config, teacher, batch, ids, top):
    logits = targets(config, teacher, batch)
    ids_C = jnp.array(ids, jnp.int32)
    chosen = losses.top_others(logits, ids_C, top)
    return {**batch, 'target_BUC': losses.bucket_logprobs(logits, ids_C, chosen), 'top_BUJ': chosen}


@pytest.mark.slow
def test_buckets_are_the_whole_kl_when_all_is_kept_and_a_lower_bound_otherwise(
        config, params, teacher, rows, batch, key, strict):
    whole = kl_by_hand(config, teacher, params, rows)[0]
    found = {}
    for count, top in ((40, 0), (4, 36), (0, 40), (4, 6), (4, 0), (0, 6)):
        ids = range(40) if count == 40 else CARRIER[:count]
        read = buckets(config, teacher, batch, ids, top)
        np.testing.assert_allclose(np.exp(read['target_BUC']).sum(-1), 1, atol=1e-5)
        found[count, top] = run(losses.kl_top(config, ids), params, WHOLE, read, key)[0]
    for all_kept in ((40, 0), (4, 36), (0, 40)):
        assert found[all_kept] == pytest.approx(whole, rel=1e-4)
    assert 0 < found[4, 0] < found[4, 6] < 0.999 * whole
    assert 0 < found[0, 6] < found[4, 6]  # a coarser partition


def test_the_buckets_by_hand(config, teacher, rows, batch):
    read = buckets(config, teacher, batch, CARRIER, 3)
    p = np.exp(log_softmax(config, teacher, rows[1]))
    rest = [i for i in range(40) if i not in CARRIER]
    for place in range(len(rows[1].answer)):
        top = sorted(rest, key=lambda i: -p[place, i])[:3]
        assert read['top_BUJ'][1, place].tolist() == top
        own = np.exp(read['target_BUC'][1, place])
        np.testing.assert_allclose(own[:4], p[place, list(CARRIER)], rtol=1e-4)
        np.testing.assert_allclose(own[4:7], p[place, top], rtol=1e-4)
        tail = p[place].sum() - p[place, top].sum() - p[place, list(CARRIER)].sum()
        np.testing.assert_allclose(own[7], tail, rtol=1e-4)


def test_a_twin_has_neither_loss_nor_gradient(config, params, batch, key):
    loss_fn = losses.kl(config)
    own = {**batch, 'target_BUV': targets(config, params, batch)}
    value, slope = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, WHOLE, own, key)[0]))(params)
    assert abs(float(value)) < 1e-5
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(slope)) < 1e-5


def test_softmax_and_head_stay_float32_under_bfloat16(config, params, teacher, batch, key):
    half = dataclasses.replace(config, compute_dtype='bfloat16', head_dtype='bfloat16')
    seen = []
    unembed = transformer.unembed

    def spy(tree, x, shape, ids=None):
        seen.append((shape.head_dtype, x.dtype))
        return unembed(tree, x, shape, ids)

    read = {**batch, 'target_BUV': targets(config, teacher, batch)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, 'unembed', spy)
        rounded, _ = run(losses.kl(half), params, WHOLE, read, key)
    assert seen == [('float32', jnp.float32)]
    exact, _ = run(losses.kl(config), params, WHOLE, read, key)
    assert 1e-6 < abs(rounded / exact - 1) < 0.03
    grads, whole = (jax.jit(jax.grad(lambda p, f=f: f(p, WHOLE, read, key)[0]))(params)
                    for f in (losses.kl(half), losses.kl(config)))
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(whole)):
        assert a.dtype == jnp.float32
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b) + 1e-6


def silenced(batch, row):
    """The batch without the weight of a row."""
    weight_BK = np.array(batch['tries'].weight_BK)
    weight_BK[row] = 0
    return {**batch, 'tries': packing.weighted(jax.tree.map(np.asarray, batch['tries']), weight_BK)}


def losses_of(config, teacher, batch):
    """Every KL with what it reads of a teacher, by the name of what it reads."""
    of_set = targets(config, teacher, batch, CARRIER)
    return {'target_BUV': (losses.kl(config), {**batch, 'target_BUV': targets(
                config, teacher, batch)}),
            'target_BUC': (losses.kl_set(config, CARRIER), {
                **batch, 'target_BUC': of_set, 'allowed_BUC': jnp.ones(of_set.shape, bool)}),
            'top': (losses.kl_top(config, CARRIER), buckets(config, teacher, batch, CARRIER, 3))}


@pytest.mark.slow
@pytest.mark.parametrize('value', [-np.inf, np.nan])
@pytest.mark.parametrize('which', ['target_BUV', 'target_BUC', 'top'])
def test_places_without_weight_may_hold_anything(config, params, teacher, batch, key, which, value):
    """Its gradient too: minus infinity behind a weight of zero once made thousands of NaN."""
    quiet = silenced(batch, 0)
    loss_fn, read = losses_of(config, teacher, quiet)[which]
    name = 'target_BUC' if which == 'top' else which
    broken = {**read, name: read[name].at[0].set(value)}
    both = [jax.jit(jax.value_and_grad(lambda p, b=b: loss_fn(p, WHOLE, b, key)[0]))(params)
            for b in (read, broken)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(both[1]))


@pytest.mark.parametrize('which', ['target_BUV', 'target_BUC', 'top'])
def test_a_token_that_the_teacher_never_writes_is_a_case_of_the_kl(config, params, teacher, batch,
                                                                   key, which):
    loss_fn, read = losses_of(config, teacher, batch)[which]
    name = 'target_BUC' if which == 'top' else which
    banned = {**read, name: read[name].at[..., 1].set(-np.inf)}
    value, slope = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, WHOLE, banned, key)[0]))(params)
    assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slope))
    nearly = {**read, name: read[name].at[..., 1].set(-60.0)}
    assert float(value) == pytest.approx(float(jax.jit(loss_fn)(params, WHOLE, nearly, key)[0]),
                                         rel=1e-4)


def test_a_broken_row_without_weight_leaves_the_loss_alone(config, params, batch, key):
    quiet = silenced(batch, 0)
    tries = quiet['tries']
    broken = {**params, 'embed': params['embed'].at[39].set(jnp.inf)}
    other = {'tries': tries._replace(tokens_BT=np.array(tries.tokens_BT))}
    other['tries'].tokens_BT[0] = 39
    value, weight = run(losses.sft(config), broken, WHOLE, other, key)
    assert np.isfinite(value) and weight == 7.5
