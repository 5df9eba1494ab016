"""Settings and weights of a model that somebody else made: refused in one line, within limits."""

import functools
import json
import struct
import time

import numpy as np
import pytest

from subliminal_jax.models import (
    gguf,
    gguf_vocabulary,
    hf,
    hf_config,
    loading,
    templates,
    vocabulary,
)
from subliminal_jax.models.params import tiny
from subliminal_jax.runs import UserError
from tests.models import small_tokenizers as small, test_hf
from tests.networks import random_params

CONFIG = tiny(40, width=32, num_layers=2, num_kv_heads=2, ffn_width=48, norm_eps=1e-3,
              rope_theta=500.0)
KIND = functools.cache(small.small)
SAID = [{'role': 'user', 'content': 'hi'}]


def refused(call, *arguments):
    """What a call is refused with, in one line."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value) and len(str(error.value)) < 800
    return str(error.value)


# ---- chat templates -----------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize('template, said', [
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", 'much time'),
    ("{{ 'a'*10**10 }}", 'more than 1024 MiB'),
    ("{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
     'more than 1024 MiB'),
    ("{% for i in range(99999) %}{{ 'a'*1000 }}{% endfor %}", 'more than 16777216 characters'),
    ("{{ '\ud83d' }}", 'half a character'), ("{{ ''.__class__.__mro__ }}", 'unsafe'),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 'recursion'),
    ('{{ ' + '(' * 5000 + '1' + ')' * 5000 + ' }}', 'refuses'),
    ("{% set n = namespace(_x=1) %}", "no '_x'"), ("{% include '/etc/passwd' %}", 'refuses'),
    ("{{ cycler.__init__.__globals__ }}", 'refuses')])
def test_a_template_has_limits(template, said):
    begun = time.process_time()
    assert said in refused(templates.render, template, SAID, True, None, {})
    assert time.process_time() - begun < 1
    assert templates.render('{{ messages[0].content }}', SAID, True, None, {}) == 'hi'


def test_a_renderer_that_was_killed_is_started_again():
    templates.render('x', SAID, True, None, {})
    templates._RENDERER.process.kill()
    templates._RENDERER.process.wait()
    assert templates.render('x', SAID, True, None, {}) == 'x'


@pytest.mark.parametrize('template', [
    "{% generation %}{% set a = 1 %}{{ messages[0].content }}{% endgeneration %}{{ a }}",
    "{{ messages | tojson }}{{ {'b': [1, 'é']} | tojson(indent=2) }}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% set n = namespace(a=1) %}{% for m in messages %}{% set n.a = n.a+1 %}{% endfor %}{{ n.a}}",
    "{{ dict(a=1).a }} {{ tools is none }} {{ bos_token }}\n   {% if true %}\n  x\n{% endif %}"])
def test_templates_are_rendered_as_transformers_does(template):
    from transformers.utils.chat_template_utils import _compile_jinja_template

    said = [{'role': 'system', 'content': 'é'}, *SAID]
    wanted = _compile_jinja_template(template).render(
        messages=said, add_generation_prompt=True, tools=None, documents=None, bos_token='<s>')
    assert templates.render(template, said, True, None, {'bos_token': '<s>'}) == wanted


# ---- tokenizers and their settings --------------------------------------------------------------

@pytest.fixture(name='folder')
def _folder(tmp_path):
    KIND('bytes').save(tmp_path)
    return tmp_path


def change(folder, file, **changed):
    path = folder / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **changed}))


@pytest.mark.parametrize('file, changed, said', [
    ('tokenizer_config.json', {'eos_token': ['a']}, 'eos_token'),
    ('tokenizer_config.json', {'eos_token': 3}, 'eos_token'),
    ('tokenizer_config.json', {'eos_token': {'content': 3}}, 'eos_token'),
    ('tokenizer_config.json', {'additional_special_tokens': 'x'}, 'special tokens'),
    ('tokenizer_config.json', {'additional_special_tokens': [3]}, 'special tokens'),
    ('tokenizer_config.json', {'chat_template': 3}, 'chat_template'),
    ('tokenizer_config.json', {'chat_template': [3]}, 'chat_template'),
    ('tokenizer_config.json', {'chat_template': {'a': 1}}, 'chat_template'),
    ('generation_config.json', {'eos_token_id': -5}, 'eos_token_id'),
    ('generation_config.json', {'eos_token_id': 10**9}, 'different models'),
    ('generation_config.json', {'eos_token_id': True}, 'eos_token_id'),
    ('generation_config.json', {'eos_token_id': [1, '2']}, 'eos_token_id'),
])
def test_settings_of_a_tokenizer_have_their_types(folder, file, changed, said):
    if 'chat_template' in changed:
        (folder / 'chat_template.jinja').unlink(missing_ok=True)
    change(folder, file, **changed)
    assert said in refused(vocabulary.from_folder, folder, small.SIZE)


@pytest.mark.parametrize('file', ['tokenizer.json', 'tokenizer_config.json',
                                  'generation_config.json'])
@pytest.mark.parametrize('content', [b'[' * 200_000, b'{"a":' * 500 + b'1' + b'}' * 500, b'\xff',
                                     b'[]', b'null', b''])
def test_damaged_settings_are_named(folder, file, content):
    (folder / file).write_bytes(content)
    assert file in refused(vocabulary.from_folder, folder, small.SIZE)


def test_rules_that_make_a_text_longer_without_bounds_are_refused(folder):
    rule = {'type': 'Replace', 'pattern': {'String': 'a'}, 'content': 'a' * 20}
    change(folder, 'tokenizer.json', normalizer={'type': 'Sequence', 'normalizers': [rule] * 6})
    assert 'makes 64000000 characters of one' in refused(vocabulary.from_folder, folder, small.SIZE)
    change(folder, 'tokenizer.json', normalizer=None,
           decoder={'type': 'Sequence', 'decoders': [rule] * 2})
    assert 'decoder makes 400' in refused(vocabulary.from_folder, folder, small.SIZE)


def test_padding_without_bounds_is_taken_off_before_anything_is_read(folder):
    change(folder, 'tokenizer.json', padding={
        'strategy': {'Fixed': 10**9}, 'direction': 'Right', 'pad_to_multiple_of': None, 'pad_id': 0,
        'pad_type_id': 0, 'pad_token': 'x'})
    assert len(vocabulary.from_folder(folder, small.SIZE).encode('a b')) < 10


def test_an_expression_that_backtracks_ends_in_one_line(folder):
    split = {'type': 'Split', 'pattern': {'Regex': r'(x+x+)+y'}, 'behavior': 'Isolated',
             'invert': False}
    stated = json.loads((folder / 'tokenizer.json').read_text())
    change(folder, 'tokenizer.json', pre_tokenizer={
        'type': 'Sequence', 'pretokenizers': [split, stated['pre_tokenizer']]})
    tokenizer = vocabulary.from_folder(folder, small.SIZE)
    assert 'the tokenizer fails on' in refused(tokenizer.encode, 'x' * 60)


# ---- architectures and weights ------------------------------------------------------------------

def written(folder, **changed):
    params = random_params(CONFIG)
    return test_hf.write(folder, CONFIG, test_hf.arrays_of(CONFIG, params), **changed)


@pytest.mark.parametrize('changed, said', [
    ({'hidden_size': 10**400}, 'impossible architecture'),
    ({'num_hidden_layers': 23303118832542}, 'num_layers is 23303118832542'),
    ({'hidden_size': 1e300}, 'impossible'), ({'hidden_size': [1]}, 'impossible'),
    ({'max_position_embeddings': 10**12}, 'max_positions is'),
    ({'vocab_size': True}, 'vocab_size'), ({'tie_word_embeddings': 'false'}, 'tie_word_embeddings'),
    ({'model_type': ['llama']}, 'not supported'), ({'architectures': 3}, 'architectures'),
    ({'architectures': 'LlamaForCausalLM'}, 'architectures'), ({'layer_types': [{}, {}]}, 'imposs'),
    ({'sliding_window': 'x', 'use_sliding_window': True}, 'impossible'),
    ({'use_sliding_window': 'false', 'sliding_window': 4}, 'sliding_window'),
    ({'rope_scaling': {'rope_type': ['x'], 'factor': 2}}, ''), ({'rope_theta': 'x'}, 'impossible'),
    ({'rms_norm_eps': float('nan')}, 'norm_eps')])
def test_settings_of_an_architecture_have_types_and_bounds(tmp_path, changed, said):
    folder = written(tmp_path / 'model')
    stated = {**test_hf.stated(CONFIG), **changed}
    (folder / 'config.json').write_text(json.dumps(stated))
    assert said in refused(hf_config.config_of, folder)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    params = random_params(CONFIG)
    arrays = test_hf.arrays_of(CONFIG, params)
    name = 'model.layers.1.mlp.up_proj.weight'
    arrays[name][3, 4] = value
    folder = test_hf.write(tmp_path / 'model', CONFIG, arrays)
    assert f'tensor {name} holds NaN or infinity' in refused(hf.load, folder)


def test_a_shard_with_a_name_that_no_file_can_have(tmp_path):
    folder = written(tmp_path / 'model', shards=2)
    index = folder / 'model.safetensors.index.json'
    found = json.loads(index.read_text())
    found['weight_map'] = dict.fromkeys(found['weight_map'], 'x' * 300)
    index.write_text(json.dumps(found))
    assert 'lacks' in refused(hf.weight_files, folder)


@pytest.mark.parametrize('spec', ['x' * 300, 'x' * 300 + '/y', 'package:' + 'x' * 300, '~nouser/x',
                                  'hf:' + 'x' * 300, '\0', '/dev/zero', '/dev/null'])
def test_a_model_of_no_possible_name(spec):
    assert refused(loading.locate, spec)


# ---- GGUF ---------------------------------------------------------------------------------------

def packed(value):
    """A metadata value as GGUF writes it: a text, a whole number, or a list of these."""
    if isinstance(value, str):
        return struct.pack('<IQ', 8, len(value)) + value.encode()
    if isinstance(value, list):
        parts = [packed(v) for v in value] or [struct.pack('<I', 4)]
        return struct.pack('<I', 9) + parts[0][:4] + struct.pack('<Q', len(value)) + b''.join(
            part[4:] for part in parts if value)
    return struct.pack('<Iq', 11, value)


@pytest.mark.parametrize('key', [
    'general.architecture', 'general.alignment', 'llama.block_count', 'llama.embedding_length',
    'llama.attention.head_count', 'llama.rope.freq_base', 'llama.rope.scaling.type',
    'llama.expert_count', 'llama.attention.causal', 'tokenizer.ggml.model', 'tokenizer.ggml.pre',
    'tokenizer.chat_template', 'tokenizer.ggml.tokens', 'tokenizer.ggml.token_type',
    'tokenizer.ggml.merges', 'tokenizer.ggml.eos_token_id', 'tokenizer.ggml.add_bos_token'])
@pytest.mark.parametrize('value', [[1, 2], [], ['a', 'b'], [[1], [2]], 'x', -7, 2**62])
def test_a_key_of_another_kind_is_refused_or_harmless(tmp_path, key, value):
    fields = {'general.architecture': 'llama', **KIND('bytes').fields, key: value}
    plain = {k: v for k, v in fields.items() if isinstance(v, str | list) or type(v) is int}
    body = b''.join(struct.pack('<Q', len(k)) + k.encode() + packed(v) for k, v in plain.items())
    path = tmp_path / 'x.gguf'
    path.write_bytes(b'GGUF' + struct.pack('<IQQ', 3, 0, len(plain)) + body)

    def read():
        file = gguf.read(path)
        gguf_vocabulary.from_gguf(file.fields, small.SIZE, str(path))
        gguf.config_of(file)

    refused(read)  # without a tensor nothing is whole: it is said, whatever comes first


@pytest.mark.parametrize('shape, kind, offset', [
    ((32,), 0, 2**63), ((32,), 0, 2**64 - 32), ((2**40, 2**40), 0, 0), ((32,), 2**31, 0),
    ((33,), 8, 0), ((0,), 0, 2**60), ((), 0, 0)])
def test_a_tensor_that_lies_is_named(tmp_path, shape, kind, offset):
    name = b'token_embd.weight'
    tensor = struct.pack('<Q', len(name)) + name + struct.pack('<I', len(shape)) + b''.join(
        struct.pack('<Q', n) for n in shape) + struct.pack('<IQ', kind, offset)
    path = tmp_path / 'x.gguf'
    path.write_bytes(b'GGUF' + struct.pack('<IQQ', 3, 1, 0) + tensor + b'\0' * 256)
    assert 'token_embd.weight' in refused(gguf.read, path) or shape == (0,)
