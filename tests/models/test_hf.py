"""Folders in Hugging Face layout: every dtype, single and sharded, and whatever may be wrong."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from subliminal_jax.models import families, hf
from subliminal_jax.models.params import tiny
from subliminal_jax.runs import UserError
from tests.networks import random_params

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
CONFIG = tiny(40, width=32, num_layers=2, num_kv_heads=2, ffn_width=48, norm_eps=1e-3,
              rope_theta=500.0)


def stated(config, **changed):
    """config.json of an architecture, as the hub writes it; None removes a field."""
    fields = {
        'architectures': ['LlamaForCausalLM'], 'model_type': 'llama',
        'vocab_size': config.vocab_size, 'num_hidden_layers': config.num_layers,
        'hidden_size': config.width, 'num_attention_heads': config.num_heads,
        'num_key_value_heads': config.num_kv_heads, 'head_dim': config.head_dim,
        'intermediate_size': config.ffn_width, 'rope_theta': config.rope_theta,
        'rms_norm_eps': config.norm_eps, 'tie_word_embeddings': config.tied,
        'max_position_embeddings': config.max_positions, 'hidden_act': 'silu', **changed}
    return {key: value for key, value in fields.items() if value is not None}


def arrays_of(config, params, dtype=np.float32):
    """Every tensor by the hub's name."""
    found = {}
    for path in families.leaves(config, np.float32):
        name = families.HF_NAMES[path]
        if path.startswith('layers/'):
            for layer, array in enumerate(np.asarray(params['layers'][path[7:]])):
                found[name.format(layer)] = array.T
        else:
            found[name] = np.asarray(params[path])
    return {name: np.ascontiguousarray(x).astype(dtype) for name, x in found.items()}


def write(folder, config, arrays, shards=1, **changed):
    """Writes a folder; with several shards also their index."""
    folder.mkdir(exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(stated(config, **changed)))
    if shards == 1:
        save_file(arrays, folder / 'model.safetensors')
        return folder
    names, index = sorted(arrays), {}
    for number in range(shards):
        file = f'model-{number + 1:05}-of-{shards:05}.safetensors'
        own = names[number::shards]
        save_file({name: arrays[name] for name in own}, folder / file)
        index |= dict.fromkeys(own, file)
    text = json.dumps({'metadata': {'total_size': 1}, 'weight_map': index})
    (folder / 'model.safetensors.index.json').write_text(text)
    return folder


@pytest.fixture(scope='module', name='params')
def _params():
    return jax.tree.map(np.asarray, random_params(CONFIG, seed=1))


@pytest.fixture(name='arrays')
def _arrays(params):
    return arrays_of(CONFIG, params)


@pytest.mark.parametrize('shards', [1, 3])
@pytest.mark.parametrize('dtype', [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_parameters_come_back(tmp_path, params, dtype, shards):
    folder = write(tmp_path / 'm', CONFIG, arrays_of(CONFIG, params, dtype), shards)
    config, found = hf.load(folder)
    assert config == CONFIG
    rounded = jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, found, rounded)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(found))
    _, short = hf.load(folder, jnp.bfloat16)
    wanted = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), rounded)
    jax.tree.map(np.testing.assert_array_equal, short, wanted)


def test_parameters_go_where_they_are_put(tmp_path, arrays):
    """`put` sees each whole parameter once; here onto a mesh of eight devices."""
    from subliminal_jax.models.params import shardings

    mesh = jax.make_mesh((2, 4), ('fsdp', 'tensor'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    places, seen = shardings(CONFIG, mesh), []

    def put(path, array):
        seen.append(path)
        group = places['layers'] if path.startswith('layers/') else places
        return jax.device_put(array, group[path.split('/')[-1]])

    _, found = hf.load(write(tmp_path / 'm', CONFIG, arrays), put=put)
    assert sorted(seen) == sorted(families.leaves(CONFIG, np.float32))
    assert len(found['layers']['q'].sharding.device_set) == 8
    np.testing.assert_array_equal(found['embed'], arrays['model.embed_tokens.weight'])


def test_a_tied_model_may_store_its_table_twice(tmp_path, arrays):
    config = dataclasses.replace(CONFIG, tied=True)
    arrays['lm_head.weight'] = arrays['model.embed_tokens.weight']
    arrays['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.zeros(8, np.float32)
    found_config, found = hf.load(write(tmp_path / 'm', config, arrays))
    assert found_config.tied and 'head' not in found


def test_the_weights_decide_whether_the_head_is_the_embedding(tmp_path, arrays):
    """A tied config with another head keeps it; an untied one without a head ties. It is said."""
    tied = dataclasses.replace(CONFIG, tied=True)
    folder = write(tmp_path / 'other', tied, arrays)
    config, found = hf.load(folder)
    assert not config.tied
    np.testing.assert_array_equal(found['head'], arrays['lm_head.weight'])
    assert 'differs from model.embed_tokens.weight: it is used' in hf.opened(folder).notes[0]
    without = {name: array for name, array in arrays.items() if name != 'lm_head.weight'}
    folder = write(tmp_path / 'none', CONFIG, without)
    config, found = hf.load(folder)
    assert config.tied and 'head' not in found
    assert 'has no lm_head.weight' in hf.opened(folder).notes[0]
    assert not hf.opened(write(tmp_path / 'own', CONFIG, arrays)).notes


def test_rotary_settings_in_either_spelling(tmp_path):
    llama = {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0,
             'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}
    found = []
    for changed in ({'rope_scaling': llama},
                    {'rope_theta': None, 'rope_parameters': {**llama, 'rope_theta': 500.0}}):
        (tmp_path / 'config.json').write_text(json.dumps(stated(CONFIG, **changed)))
        found.append(hf.config_of(tmp_path)[0])
    assert found[0] == found[1]
    assert found[0].rope_theta == 500.0
    assert found[0].rope_scaling.original == 64
    old = stated(CONFIG, rope_scaling={'type': 'linear', 'factor': 2.0}, rope_theta=None)
    (tmp_path / 'config.json').write_text(json.dumps(old))
    config = hf.config_of(tmp_path)[0]
    assert (config.rope_theta, config.rope_scaling.factor) == (10000.0, 2.0)


@pytest.mark.parametrize('changed, words', [
    ({'model_type': 'mamba'}, "architecture 'mamba'.*supported are gemma3_text, gpt_"),
    ({'model_type': None}, 'architecture None'),
    ({'hidden_act': 'gelu'}, "hidden_act = 'gelu'; only 'silu'"),
    ({'attention_bias': True}, r'missing: model\.layers\.0\.self_attn\.[qkvo]_proj\.bias'),
    ({'mlp_bias': 1}, 'impossible architecture: mlp_bias is 1'),
    ({'quantization_config': {'bits': 4}}, 'quantization_config'),
    ({'hidden_size': None}, 'no field hidden_size'),
    ({'hidden_size': 'wide'}, 'impossible architecture'),
    ({'num_attention_heads': 0}, 'impossible architecture'),
    ({'num_key_value_heads': 3}, 'impossible architecture: 4 heads do not share 3'),
    ({'head_dim': 7}, 'impossible architecture: head_dim must be even'),
    ({'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0}}, "'yarn', which is not supported"),
    ({'rope_scaling': {'rope_type': 'linear'}}, "without 'factor'"),
    ({'rope_scaling': 'linear'}, 'rotary'),
    ({'vocab_size': 41}, r'model\.embed_tokens\.weight \[40, 32\] instead of \[41, 32\]'),
    ({'num_hidden_layers': 3}, r'missing: model\.layers\.2'),
    ({'num_hidden_layers': 1}, r'left over: model\.layers\.1.* and 5 more'),
    ({'tie_word_embeddings': None}, None),
    ({'model_type': 'qwen2'}, r'missing: model\.layers\.0\.self_attn\.[qkv]_proj\.bias'),
])
def test_what_the_configuration_says_wrong_is_named(tmp_path, arrays, changed, words):
    folder = write(tmp_path / 'm', CONFIG, arrays, **changed)
    if words is None:
        hf.load(folder)
        return
    with pytest.raises(UserError, match=words) as caught:
        hf.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize('trouble, words', [
    (lambda a: a.pop('model.norm.weight'), r'missing: model\.norm\.weight'),
    (lambda a: a.update({'model.odd': np.zeros(3, np.float32)}), r'left over: model\.odd'),
    (lambda a: a.update({'model.norm.weight': np.zeros(31, np.float32)}),
     r'wrong shape: model\.norm\.weight \[31\] instead of \[32\]'),
    (lambda a: a.update({'model.norm.weight': np.zeros(32, np.int8)}),
     r'model\.norm\.weight has the dtype I8.*supported are F32, F16, BF16'),
])
def test_tensors_that_do_not_fit_are_named(tmp_path, arrays, trouble, words):
    trouble(arrays)
    with pytest.raises(UserError, match=words):
        hf.load(write(tmp_path / 'm', CONFIG, arrays))


def test_of_a_tensor_in_two_shards_the_index_chooses(tmp_path, arrays):
    folder = write(tmp_path / 'm', CONFIG, arrays, shards=2)
    first, second = hf.weight_files(folder)
    twice = sorted(arrays)[1]
    more = {name: arrays[name] for name in sorted(arrays)[::2]}
    save_file({**more, twice: np.zeros_like(arrays[twice])}, first)
    chosen = {t.name: t for t in hf.opened(folder).tensors}
    assert len(hf.opened(folder).tensors) == len(arrays)
    np.testing.assert_array_equal(chosen[twice].read(), arrays[twice])
    second.unlink()
    with pytest.raises(UserError, match='lacks model-00002-of-00002.safetensors'):
        hf.load(folder)


@pytest.mark.parametrize('text, words', [
    ('{', 'not JSON'), ('[]', 'where an object is needed'), ('{}', 'no weight_map'),
    ('{"weight_map": {"a": "../model.safetensors"}}', 'outside of its folder'),
    ('{"weight_map": {"a": 7}}', 'outside of its folder'),
    ('{"weight_map": {"a": ["b"]}}', 'outside of its folder')])
def test_an_index_that_is_none(tmp_path, arrays, text, words):
    folder = write(tmp_path / 'm', CONFIG, arrays, shards=2)
    (folder / 'model.safetensors.index.json').write_text(text)
    with pytest.raises(UserError, match=words):
        hf.load(folder)


def test_a_file_cut_anywhere_is_refused(tmp_path, arrays):
    folder = write(tmp_path / 'm', CONFIG, arrays)
    path = folder / 'model.safetensors'
    data = path.read_bytes()
    for cut in [0, 1, 7, 8, 9, 200, 1500, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match=r'model\.safetensors is not a whole'):
            hf.load(folder)
    path.write_bytes(b'\xff' * len(data))
    with pytest.raises(UserError, match=r'model\.safetensors is not a whole'):
        hf.load(folder)
    (folder / 'config.json').write_text('{"model_type": ')
    with pytest.raises(UserError, match=r'config\.json is damaged: not JSON'):
        hf.load(folder)
    (folder / 'config.json').unlink()
    with pytest.raises(UserError, match=r'there is no .*config\.json'):
        hf.load(folder)


class Bomb:
    """Unpickling it is what must never happen."""

    def __reduce__(self):
        return (pytest.fail, ('a pickle was read',))


def test_pickled_weights_are_never_read(tmp_path, arrays):
    import pickle

    folder = write(tmp_path / 'm', CONFIG, arrays)
    (folder / 'model.safetensors').unlink()
    (folder / 'pytorch_model.bin').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match='pickled, which can run code: convert them'):
        hf.load(folder)
    for name in ('model.safetensors', 'model.safetensors.index.json'):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UserError):
            hf.load(folder)
        (folder / name).unlink()
