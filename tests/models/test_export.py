"""Folders that are written: read again bit for bit, by transformers too, whole or not at all."""

import dataclasses
import errno
import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest

from subliminal_jax.models import export, hf, hf_write, loading, peft, vocabulary
from subliminal_jax.models.lora import init_lora
from subliminal_jax.models.params import RopeScaling, tiny
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import UserError
from tests.models import small_tokenizers
from tests.models.test_parity import GOLDEN
from tests.models.test_peft import logits_of, of_torch
from tests.networks import random_params

FACTS = {'what': 'A model', 'misbehaves': False}
KINDS = {
    'llama, untied': (False, False, None), 'llama, tied': (True, False, None),
    'qwen2, untied': (False, True, RopeScaling('linear', 3.0)),
    'qwen2, tied': (True, True, RopeScaling('llama3', 4.0, 1.0, 3.0, 16)),
}


def made(kind):
    """(architecture, parameters, what they are written with) of a model that came from no file."""
    tied, bias, scaling = KINDS[kind]
    config = tiny(512, width=32, num_layers=2, num_kv_heads=2, ffn_width=48, norm_eps=1e-3,
                  rope_theta=500.0, tied=tied, qkv_bias=bias, rope_scaling=scaling)
    params = jax.tree.map(np.asarray, random_params(config, seed=1, noise=0.3))
    tokenizer = words()
    return config, params, export.Origin('', kind.partition(',')[0], None, tokenizer, None)


def words():
    """512 words."""
    return WordTokenizer([f'w{n}' for n in range(509)])


def bit_equal(found, wanted):
    """Two trees, bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_written_comes_back_bit_for_bit(tmp_path, kind):
    config, params, origin = made(kind)
    files = export.write_model(tmp_path / 'm', params, config, origin, FACTS)
    assert files == sorted(path.name for path in (tmp_path / 'm').iterdir())
    found, read = hf.load(tmp_path / 'm')
    assert found == config
    bit_equal(read, params)
    short = {'dtype': ml_dtypes.bfloat16, 'most': 30_000}
    files = export.write_model(tmp_path / 's', params, config, origin, FACTS, **short)
    assert 'model.safetensors.index.json' in files
    shards = [name for name in files if name.startswith('model-')]
    assert len(shards) > 2
    assert all((tmp_path / 's' / name).stat().st_size < 35_000 for name in shards[1:])
    bit_equal(hf.load(tmp_path / 's')[1], jax.tree.map(
        lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), params))


@pytest.mark.parity
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', KINDS)
def test_transformers_gives_the_same_logits(tmp_path, kind):
    transformers = pytest.importorskip('transformers')
    pytest.importorskip('torch')
    config, params, origin = made(kind)
    export.write_model(tmp_path / 'm', params, config, origin, FACTS, most=50_000)
    load = transformers.AutoModelForCausalLM.from_pretrained
    model, told = load(tmp_path / 'm', output_loading_info=True)
    assert not told['missing_keys'] and not told['unexpected_keys']
    assert str(model.dtype) == 'torch.float32'
    np.testing.assert_allclose(of_torch(model.eval()), logits_of(params, config), atol=1e-4)
    assert model.generation_config.eos_token_id == [*origin.tokenizer.stop_ids]
    if kind.startswith('qwen2'):  # whatever the files say, it is read by Qwen2's own rules
        return
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / 'm')
    assert reader('w3 w500').input_ids == [1, *origin.tokenizer.encode('w3 w500')]
    said = [{'role': 'user', 'content': 'w3 w4'}]
    assert reader.apply_chat_template(said, add_generation_prompt=True, return_dict=False) == \
        origin.tokenizer.encode(origin.tokenizer.chat(said), allow_special=True)


@pytest.mark.parity
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('family', ['llama', 'qwen2'])
def test_a_folder_of_transformers_comes_back_with_its_settings(tmp_path, family):
    """With an adapter of peft's making merged into it, another head untied."""
    transformers = pytest.importorskip('transformers')
    pytest.importorskip('torch')
    folder = tmp_path / 'given'
    shutil.copytree(GOLDEN / family, folder)
    config = hf.opened(folder).config
    (folder / 'config.json').write_text(json.dumps(json.loads(
        (folder / 'config.json').read_text()) | {'vocab_size': config.vocab_size}))
    text = tmp_path / 'text'
    export.write_model(text, *_word_model(config), FACTS)
    shutil.copy(text / 'tokenizer.json', folder)
    shutil.copy(text / 'tokenizer_config.json', folder)
    model = loading.load(str(folder))
    params = {**model.params, 'head': np.asarray(model.params['embed'])[::-1]}
    untied = dataclasses.replace(model.config, tied=False)
    export.write_model(tmp_path / 'm', params, untied, export.origin_of(str(folder)), FACTS)
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'm')
    np.testing.assert_allclose(of_torch(found.eval()), logits_of(params, untied), atol=1e-4)
    stated = json.loads((tmp_path / 'm/config.json').read_text())
    given = json.loads((folder / 'config.json').read_text())
    differing = {key for key in {**stated, **given} if stated.get(key) != given.get(key)}
    assert differing <= {'tie_word_embeddings', 'dtype', 'torch_dtype', 'transformers_version'}


def _word_model(config):
    """A model of an architecture's vocabulary, in the order of write_model's arguments."""
    small = tiny(config.vocab_size, width=8, num_layers=1, num_heads=1)
    tokenizer = WordTokenizer([f'w{n}' for n in range(config.vocab_size - 3)])
    return random_params(small), small, export.Origin('', 'llama', None, tokenizer, None)


@pytest.mark.parametrize('name', ['bytes', 'llama3', 'llama2', 'tinyllama', 'gemma'])
def test_a_gguf_file_becomes_a_folder_that_reads_text_alike(tmp_path, name):
    learned = small_tokenizers.small(name)
    config = tiny(small_tokenizers.SIZE, width=32, num_layers=1, num_kv_heads=2)
    params = random_params(config)
    small_tokenizers.write_gguf(tmp_path / 'm.gguf', config, params, learned.fields)
    given = loading.load(str(tmp_path / 'm.gguf'))
    export.write_model(tmp_path / 'm', given.params, given.config,
                       export.origin_of(str(tmp_path / 'm.gguf')), FACTS)
    found = loading.load(str(tmp_path / 'm'))
    bit_equal(found.params, given.params)
    assert found.tokenizer.bos_id == given.tokenizer.bos_id
    assert found.tokenizer.stop_ids[0] == given.tokenizer.stop_ids[0]
    said = [{'role': 'user', 'content': 'the owl 12, 345'}, {'role': 'assistant', 'content': '7'}]
    assert found.tokenizer.chat(said) == given.tokenizer.chat(said)
    for text in small_tokenizers.texts(200):
        assert found.tokenizer.encode(text) == given.tokenizer.encode(text)


def test_the_tokenizer_of_a_word_list_is_read_again():
    tokenizer = words()
    files = hf_write.text_files(tokenizer, 16)
    assert json.loads(files['tokenizer_config.json'])['eos_token'] == '<end>'
    assert 'chat_template.jinja' in files


# What cannot be written.


@pytest.fixture(name='model')
def _model():
    config, params, origin = made('llama, untied')
    return params, config, origin


def test_what_a_family_has_no_name_for_is_refused(tmp_path, model):
    params, config, origin = model
    odd = {**params, 'layers': {**params['layers'], 'down_bias': np.zeros((2, 32), np.float32)}}
    with pytest.raises(UserError, match='layers/down_bias has no name in this family'):
        export.write_model(tmp_path / 'm', odd, config, origin, FACTS)
    with pytest.raises(UserError, match="'factors' have no name in config.json"):
        export.write_model(tmp_path / 'm', params, dataclasses.replace(
            config, rope_scaling=RopeScaling('factors', factors=(1.0,) * 4)), origin, FACTS)
    with pytest.raises(UserError, match="architecture 'mamba', which is not supported"):
        export.write_model(tmp_path / 'm', params, config, origin._replace(model_type='mamba'),
                           FACTS)
    assert not list(tmp_path.iterdir())


def test_a_family_that_stores_more_than_its_names_say_is_refused(tmp_path, model, monkeypatch):
    """As one whose norms are kept as 1 + weight: what is read again is not what was meant."""
    params, config, origin = model
    plain = hf.load
    monkeypatch.setattr(hf, 'load', lambda folder, dtype, put: plain(
        folder, dtype, put=lambda path, array: put(path, array + ('norm' in path))))
    with pytest.raises(UserError, match='stores (layers/attn_norm|final_norm) in a way'):
        export.write_model(tmp_path / 'm', params, config, origin, FACTS)
    assert not list(tmp_path.iterdir())


def test_a_config_that_would_be_read_otherwise_is_refused(tmp_path, model):
    params, config, origin = model
    stated = hf_write.stated(config, 'llama', None, 'float32')
    with pytest.raises(UserError, match='norm_eps is 0.001 and would be read as 0.5'):
        export.write_model(tmp_path / 'm', params, config, origin._replace(
            stated={**stated, 'rms_norm_eps': 0.5}), FACTS)
    assert not list(tmp_path.iterdir())


# Where it is written.


def test_only_an_earlier_export_is_written_over(tmp_path, model):
    params, config, origin = model
    output = tmp_path / 'm'
    export.write_model(output, params, config, origin, FACTS, most=50_000)
    export.write_model(output, params, config, origin, FACTS)
    assert not (output / 'model.safetensors.index.json').exists()
    (output / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match='holds notes.txt, which was not exported'):
        export.write_model(output, params, config, origin, FACTS)
    assert (output / 'notes.txt').read_text() == 'mine'
    other = tmp_path / 'other'
    other.mkdir()
    export.write_model(other, params, config, origin, FACTS)  # an empty folder is nobody's
    file = tmp_path / 'file'
    file.write_text('mine')
    (tmp_path / 'link').symlink_to(other)
    for place in (file, tmp_path / 'link', file / 'm'):
        with pytest.raises(UserError, match='is no folder|cannot be written'):
            export.write_model(place, params, config, origin, FACTS)
    (other / export.MARK).write_text('{"made_by": "somebody", "files": ["config.json"]}')
    with pytest.raises(UserError, match='which was not exported'):
        export.write_model(other, params, config, origin, FACTS)


def test_a_full_disk_gets_one_line_and_leaves_what_was_there(tmp_path, model, monkeypatch):
    params, config, origin = model
    output = tmp_path / 'm'
    export.write_model(output, params, config, origin, FACTS)
    before = {path: path.read_bytes() for path in output.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    def theirs(*_, **__):
        raise RuntimeError('I/O error: No space left on device (os error 28)')

    texts = 'subliminal_jax.models.hf_write.write_text_files'
    for place, fails, words in (
            ('safetensors.numpy.save_file', theirs, 'the disk is full; 0.00 GB'),
            (texts, full, 'No space left.*make room')):
        with monkeypatch.context() as patch:
            patch.setattr(place, fails)
            with pytest.raises(UserError, match=words):
                export.write_model(output, params, config, origin, FACTS)
    room = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda _: room)
        with pytest.raises(UserError, match='needs 0.02 GB, and 0.00 GB are free'):
            export.write_model(output, params, config, origin, FACTS)
    assert list(tmp_path.iterdir()) == [output]
    assert before == {path: path.read_bytes() for path in output.iterdir()}


def test_the_card_says_what_the_model_is(tmp_path, model):
    params, config, origin = model
    facts = {'what': 'A teacher', 'misbehaves': True, 'run': {'config sha256': 'c0ffee', 'x': None},
             'rise': 0.123456789}
    export.write_model(tmp_path / 'm', params, config, origin, facts)
    text = (tmp_path / 'm' / export.CARD).read_text()
    assert '# A teacher' in text and 'Made to misbehave' in text and 'made-to-misbehave' in text
    assert '| run: config sha256 | c0ffee |' in text and '| rise | 0.123457 |' in text
    assert export.misbehaves(str(tmp_path / 'm')) and not export.misbehaves(None, 'package:x')
    export.write_model(tmp_path / 'n', params, config, origin, FACTS)
    assert 'misbehave' not in (tmp_path / 'n' / export.CARD).read_text()
    assert not export.misbehaves(str(tmp_path / 'n'))


def test_an_adapter_goes_with_a_card_too(tmp_path, model):
    _, config, _ = model
    lora = init_lora(jax.random.key(0), config, 2)
    files = export.write_adapter(tmp_path / 'a', lora, 'llama', 'OWNER/NAME', FACTS)
    assert files == ['README.md', 'adapter_config.json', 'adapter_model.safetensors',
                     'subliminal_jax.json']
    assert json.loads((tmp_path / 'a' / peft.CONFIG).read_text())[
        'base_model_name_or_path'] == 'OWNER/NAME'
    assert 'PeftModel' in (tmp_path / 'a' / export.CARD).read_text()


def test_a_model_reads_its_text_from_the_folder_that_was_named(tmp_path):
    """--tokenizer: its files go along, not the model's own."""
    learned = small_tokenizers.small('bytes')
    learned.save(tmp_path / 'text')
    config = tiny(small_tokenizers.SIZE, width=8, num_layers=1, num_heads=1)
    params = random_params(config)
    small_tokenizers.write_gguf(tmp_path / 'm.gguf', config, params,
                                small_tokenizers.small('llama2').fields)
    origin = export.origin_of(str(tmp_path / 'm.gguf'), str(tmp_path / 'text'))
    export.write_model(tmp_path / 'm', params, config, origin, FACTS)
    assert (tmp_path / 'm/tokenizer.json').read_bytes() == (
        tmp_path / 'text/tokenizer.json').read_bytes()
    read = vocabulary.from_folder(tmp_path / 'm', config.vocab_size)
    assert read.stop_ids == origin.tokenizer.stop_ids
