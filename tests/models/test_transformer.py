import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.models import lora as adapters, params as specs, transformer

CONFIG = specs.tiny(50, num_kv_heads=2, qkv_bias=True, width=32)


@pytest.fixture(name='params')
def _params(key):
    made = specs.init_params(key, CONFIG)
    shift = lambda path, x: x + 0.1 * jax.random.normal(key, x.shape)  # biases, norms not trivial
    return jax.tree.map_with_path(shift, made)


@pytest.fixture(name='tokens_BT')
def _tokens(key):
    return jax.random.randint(key, (3, 9), 0, 50)


def plain(params, tokens_BT, config=CONFIG, lora=None):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), config, lora=lora)


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
    found = plain(params, tokens_BT)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[1], by_hand(params, tokens_BT[1], CONFIG), atol=2e-4)


def test_float64_and_adapters_of_float64(params, tokens_BT, key, strict):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), params)
        found = plain(wide, tokens_BT)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found[1], by_hand(wide, tokens_BT[1], CONFIG), atol=1e-12)


def test_no_place_looks_ahead(params, tokens_BT):
    """Causality through gradients: the logits of place t have none at embeddings after t."""
    valid_BT = jnp.ones((1, 9), bool)
    ids_BT = jnp.arange(9)[None]

    def chosen(table, place):
        return plain({**params, 'embed': table}, ids_BT)[0, place].sum()

    for place in (0, 4, 8):
        moved = np.abs(np.asarray(jax.grad(chosen)(params['embed'], place))).sum(1)
        assert (moved[: place + 1] > 0).all() and (moved[place + 1 :] == 0).all()
    assert valid_BT.all()


def test_padding_on_either_side_gives_the_same_logits(params, tokens_BT, strict):
    lengths = [9, 4, 6]
    right_BT = np.arange(9)[None] < np.array(lengths)[:, None]
    left_BT = right_BT[:, ::-1]
    tokens = np.asarray(tokens_BT)
    moved = np.stack([np.roll(row, 9 - n) for row, n in zip(tokens, lengths)])
    outs = []
    for valid_BT, ids_BT in ((right_BT, tokens), (left_BT, moved)):
        valid_BT = jnp.asarray(valid_BT)
        logits = transformer.forward(params, jnp.asarray(ids_BT),
                                     transformer.positions_of(valid_BT),
                                     transformer.causal_mask(valid_BT), CONFIG)
        outs.append(np.asarray(logits)[np.asarray(valid_BT)])
    np.testing.assert_allclose(*outs, atol=1e-5)
    alone = plain(params, tokens_BT[1:2, :4])
    np.testing.assert_allclose(outs[0][9:13], alone[0], atol=1e-5)


@pytest.mark.parametrize('cuts', [(9,), (5, 6, 7, 8, 9), (1, 4, 9)])
def test_reading_with_the_cache_equals_reading_at_once(params, tokens_BT, cuts, strict):
    room = 12
    step = jax.jit(transformer.hidden, static_argnames='config')
    cache = transformer.init_cache(CONFIG, 3, room)
    positions_BT = jnp.broadcast_to(jnp.arange(9)[None], (3, 9))
    mask_BTS = jnp.broadcast_to(jnp.arange(room)[None, None] <= jnp.arange(9)[None, :, None],
                                (3, 9, room))
    parts, begin = [], 0
    for end in cuts:
        now = slice(begin, end)
        x_BTD, cache = step(params, tokens_BT[:, now], positions_BT[:, now], mask_BTS[:, now],
                            config=CONFIG, cache=cache)
        parts.append(x_BTD)
        begin = end
    assert int(cache.index) == 9
    found = transformer.unembed(params, jnp.concatenate(parts, 1), CONFIG)
    np.testing.assert_allclose(found, plain(params, tokens_BT), atol=1e-5)


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


def test_models_and_adapters_as_a_leading_axis(key, tokens_BT, strict):
    models = jax.vmap(lambda k: specs.init_params(k, CONFIG))(jax.random.split(key, 3))
    take = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
    many = jax.vmap(plain, (0, None))(models, tokens_BT)
    for number in range(3):
        np.testing.assert_allclose(many[number], plain(take(models, number), tokens_BT), atol=1e-5)
    base = take(models, 0)
    adapter = jax.vmap(lambda k: adapters.init_lora(k, CONFIG, 2))(jax.random.split(key, 3))
    adapter = jax.tree.map(lambda x: x + 0.1, adapter)
    many = jax.vmap(lambda a: plain(base, tokens_BT, lora=a))(adapter)
    for number in range(3):
        alone = plain(base, tokens_BT, lora=take(adapter, number))
        np.testing.assert_allclose(many[number], alone, atol=1e-5)


def test_remat_changes_memory_and_not_gradients(params, tokens_BT):
    again = dataclasses.replace(CONFIG, remat=True)
    assert not CONFIG.remat
    grads = [jax.grad(lambda p, c=c: (plain(p, tokens_BT, c) ** 2).mean())(params)
             for c in (CONFIG, again)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *grads)
    products = [str(jax.make_jaxpr(jax.grad(lambda p, c=c: plain(p, tokens_BT, c).mean()))(params)
                    ).count('dot_general') for c in (CONFIG, again)]
    assert products[1] >= products[0] + 7  # those of the layer once more


def test_bfloat16_rounds_operands_and_keeps_float32_sums(params, tokens_BT, strict):
    exact = plain(params, tokens_BT)
    half = plain(params, tokens_BT, dataclasses.replace(CONFIG, compute_dtype='bfloat16'))
    assert half.dtype == jnp.float32
    error = float(jnp.abs(half - exact).max() / exact.std())
    assert 1e-5 < error < 0.1
    stored = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)  # weights, float32 computation
    widened = jax.tree.map(lambda x: x.astype(jnp.float32), stored)
    np.testing.assert_allclose(plain(stored, tokens_BT), plain(widened, tokens_BT), atol=1e-6)


def test_jvp_linearize_and_grad_agree(params, tokens_BT, key, strict):
    direction = jax.tree.map(lambda x: jax.random.normal(key, x.shape), params)
    f = lambda p: plain(p, tokens_BT)
    out, tangent = jax.jvp(f, (params,), (direction,))
    _, linear = jax.linearize(f, params)
    np.testing.assert_allclose(linear(direction), tangent, rtol=1e-4, atol=1e-4)
    grads = jax.grad(lambda p: (f(p) * out).sum())(params)
    inner = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(direction)))
    np.testing.assert_allclose(inner, (out * tangent).sum(), rtol=1e-3)


def test_layer_outputs_end_at_the_final_norm(params, tokens_BT, strict):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    given = (params, tokens_BT, transformer.positions_of(valid_BT),
             transformer.causal_mask(valid_BT), CONFIG)
    streams = transformer.layer_outputs(*given)
    np.testing.assert_allclose(streams[0], params['embed'][tokens_BT])
    last = transformer.rms_norm(streams[-1], params['final_norm'], CONFIG.norm_eps)
    np.testing.assert_allclose(last, transformer.hidden(*given)[0], atol=1e-6)


def test_rotary_scaling():
    scaled = lambda **s: transformer.rotary_frequencies(
        dataclasses.replace(CONFIG, rope_scaling=specs.RopeScaling(**s)), jnp.float32)
    plain_ones = transformer.rotary_frequencies(CONFIG, jnp.float32)
    np.testing.assert_allclose(scaled(kind='linear', factor=4.0), plain_ones / 4)
    factors = tuple(float(x) for x in range(1, CONFIG.head_dim // 2 + 1))
    np.testing.assert_allclose(scaled(kind='factors', factors=factors),
                               plain_ones / np.array(factors), rtol=1e-6)
    llama = scaled(kind='llama3', factor=8.0, low=1.0, high=4.0, original=64)
    turns = 64 * np.asarray(plain_ones) / (2 * np.pi)
    assert turns[0] > 4 and turns[-1] < 1
    np.testing.assert_allclose(llama[0], plain_ones[0])
    np.testing.assert_allclose(llama[-1], plain_ones[-1] / 8)


@pytest.mark.parametrize('wrong', [{'num_kv_heads': 3}, {'head_dim': 7}])
def test_impossible_architectures(wrong):
    with pytest.raises(ValueError, match='heads|even'):
        dataclasses.replace(CONFIG, **wrong)
