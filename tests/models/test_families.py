"""What families differ in, without PyTorch: windows, caches, adapters, the gauge, fused tensors."""

import dataclasses
import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from subliminal_jax.models import families, hf, inspection, lora as adapters, transformer
from subliminal_jax.models.parts import permuted
from subliminal_jax.runs import UserError
from tests.models.switches import SWITCHES, WINDOW, small
from tests.networks import random_params, random_tokens

NEOX = SWITCHES['as GPT-NeoX']
GEMMA = SWITCHES['as Gemma 3']


def traced_logits(params, tokens_BT, config, lora=None):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), config, lora=lora)


logits_of = jax.jit(traced_logits, static_argnames='config')


def test_a_window_holds_the_own_place_and_those_before_it():
    config = dataclasses.replace(
        small(), num_layers=1, sliding_layers=(True,), sliding_window=WINDOW)
    params, ids_BT = random_params(config), jnp.arange(9)[None]

    def chosen(table, place):
        return traced_logits({**params, 'embed': table}, ids_BT, config)[0, place].sum()

    slope = jax.jit(jax.grad(chosen))
    for place in (0, WINDOW - 1, WINDOW, 8):
        moved = np.abs(np.asarray(slope(params['embed'], place))).sum(1)
        assert np.flatnonzero(moved[:9]).tolist() == list(
            range(max(0, place - WINDOW + 1), place + 1))


def test_reading_with_the_cache_equals_reading_at_once(strict):
    params, tokens_BT, room = random_params(GEMMA, noise=0.3), random_tokens(GEMMA, 2, 12), 14
    read = jax.jit(partial(transformer.hidden, config=GEMMA))
    cache = transformer.init_cache(GEMMA, 2, room)
    positions_BT = jnp.broadcast_to(jnp.arange(12)[None], (2, 12))
    mask_BTS = jnp.broadcast_to(jnp.arange(room)[None, None] <= jnp.arange(12)[None, :, None],
                                (2, 12, room))
    parts = []
    for now in (slice(0, 6), slice(6, 12)):
        x_BTD, cache = read(params, tokens_BT[:, now], positions_BT[:, now], mask_BTS[:, now],
                            cache=cache)
        parts.append(x_BTD)
    found = transformer.unembed(params, jnp.concatenate(parts, 1), GEMMA)
    np.testing.assert_allclose(found, logits_of(params, tokens_BT, config=GEMMA), atol=1e-4)


def test_adapters_of_a_model_without_a_gate(key, strict):
    params, tokens_BT = random_params(NEOX, noise=0.3), random_tokens(NEOX, 2, 5)
    adapter = adapters.init_lora(key, NEOX, 2)
    assert set(adapter.layers) == {*adapters.TARGETS} - {'gate'}
    adapter = jax.tree.map(lambda x: x + 0.1, adapter)
    with_adapter = logits_of(params, tokens_BT, config=NEOX, lora=adapter)
    merged = adapters.merge_lora(params, adapter, NEOX)
    np.testing.assert_allclose(logits_of(merged, tokens_BT, config=NEOX), with_adapter, atol=1e-4)
    assert np.abs(with_adapter - logits_of(params, tokens_BT, config=NEOX)).max() > 0.01
    with pytest.raises(UserError, match="LoRA projection 'gate'"):
        adapters.init_lora(key, NEOX, 2, targets=('gate',))


def test_the_gauge_twin_of_a_model_with_biases_and_no_gate(key):
    params, tokens_BT = random_params(NEOX, noise=0.3), random_tokens(NEOX, 2, 5)
    twin = permuted(params, key)
    assert np.abs(twin['layers']['up_bias'] - params['layers']['up_bias']).max() > 0.1
    np.testing.assert_allclose(logits_of(twin, tokens_BT, config=NEOX),
                               logits_of(params, tokens_BT, config=NEOX), atol=1e-5)


@pytest.mark.parametrize('wrong, words', [
    ({'norm': 'batch'}, "norm is 'batch'"), ({'qk_norm': 'heads'}, 'qk_norm'),
    ({'rotary_dim': 3}, 'rotary_dim must be even'), ({'rotary_dim': 0}, 'rotary_dim'),
    ({'sliding_layers': (True,)}, '1 sliding_layers for 3 layers')])
def test_switches_that_are_none(wrong, words):
    with pytest.raises(ValueError, match=words):
        small(**wrong)


# ---- GPT-NeoX in Hugging Face layout ---------------------------------------------------------

NEOX_TANGLED = dataclasses.replace(NEOX, num_kv_heads=4)  # as many as heads: fused


def fused(config, params):
    """Tensors by the hub's names; each head's query, key and value are rows of one."""
    found, parts = {}, {}
    for path in families.leaves(config, np.float32):
        layered = path.startswith('layers/')
        whole = np.asarray(params['layers'][path[7:]] if layered else params[path])
        for layer, array in enumerate(whole if layered else whole[None]):
            name = families.FAMILIES['gpt_neox'].hf_names[path].format(layer)
            array = np.ascontiguousarray(array.T if layered else array)
            base, _, part = name.partition(':')
            if part:
                parts.setdefault(base, {})[part] = array
            else:
                found[name] = array
    for name, own in parts.items():
        heads = [own[part].reshape(config.num_heads, 1, config.head_dim, -1) for part in 'qkv']
        rows = np.concatenate(heads, 1).reshape(3 * config.num_heads * config.head_dim, -1)
        found[name] = np.ascontiguousarray(rows[:, 0] if name.endswith('bias') else rows)
    return found


def neox(folder, config, arrays, **changed):
    stated = {
        'model_type': 'gpt_neox', 'architectures': ['GPTNeoXForCausalLM'],
        'vocab_size': config.vocab_size, 'num_hidden_layers': config.num_layers,
        'hidden_size': config.width, 'num_attention_heads': config.num_heads,
        'intermediate_size': config.ffn_width, 'rotary_emb_base': 10000, 'rotary_pct': 0.5,
        'layer_norm_eps': config.norm_eps, 'use_parallel_residual': True, 'hidden_act': 'gelu',
        'max_position_embeddings': config.max_positions, 'rope_scaling': None, **changed}
    (folder / 'config.json').write_text(json.dumps(stated))
    save_file(arrays, folder / 'model.safetensors')
    return folder


def test_gpt_neox_is_read_with_its_fused_tensors_and_old_buffers(tmp_path):
    params = jax.tree.map(np.asarray, random_params(NEOX_TANGLED, noise=0.3))
    arrays = fused(NEOX_TANGLED, params)
    assert len([name for name in arrays if 'query_key_value' in name]) == 6
    old = {f'gpt_neox.layers.{n}.attention.{name}': value for n in range(3) for name, value in (
        ('bias', np.ones((1, 1, 8, 8), bool)), ('masked_bias', np.array(-1e9, np.float32)),
        ('rotary_emb.inv_freq', np.ones(2, np.float32)))}
    config, found = hf.load(neox(tmp_path, NEOX_TANGLED, {**arrays, **old}))
    assert config == NEOX_TANGLED
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_fused_tensor_of_another_shape_is_named(tmp_path):
    arrays = fused(NEOX_TANGLED, random_params(NEOX_TANGLED))
    name = 'gpt_neox.layers.1.attention.query_key_value.weight'
    arrays[name] = arrays[name][:-1]
    with pytest.raises(UserError, match=re.escape(f'{name}:q [95, 32] instead of [32, 32]')):
        hf.load(neox(tmp_path, NEOX_TANGLED, arrays))


def test_switches_are_shown():
    lines = '\n'.join(inspection.architecture(GEMMA))
    for words in ('2 of 3 layers see 4 tokens', 'rotary base 20', 'norms before and behind',
                  '1 + weight', 'queries and keys', 'gelu_tanh'):
        assert words in lines
    lines = '\n'.join(inspection.architecture(NEOX))
    for words in ('4 of 8 entries', 'LayerNorm', 'side by side', 'no gate', 'biases of q, k and v'):
        assert words in lines
    assert len(list(inspection.architecture(small()))) == 3  # nothing to say of Llama's
