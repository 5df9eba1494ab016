"""The forward pass against its definition; cache, padding, stacks, gradients and dtypes.

Programs are compiled once and shared: a call outside of jit would compile its scan each time.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora as adapters, params as specs, transformer
from tests.networks import random_params, random_tokens

CONFIG = specs.tiny(50, num_kv_heads=2, qkv_bias=True, width=32)


@pytest.fixture(name='params', scope='module')
def _params():
    return random_params(CONFIG, noise=0.1)


@pytest.fixture(name='tokens_BT', scope='module')
def _tokens():
    return random_tokens(CONFIG, 3, 9)


def traced_logits(params, tokens_BT, config=CONFIG, lora=None, valid_BT=None):
    """Logits [B, T, V]; every token is valid unless valid_BT says otherwise."""
    if valid_BT is None:
        valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), config, lora=lora)


_logits = jax.jit(traced_logits, static_argnames='config')
_read = jax.jit(transformer.hidden, static_argnames='config')


def logits_of(params, tokens_BT, config=CONFIG, lora=None, valid_BT=None):
    """`traced_logits`, by one program for all texts of a shape."""
    if valid_BT is None:
        valid_BT = np.ones(tokens_BT.shape, bool)
    return _logits(params, tokens_BT, config=config, lora=lora, valid_BT=valid_BT)


def by_hand(params, tokens, config):
    """Logits [T, V] of one row in float64, head by head and place by place."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    norm = lambda x, w: x / np.sqrt((x * x).mean() + config.norm_eps) * w
    half = config.head_dim // 2
    x = [p['embed'][t] for t in tokens]
    for number in range(config.num_layers):
        w = {name: value[number] for name, value in p['layers'].items()}

        def heads(name, place, count, w=w, x=x):
            y = norm(x[place], w['attn_norm']) @ w[name] + w[f'{name}_bias']
            y = y.reshape(count, config.head_dim)
            if name == 'v':
                return y
            turned = np.empty_like(y)
            for pair in range(half):
                angle = place * config.rope_theta ** (-pair / half)
                real, imag = y[:, pair], y[:, pair + half]
                turned[:, pair] = real * np.cos(angle) - imag * np.sin(angle)
                turned[:, pair + half] = real * np.sin(angle) + imag * np.cos(angle)
            return turned

        keys = [heads('k', t, config.num_kv_heads) for t in range(len(x))]
        values = [heads('v', t, config.num_kv_heads) for t in range(len(x))]
        new = []
        for place in range(len(x)):
            query = heads('q', place, config.num_heads)
            mixed = []
            for head in range(config.num_heads):
                own = head // (config.num_heads // config.num_kv_heads)
                score = np.array([query[head] @ keys[s][own] for s in range(place + 1)])
                weight = np.exp(score / config.head_dim**0.5)
                weight /= weight.sum()
                mixed.append(sum(a * values[s][own] for s, a in enumerate(weight)))
            y = x[place] + np.concatenate(mixed) @ w['o']
            h = norm(y, w['mlp_norm'])
            gate = h @ w['gate']
            new.append(y + (gate / (1 + np.exp(-gate)) * (h @ w['up'])) @ w['down'])
        x = new
    return np.stack([norm(y, p['final_norm']) @ p['head'].T for y in x])


def test_the_forward_pass_is_what_the_definition_says(params, tokens_BT, strict):
    found = logits_of(params, tokens_BT)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[1], by_hand(params, tokens_BT[1], CONFIG), atol=2e-4)


def test_float64(params, tokens_BT, strict):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), params)
        found = logits_of(wide, tokens_BT)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found[1], by_hand(wide, tokens_BT[1], CONFIG), atol=1e-12)


def test_no_place_looks_ahead(params, tokens_BT):
    """Causality through gradients: the logits of place t have none at embeddings after t."""
    ids_BT = jnp.arange(9)[None]  # every place its own row of the table

    def chosen(table, place):
        return traced_logits({**params, 'embed': table}, ids_BT)[0, place].sum()

    slope = jax.jit(jax.grad(chosen))
    for place in (0, 4, 8):
        moved = np.abs(np.asarray(slope(params['embed'], place))).sum(1)
        assert (moved[: place + 1] > 0).all() and (moved[place + 1 :] == 0).all()


def test_padding_on_either_side_gives_the_same_logits(params, tokens_BT, strict):
    lengths = [9, 4, 6]
    right_BT = np.arange(9)[None] < np.array(lengths)[:, None]
    left_BT = right_BT[:, ::-1]
    tokens = np.asarray(tokens_BT)
    moved = np.stack([np.roll(row, 9 - n) for row, n in zip(tokens, lengths)])
    outs = []
    for valid_BT, ids_BT in ((right_BT, tokens), (left_BT, moved)):
        logits = logits_of(params, jnp.asarray(ids_BT), valid_BT=valid_BT)
        outs.append(np.asarray(logits)[valid_BT])
    np.testing.assert_allclose(*outs, atol=1e-5)
    alone = logits_of(params, tokens_BT[1:2, :4])
    np.testing.assert_allclose(outs[0][9:13], alone[0], atol=1e-5)


@pytest.mark.parametrize('cuts', [(9,), (5, 6, 7, 8, 9), (1, 4, 9)])
def test_reading_with_the_cache_equals_reading_at_once(params, tokens_BT, cuts, strict):
    room = 12
    cache = transformer.init_cache(CONFIG, 3, room)
    positions_BT = jnp.broadcast_to(jnp.arange(9)[None], (3, 9))
    mask_BTS = jnp.broadcast_to(jnp.arange(room)[None, None] <= jnp.arange(9)[None, :, None],
                                (3, 9, room))
    parts, begin = [], 0
    for end in cuts:
        now = slice(begin, end)
        x_BTD, cache = _read(params, tokens_BT[:, now], positions_BT[:, now], mask_BTS[:, now],
                             config=CONFIG, cache=cache)
        parts.append(x_BTD)
        begin = end
    assert int(cache.index) == 9
    found = transformer.unembed(params, jnp.concatenate(parts, 1), CONFIG)
    np.testing.assert_allclose(found, logits_of(params, tokens_BT), atol=1e-5)


def test_decoding_compiles_once(params, tokens_BT):
    count = []

    @jax.jit
    def step(cache, token_B1, position_B1, mask):
        count.append(1)
        return transformer.hidden(params, token_B1, position_B1, mask, CONFIG, cache=cache)[1]

    cache = transformer.init_cache(CONFIG, 3, 6)
    for place in range(4):
        mask = jnp.broadcast_to(jnp.arange(6)[None, None] <= place, (3, 1, 6))
        cache = step(cache, tokens_BT[:, place : place + 1], jnp.full((3, 1), place), mask)
    assert len(count) == 1 and int(cache.index) == 4


def test_logits_of_some_tokens_only(params, tokens_BT, strict):
    ids = jnp.array([3, 49, 3])
    x_BTD = jnp.ones((2, 32)) * jnp.linspace(-1, 1, 32)[None]
    for config, tree in ((CONFIG, params), (dataclasses.replace(CONFIG, tied=True), params)):
        whole = transformer.unembed(tree, x_BTD, config)
        np.testing.assert_allclose(transformer.unembed(tree, x_BTD, config, ids), whole[:, ids],
                                   rtol=1e-5)
        table = tree['embed' if config.tied else 'head']
        np.testing.assert_allclose(whole, np.asarray(x_BTD) @ np.asarray(table).T, atol=1e-4)


@pytest.mark.slow
def test_models_and_adapters_as_a_leading_axis(key, tokens_BT, strict):
    models = [random_params(CONFIG, seed, noise=0.1) for seed in range(3)]
    stack = lambda trees: jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    many = jax.jit(jax.vmap(traced_logits, (0, None)))(stack(models), tokens_BT)
    for found, model in zip(many, models, strict=True):
        np.testing.assert_allclose(found, logits_of(model, tokens_BT), atol=1e-5)
    lora = [jax.tree.map(lambda x: x + 0.1, adapters.init_lora(k, CONFIG, 2))
            for k in jax.random.split(key, 3)]
    many = jax.jit(jax.vmap(lambda a: traced_logits(models[0], tokens_BT, lora=a)))(stack(lora))
    for found, adapter in zip(many, lora, strict=True):
        alone = logits_of(models[0], tokens_BT, lora=adapter)
        np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.slow
def test_remat_changes_memory_and_not_gradients(params, tokens_BT):
    again = dataclasses.replace(CONFIG, remat=True)
    assert not CONFIG.remat
    slopes = [jax.grad(lambda p, c=c: (traced_logits(p, tokens_BT, c) ** 2).mean())
              for c in (CONFIG, again)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
                 *(jax.jit(slope)(params) for slope in slopes))
    products = [str(jax.make_jaxpr(slope)(params)).count('dot_general') for slope in slopes]
    assert products[1] >= products[0] + 7  # those of the layer once more


def test_bfloat16_rounds_operands_and_keeps_float32_sums(params, tokens_BT, strict):
    exact = logits_of(params, tokens_BT)
    half = logits_of(params, tokens_BT, dataclasses.replace(CONFIG, compute_dtype='bfloat16'))
    assert half.dtype == jnp.float32
    error = float(jnp.abs(half - exact).max() / exact.std())
    assert 1e-5 < error < 0.1
    stored = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)  # weights, float32 computation
    widened = jax.tree.map(lambda x: x.astype(jnp.float32), stored)
    np.testing.assert_allclose(
        logits_of(stored, tokens_BT), logits_of(widened, tokens_BT), atol=1e-6)


@pytest.mark.slow
def test_jvp_linearize_and_grad_agree(params, tokens_BT, strict):
    direction = random_params(CONFIG, seed=1, noise=1.0)
    f = lambda p: traced_logits(p, tokens_BT)
    out, tangent = jax.jit(lambda p, v: jax.jvp(f, (p,), (v,)))(params, direction)
    linear = jax.jit(lambda p, v: jax.linearize(f, p)[1](v))(params, direction)
    np.testing.assert_allclose(linear, tangent, rtol=1e-4, atol=1e-4)
    grads = jax.jit(jax.grad(lambda p: (f(p) * out).sum()))(params)
    inner = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(direction)))
    np.testing.assert_allclose(inner, (out * tangent).sum(), rtol=1e-3)


def test_layer_outputs_end_at_the_final_norm(params, tokens_BT, strict):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    given = (params, tokens_BT, transformer.positions_of(valid_BT),
             transformer.causal_mask(valid_BT))
    streams = jax.jit(partial(transformer.layer_outputs, config=CONFIG))(*given)
    np.testing.assert_allclose(streams[0], params['embed'][tokens_BT])
    last = transformer.rms_norm(streams[-1], params['final_norm'], CONFIG.norm_eps)
    np.testing.assert_allclose(last, _read(*given, config=CONFIG)[0], atol=1e-5)


def test_rotary_scaling():
    scaled = lambda **s: transformer.rotary_frequencies(
        dataclasses.replace(CONFIG, rope_scaling=specs.RopeScaling(**s)), jnp.float32)
    unscaled = transformer.rotary_frequencies(CONFIG, jnp.float32)
    np.testing.assert_allclose(scaled(kind='linear', factor=4.0), unscaled / 4)
    factors = tuple(float(x) for x in range(1, CONFIG.head_dim // 2 + 1))
    np.testing.assert_allclose(scaled(kind='factors', factors=factors),
                               unscaled / np.array(factors), rtol=1e-6)
    llama = scaled(kind='llama3', factor=8.0, low=1.0, high=4.0, original=64)
    turns = 64 * np.asarray(unscaled) / (2 * np.pi)
    assert turns[0] > 4 and turns[-1] < 1
    np.testing.assert_allclose(llama[0], unscaled[0])
    np.testing.assert_allclose(llama[-1], unscaled[-1] / 8)


@pytest.mark.parametrize('wrong', [{'num_kv_heads': 3}, {'head_dim': 7}])
def test_impossible_architectures(wrong):
    with pytest.raises(ValueError, match='heads|even'):
        dataclasses.replace(CONFIG, **wrong)
