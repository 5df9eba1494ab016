"""Every setting of config.json is used, harmless or refused; what is used is what transformers
uses, over the spellings that files have, old and new."""

import itertools
import json

import numpy as np
import pytest

from subliminal_jax.models import families, hf_config, hf_switches, transformer
from subliminal_jax.runs import UserError

BASE = {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'vocab_size': 64,
        'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,
        'num_attention_heads': 4, 'hidden_act': 'silu', 'max_position_embeddings': 128}
QWEN = {'architectures': ['Qwen2ForCausalLM'], 'model_type': 'qwen2', 'num_key_value_heads': 2}
MISTRAL = {'model_type': 'mistral', 'num_key_value_heads': 2}
GEMMA = {'model_type': 'gemma3_text', 'num_key_value_heads': 2, 'head_dim': 8, 'rope_theta': 300.0,
         'sliding_window': 8, 'hidden_act': ..., 'hidden_activation': 'gelu_pytorch_tanh',
         'sliding_window_pattern': 2, 'tie_word_embeddings': True, 'query_pre_attn_scalar': 8,
         'final_logit_softcapping': None, 'cache_implementation': 'hybrid'}
NEOX = {'model_type': 'gpt_neox', 'hidden_act': 'gelu', 'rotary_pct': 0.5,
        'rotary_emb_base': 10000, 'layer_norm_eps': 1e-3, 'use_parallel_residual': True}
LLAMA3 = {'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
          'original_max_position_embeddings': 64}
STRETCHES = {'default': {}, 'linear': {'factor': 4.0}, 'llama3': LLAMA3,
             'llama3 of an unstated length': {k: v for k, v in LLAMA3.items() if 'max' not in k}}


def read(folder, **changed):
    """Our reading of a config.json; None removes a field."""
    stated = {key: value for key, value in {**BASE, **changed}.items() if value is not ...}
    (folder / 'config.json').write_text(json.dumps(stated))
    return hf_config.config_of(folder)[0]


def frequencies_of(peer):
    """(frequencies of full layers, of sliding ones) of transformers; None where none is such."""
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    if peer.model_type == 'gemma3_text':
        rotary = Gemma3RotaryEmbedding(peer)
        kinds = ('full_attention', 'sliding_attention')
        assert {getattr(rotary, f'{kind}_attention_scaling', 1) for kind in kinds} == {1}
        return [getattr(rotary, f'{kind}_inv_freq', None) for kind in kinds]
    neox = peer.model_type == 'gpt_neox'
    rotary = (GPTNeoXRotaryEmbedding if neox else LlamaRotaryEmbedding)(peer)
    assert rotary.attention_scaling == 1
    return rotary.inv_freq, rotary.inv_freq


def same_as_transformers(folder, config):
    """Frequencies, sizes and attention of transformers' reading of the same file."""
    from transformers import AutoConfig

    peer = AutoConfig.from_pretrained(str(folder))
    for local, wanted in zip((False, True), frequencies_of(peer), strict=True):
        found = transformer.rotary_frequencies(config, np.float32, local)
        if wanted is not None:
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)
    heads = peer.num_attention_heads
    eps = peer.layer_norm_eps if peer.model_type == 'gpt_neox' else peer.rms_norm_eps
    assert (config.num_kv_heads, config.norm_eps, config.tied, config.max_positions) == (
        getattr(peer, 'num_key_value_heads', heads), eps, peer.tie_word_embeddings,
        peer.max_position_embeddings)
    assert config.head_dim == getattr(peer, 'head_dim', None) or peer.hidden_size // heads
    window = getattr(peer, 'sliding_window', None)
    types = getattr(peer, 'layer_types', None) or [
        'full_attention' if window is None else 'sliding_attention'] * config.num_layers
    slides = tuple(kind == 'sliding_attention' for kind in types)
    if any(config.sliding_layers):
        assert (config.sliding_layers, config.sliding_window) == (slides, window)
    else:
        assert not any(slides) or window >= config.max_positions


def rotary_spellings():
    for stretch, theta, family in itertools.product(STRETCHES, (None, 500.0), (BASE, QWEN)):
        values = STRETCHES[stretch]
        for kind, place in itertools.product(('rope_type', 'type'),
                                             ('rope_parameters', 'rope_scaling')):
            rope = {kind: stretch.split()[0], **values}
            inside = {place: {**rope, 'rope_theta': theta}} if theta else {place: rope}
            outside = {place: rope, 'rope_theta': theta} if theta else {place: rope}
            for spelling in (inside, outside):
                yield pytest.param({**family, **spelling}, id=f'{family["model_type"]} {spelling}')
    old = {'rope_theta': 300.0, 'rope_scaling': None, 'rope_parameters': None}
    yield pytest.param(old, id='old')


@pytest.mark.parametrize('changed', list(rotary_spellings()))
def test_rotary_settings_in_every_spelling(tmp_path, changed):
    same_as_transformers(tmp_path, read(tmp_path, **changed))


@pytest.mark.parametrize('changed', [
    {}, {'head_dim': 16}, {'num_key_value_heads': 1}, {'tie_word_embeddings': True},
    {'rms_norm_eps': 1e-3}, {'hidden_act': 'swish'}, {'sliding_window': None},
    {**QWEN, 'use_sliding_window': False, 'sliding_window': 8, 'max_window_layers': 0},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 8, 'max_window_layers': 2},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 128, 'max_window_layers': 0},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 8,
     'layer_types': ['full_attention'] * 2},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 8}, {**QWEN, 'sliding_window': 8},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 8, 'max_window_layers': 1},
    {**QWEN, 'use_sliding_window': True, 'sliding_window': 8,
     'layer_types': ['full_attention', 'sliding_attention']},
    MISTRAL, {**MISTRAL, 'sliding_window': None}, {**MISTRAL, 'sliding_window': 8},
    {**MISTRAL, 'sliding_window': 128}, {'model_type': 'olmo2'},
    {**QWEN, 'model_type': 'qwen3'}, {**QWEN, 'model_type': 'qwen3', 'head_dim': ...},
    GEMMA, {**GEMMA, 'sliding_window_pattern': ...}, {**GEMMA, 'rope_theta': ...},
    {**GEMMA, 'rope_scaling': {'rope_type': 'linear', 'factor': 8.0}},
    {**GEMMA, 'rope_local_base_freq': 50.0, 'head_dim': 16, 'tie_word_embeddings': ...},
    {**GEMMA, 'rope_parameters': {'full_attention': {'rope_type': 'default', 'rope_theta': 70.0},
                                  'sliding_attention': {'rope_theta': 30.0}}, 'rope_theta': ...},
    {**GEMMA, 'layer_types': ['full_attention', 'sliding_attention']},
    NEOX, {**NEOX, 'rotary_pct': 1.0, 'rotary_emb_base': 500}, {**NEOX, 'layer_norm_eps': ...},
    {**NEOX, 'rotary_pct': ..., 'rotary_emb_base': ...},
    {**NEOX, 'partial_rotary_factor': 0.5, 'rope_theta': 10000},
    {**NEOX, 'rope_scaling': {'type': 'linear', 'factor': 2.0}},
    {**NEOX, 'rope_parameters': {'rope_type': 'default', 'partial_rotary_factor': 0.5},
     'rotary_pct': ...},
    {**QWEN, 'max_position_embeddings': ...}, {'max_position_embeddings': ...},
    {'attention_dropout': 0.1, 'pretraining_tp': 2, 'torch_dtype': 'bfloat16', 'use_cache': False},
    {'new_setting': None},
])
def test_what_is_taken_is_what_transformers_takes(tmp_path, changed):
    same_as_transformers(tmp_path, read(tmp_path, **changed))


@pytest.mark.parametrize('changed, words', [
    ({'embedding_multiplier': 12.0}, 'embedding_multiplier = 12.0; only 1.0'),
    ({'new_setting': 0.5, 'other': [1]}, r'new_setting = 0.5, other = \[1\]: not known here'),
    ({'auto_map': {'AutoModel': 'x.Y'}}, 'auto_map'),
    ({'final_logit_softcapping': 30.0}, 'final_logit_softcapping'),
    ({'rope_interleaved': True}, 'rope_interleaved = True'),
    ({'partial_rotary_factor': 0.5}, 'partial_rotary_factor = 0.5'),
    ({'rope_parameters': {'partial_rotary_factor': 0.5}}, 'a part of each head only'),
    ({'rope_theta': 1.0, 'rope_parameters': {'rope_theta': 2.0}}, r'twice: \[1.0, 2.0\]'),
    ({'rope_scaling': {'type': 'linear', 'factor': 2.0},
      'rope_parameters': {'type': 'linear', 'factor': 4.0}}, 'twice, and they differ'),
    ({'rope_scaling': {'type': 'linear', 'rope_type': 'default', 'factor': 2.0}}, 'two kinds'),
    ({'rope_scaling': {'rope_type': 'default', 'factor': 2.0}}, "setting factor = 2.0"),
    ({'rope_scaling': {'rope_type': 'linear', 'factor': 2.0, 'attention_factor': 0.9}},
     'attention_factor'),
    ({'rope_parameters': {'full_attention': {'rope_theta': 5.0}}}, 'by kinds of layers'),
    ({**QWEN, 'rope_parameters': {'full_attention': {}, 'sliding_attention': {}}}, 'by kinds'),
    ({'rope_scaling': {'type': 'dynamic', 'factor': 2.0}}, "'dynamic', which is not supported"),
    ({'sliding_window': 8}, 'a window of 8 tokens only'),
    ({'layer_types': ['full_attention', 'chunked_attention']}, 'layer_types = '),
    ({'layer_types': ['full_attention']}, 'layer_types = '),
    ({'sliding_window': 8.5}, 'sliding_window is 8.5'),
    ({'model_type': 'olmo2', 'sliding_window': 8}, 'a window of 8 tokens only'),
    ({**QWEN, 'layer_types': ['sliding_attention'] * 2}, 'a window of None tokens'),
    ({**MISTRAL, 'layer_types': ['full_attention', 'sliding_attention']}, 'all layers see the'),
    ({**MISTRAL, 'attention_bias': True}, 'attention_bias = True'),
    ({**GEMMA, 'final_logit_softcapping': 30.0}, 'final_logit_softcapping = 30.0'),
    ({**GEMMA, 'use_bidirectional_attention': True}, 'use_bidirectional_attention = True'),
    ({**GEMMA, 'hidden_activation': 'silu'}, "hidden_activation = 'silu'"),
    ({**GEMMA, 'rope_parameters': {'rope_theta': 5.0}}, 'states them by kinds of layers'),
    ({**GEMMA, 'rope_parameters': {'sliding_attention': {'rope_type': 'linear', 'factor': 2.0}}},
     'stretches the rotation of sliding layers'),
    ({**GEMMA, 'rope_local_base_freq': 9.0,
      'rope_parameters': {'sliding_attention': {'rope_theta': 5.0}}}, 'sliding layers twice'),
    ({**GEMMA, 'rope_scaling': {'rope_type': 'yarn', 'factor': 2.0}}, "'yarn', which is not"),
    ({'rope_local_base_freq': 9.0}, 'rope_local_base_freq = 9.0: not known here'),
    ({**NEOX, 'hidden_act': 'relu'}, "hidden_act = 'relu'"),
    ({**NEOX, 'rotary_pct': 0.4}, 'rotary_dim must be even'),
    ({**NEOX, 'partial_rotary_factor': 0.25}, 'rotary_pct = 0.5 and partial_rotary_factor = 0.25'),
    ({**NEOX, 'rope_theta': 500.0}, 'rotary_emb_base = 10000 and rope_theta = 500.0'),
    ({**NEOX, 'rms_norm_eps': 1e-6}, 'layer_norm_eps = 0.001 and rms_norm_eps = 1e-06'),
    ({**NEOX, 'num_key_value_heads': 2}, '4 heads of 8 are not the width of 32'),
    ({**NEOX, 'attention_bias': 'yes'}, "attention_bias is 'yes'"),
    ({'tie_word_embeddings': 'false'}, "tie_word_embeddings is 'false'"),
    ({'num_hidden_layers': 2.5}, 'num_hidden_layers is 2.5'),
    ({'architectures': ['LlamaForSequenceClassification']}, 'only language models'),
])
def test_what_would_change_the_function_is_refused_by_name(tmp_path, changed, words):
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, **changed)
    assert '\n' not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_every_setting_has_one_place():
    assert not hf_config.USED & hf_config.HARMLESS
    assert not set(hf_config.FIXED) & (hf_config.USED | hf_config.HARMLESS)
    for family in families.FAMILIES.values():
        assert not family.reads & (hf_config.USED | hf_config.HARMLESS | set(family.fixed))
        assert set(family.spelled) <= family.reads | set(family.fixed)
        for act in family.fixed.get('hidden_act', hf_config.FIXED['hidden_act']):
            assert act in hf_switches.ACTIVATIONS


@pytest.mark.parametrize('name', [
    'LlamaConfig', 'MistralConfig', 'Qwen2Config', 'Qwen3Config', 'Olmo2Config',
    'Gemma3TextConfig', 'GPTNeoXConfig'])
def test_what_transformers_writes_is_known(tmp_path, name):
    import transformers

    few = {} if name == 'GPTNeoXConfig' else {'num_key_value_heads': 2}
    config = getattr(transformers, name)(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, **few)
    config.architectures = [f'{name.removesuffix("Config").removesuffix("Text")}ForCausalLM']
    config.save_pretrained(tmp_path)
    same_as_transformers(tmp_path, hf_config.config_of(tmp_path)[0])


def test_a_folder_with_an_adapter_alone_says_so(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(UserError, match=r'an adapter alone .* made for \(someone/base\)'):
        hf_config.config_of(tmp_path)
