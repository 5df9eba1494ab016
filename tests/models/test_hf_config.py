"""Every setting of config.json is used, harmless or refused; what is used is what transformers
uses, over the spellings that files have, old and new."""

import itertools
import json

import numpy as np
import pytest

from subliminal_jax.models import hf_config, transformer
from subliminal_jax.runs import UserError

BASE = {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'vocab_size': 64,
        'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,
        'num_attention_heads': 4, 'hidden_act': 'silu', 'max_position_embeddings': 128}
QWEN = {'architectures': ['Qwen2ForCausalLM'], 'model_type': 'qwen2', 'num_key_value_heads': 2}
LLAMA3 = {'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
          'original_max_position_embeddings': 64}
STRETCHES = {'default': {}, 'linear': {'factor': 4.0}, 'llama3': LLAMA3,
             'llama3 of an unstated length': {k: v for k, v in LLAMA3.items() if 'max' not in k}}


def read(folder, **changed):
    """Our reading of a config.json; None removes a field."""
    stated = {key: value for key, value in {**BASE, **changed}.items() if value is not ...}
    (folder / 'config.json').write_text(json.dumps(stated))
    return hf_config.config_of(folder)[0]


def same_as_transformers(folder, config):
    """Frequencies, sizes and attention of transformers' reading of the same file."""
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    peer = AutoConfig.from_pretrained(str(folder))
    rotary = LlamaRotaryEmbedding(peer)
    assert rotary.attention_scaling == 1
    np.testing.assert_allclose(transformer.rotary_frequencies(config, np.float32),
                               rotary.inv_freq.numpy(), rtol=1e-6)
    assert (config.num_kv_heads, config.norm_eps, config.tied, config.max_positions) == (
        peer.num_key_value_heads, peer.rms_norm_eps, peer.tie_word_embeddings,
        peer.max_position_embeddings)
    width = getattr(peer, 'head_dim', None) or peer.hidden_size // peer.num_attention_heads
    assert config.head_dim == width
    slides = 'sliding_attention' in (getattr(peer, 'layer_types', None) or [])
    assert not slides or peer.sliding_window >= config.max_positions


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
    ({**QWEN, 'use_sliding_window': True, 'sliding_window': 8, 'max_window_layers': 1},
     'a window of 8 tokens only'),
    ({**QWEN, 'use_sliding_window': True, 'sliding_window': 8,
      'layer_types': ['full_attention', 'sliding_attention']}, 'a window of 8'),
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


@pytest.mark.parametrize('name', ['LlamaConfig', 'Qwen2Config'])
def test_what_transformers_writes_is_known(tmp_path, name):
    import transformers

    config = getattr(transformers, name)(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2)
    config.architectures = [f'{name.removesuffix("Config")}ForCausalLM']
    config.save_pretrained(tmp_path)
    same_as_transformers(tmp_path, hf_config.config_of(tmp_path)[0])


def test_a_folder_with_an_adapter_alone_says_so(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(UserError, match=r'an adapter alone .* made for \(someone/base\)'):
        hf_config.config_of(tmp_path)
