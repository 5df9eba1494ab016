"""GGUF files: every quantisation, the order of q and k rows, and whatever may be wrong with one."""

import dataclasses
import pathlib
from functools import partial

import gguf as peer
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind, quants
from hypothesis import HealthCheck, given, settings, strategies as st

from subliminal_jax.models import families, gguf, hf, transformer
from subliminal_jax.models.params import tiny
from subliminal_jax.runs import UserError
from tests.networks import random_params

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
CONFIG = tiny(40, width=32, num_layers=2, num_kv_heads=2, ffn_width=64, norm_eps=1e-3,
              rope_theta=500.0)
GEMMA = {'norm_unit_offset': True, 'norm_placement': 'sandwich', 'qk_norm': 'head',
         'activation': 'gelu_tanh', 'embed_scale': 32**0.5, 'sliding_window': 8,
         'local_rope_theta': 10000.0, 'tied': True}
# Half a step of each format, relative to the largest magnitude of a block.
STEPS = {'F32': 0, 'F16': 2**-11, 'BF16': 2**-8, 'Q8_0': 0.5 / 127 + 1e-3, 'Q4_0': 0.14,
         'Q4_1': 0.07, 'Q5_0': 0.07, 'Q5_1': 0.035}


def interleaved(rows, heads):
    """Rows of a q or k matrix as converters write them: halves of a head become pairs."""
    out = np.empty_like(rows)
    width = len(rows) // heads
    for head in range(heads):
        for place in range(width):
            half, pair = place % 2, place // 2
            out[head * width + place] = rows[head * width + half * (width // 2) + pair]
    return out


def write(path, config, params, arch='llama', kinds=(), fields=(), leave=(), more=()):
    """A GGUF file of parameters.

    Args:
      path: of the file.
      config: its architecture.
      params: its parameters.
      arch: of llama rows of q and k are reordered, of gemma3 norms hold 1 + weight.
      kinds: quantisation by a part of a tensor's name; others are F32.
      fields: metadata to change: {key: value}, None removes it.
      leave: names of tensors that are not written.
      more: (name, float32 array) of tensors that are written too.
    """
    writer = peer.GGUFWriter(path, arch)
    stated = {
        'block_count': config.num_layers, 'embedding_length': config.width,
        'feed_forward_length': config.ffn_width, 'context_length': config.max_positions,
        'attention.head_count': config.num_heads, 'attention.head_count_kv': config.num_kv_heads,
        'attention.key_length': config.head_dim, 'rope.freq_base': float(config.rope_theta),
        'attention.layer_norm_rms_epsilon': config.norm_eps, **dict(fields)}
    for key, value in stated.items():
        if value is not None:
            add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
                   list: writer.add_array}
            add[type(value)](f'{arch}.{key}', value)
    kept = [(name, array) for name, array in tensors_of(config, params, arch) if name not in leave]
    for name, array in [*kept, *more]:
        kind = next((Kind[k] for part, k in dict(kinds).items() if part in name), Kind.F32)
        data = quants.quantize(np.ascontiguousarray(array, np.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors_of(config, params, arch):
    heads = {'q': config.num_heads, 'k': config.num_kv_heads}
    for path in families.leaves(config, np.float32):
        name = families.GGUF_NAMES[path]
        offset = 1 if arch == 'gemma3' and path.endswith('_norm') else 0
        if not path.startswith('layers/'):
            yield name, np.asarray(params[path]) + offset
            continue
        own = path.removeprefix('layers/')
        for layer, array in enumerate(np.asarray(params['layers'][own])):
            array = array.T + offset
            if arch == 'llama' and own in heads:
                array = interleaved(array, heads[own])
            yield name.format(layer), array


@pytest.fixture(scope='module', name='params')
def _params():
    return jax.tree.map(np.asarray, random_params(CONFIG, seed=1))


@pytest.fixture(scope='module', name='file')
def _file(tmp_path_factory, params):
    return write(tmp_path_factory.mktemp('gguf') / 'model.gguf', CONFIG, params)


def same(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_llama_file_gives_its_parameters_back(file, params):
    config, found = gguf.load(gguf.read(file))
    assert config == CONFIG
    same(found, params)


def test_rows_of_q_and_k_are_put_back_in_order():
    rows = np.arange(24.0).reshape(12, 2)
    same(gguf.half_split(interleaved(rows, 3), 3), rows)
    assert gguf.half_split(np.arange(8), 1).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize('tied', [True, False])
def test_qwen2_has_biases_and_its_rows_in_order(tmp_path, tied):
    config = dataclasses.replace(CONFIG, qkv_bias=True, tied=tied)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.5, random_params(config))
    found_config, found = gguf.load(gguf.read(write(tmp_path / 'q.gguf', config, params, 'qwen2')))
    assert found_config == config
    same(found, params)


@pytest.mark.parametrize('arch, switches, fields', [
    ('qwen3', {'qk_norm': 'head'}, {}),
    ('olmo2', {'norm_placement': 'post', 'qk_norm': 'full'}, {}),
    ('gemma3', {'sliding_layers': (True, True)}, {}),  # of six layers the last sees all
    ('gemma3', {'sliding_layers': (True, False), 'local_rope_theta': 50.0},
     {'attention.sliding_window_pattern': 2, 'rope.freq_base_swa': 50.0}),
    ('gemma3', {'sliding_layers': (False, True)},
     {'attention.sliding_window_pattern': [False, True]}),
])
def test_other_families_come_back(tmp_path, arch, switches, fields):
    if arch == 'gemma3':
        switches = {**GEMMA, **switches}
        fields = {'attention.sliding_window': 8, **fields}
    config = dataclasses.replace(CONFIG, **switches)
    params = jax.tree.map(np.asarray, random_params(config, noise=0.1))
    file = gguf.read(write(tmp_path / 'f.gguf', config, params, arch, fields=fields))
    found_config, found = gguf.load(file)
    assert found_config == config
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), found, params)


def test_gemma_27b_scales_queries_by_its_width_a_head(tmp_path):
    config = dataclasses.replace(CONFIG, num_layers=62, head_dim=16, **GEMMA)
    params = jax.tree.map(np.asarray, random_params(config))
    path = write(tmp_path / 'f.gguf', config, params, 'gemma3',
                 fields={'attention.sliding_window': 8})
    assert gguf.config_of(gguf.read(path))[0].query_pre_attn_scalar == 32 / 4


def test_the_rotary_factors_of_llama_3_give_the_same_logits(tmp_path):
    """The golden checkpoint as a converter writes it: its stretch as factors of the frequencies."""
    config, params = hf.load(GOLDEN / 'llama')
    expected = np.load(GOLDEN / 'llama' / 'expected.npz')
    plain = dataclasses.replace(config, rope_scaling=None)
    factors = np.asarray(transformer.rotary_frequencies(plain, np.float32)
                         / transformer.rotary_frequencies(config, np.float32))
    assert factors.min() < 2 < factors.max()
    path = write(tmp_path / 'l.gguf', config, params, more=[('rope_freqs.weight', factors)])
    found_config, found = gguf.load(gguf.read(path))
    same(found, params)
    tokens = np.random.default_rng(5).integers(0, 96, (3, 20))[:1]  # the first row has no padding
    valid = np.ones((1, 20), bool)
    logits = jax.jit(partial(transformer.forward, config=found_config))(
        found, tokens, transformer.positions_of(valid), transformer.causal_mask(valid))
    np.testing.assert_allclose(logits, expected['logits'][:1], atol=1e-4)


def test_linear_stretch(tmp_path, params):
    fields = {'rope.scaling.type': 'linear', 'rope.scaling.factor': 4.0}
    config = gguf.config_of(gguf.read(write(tmp_path / 'a', CONFIG, params, fields=fields)))[0]
    assert (config.rope_scaling.kind, config.rope_scaling.factor) == ('linear', 4.0)


@pytest.mark.parametrize('fields, factor', [
    ({'rope.scaling.factor': 4.0}, 4.0), ({'rope.scale_linear': 2.0}, 2.0),
    ({'rope.scaling.factor': 1.0}, None),
    ({'rope.scaling.type': 'none', 'rope.scaling.factor': 4.0}, None)])
def test_a_stretch_without_a_kind_is_linear(tmp_path, params, fields, factor):
    config = gguf.config_of(gguf.read(write(tmp_path / 'a', CONFIG, params, fields=fields)))[0]
    assert (config.rope_scaling and config.rope_scaling.factor) == factor


def test_a_file_that_was_split_is_read_by_any_of_its_parts(tmp_path, params):
    names = [t.name for t in gguf.read(write(tmp_path / 'whole.gguf', CONFIG, params)).tensors]
    first, second = (tmp_path / f'm-0000{n}-of-00002.gguf' for n in (1, 2))
    write(first, CONFIG, params, leave=names[9:])
    write(second, CONFIG, params, leave=names[:9])
    for path in (first, second):
        config, found = gguf.load(gguf.read(path))
        assert config == CONFIG
        same(found, params)
    second.unlink()
    with pytest.raises(UserError, match='lacks m-00002-of-00002.gguf.*all its 2 parts'):
        gguf.read(first)


# ---- quantisations ------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', STEPS)
def test_a_quantised_file_is_within_half_a_step(tmp_path, params, kind):
    path = write(tmp_path / 'm.gguf', CONFIG, params,
                 kinds={'norm': 'F32', 'ffn': kind, 'attn': kind, 'token': kind})
    file = gguf.read(path)
    assert {t.shape for t in file.tensors if 'ffn_up' in t.name} == {(64, 32)}
    _, found = gguf.load(file)
    for name in ('q', 'up', 'down'):
        off = np.abs(np.asarray(found['layers'][name]) - params['layers'][name])
        blocks = np.abs(params['layers'][name].swapaxes(1, 2).reshape(-1, 32)).max(1)
        worst = off.swapaxes(1, 2).reshape(-1, 32).max(1)
        assert (worst <= STEPS[kind] * blocks + 1e-7).all()
        assert (off.max() > 0) == (kind != 'F32')
    same(found['final_norm'], params['final_norm'])


def half(value):
    return np.float16(value).tobytes()


def scales_of_six_bits(scales, minima):
    """The twelve bytes that hold eight scales and eight minima of six bits each."""
    low = [s | (t >> 4) << 6 for s, t in zip(scales[:4], scales[4:])]
    high = [m | (n >> 4) << 6 for m, n in zip(minima[:4], minima[4:])]
    rest = [(t & 15) | (n & 15) << 4 for t, n in zip(scales[4:], minima[4:])]
    return bytes(low + high + rest)


def nibbles(q):
    """Four bits each of 256 numbers: of every 64, the first 32 low and the others high."""
    pairs = (q & 15).reshape(4, 2, 32)
    return (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()


def block_of(kind, rng):
    """(bytes, values) of one random super-block, put together by the format's definition."""
    d, dmin = (float(np.float16(x)) for x in rng.uniform(0.01, 1, 2))
    if kind == 'Q6_K':
        q, scales = rng.integers(0, 64, 256), rng.integers(-128, 128, 16)
        low, high = (q & 15).reshape(2, 4, 32), (q >> 4).reshape(2, 4, 32)
        ql = np.concatenate([low[:, 0] | low[:, 2] << 4, low[:, 1] | low[:, 3] << 4], axis=1)
        qh = high[:, 0] | high[:, 1] << 2 | high[:, 2] << 4 | high[:, 3] << 6
        data = (ql.astype(np.uint8).tobytes() + qh.astype(np.uint8).tobytes()
                + scales.astype(np.int8).tobytes() + half(d))
        return data, d * np.repeat(scales, 16) * (q - 32)
    q = rng.integers(0, 16 if kind == 'Q4_K' else 32, 256)
    scales, minima = rng.integers(0, 64, (2, 8)).tolist()
    fifth = np.packbits((q >> 4).reshape(8, 32), axis=0, bitorder='little').tobytes()
    data = (half(d) + half(dmin) + scales_of_six_bits(scales, minima)
            + (fifth if kind == 'Q5_K' else b'') + nibbles(q))
    return data, d * np.repeat(scales, 32) * q - dmin * np.repeat(minima, 32)


@pytest.mark.parametrize('kind', ['Q4_K', 'Q5_K', 'Q6_K'])
def test_super_blocks_put_together_by_hand(tmp_path, kind):
    rng = np.random.default_rng(len(kind))
    made = [[block_of(kind, rng) for _ in range(2)] for _ in range(3)]  # [3, 512]
    data = np.stack([np.frombuffer(b''.join(b for b, _ in row), np.uint8) for row in made])
    wanted = np.stack([np.concatenate([v for _, v in row]) for row in made])
    writer = peer.GGUFWriter(tmp_path / 'k.gguf', 'llama')
    writer.add_tensor('w', data, raw_dtype=Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tensor,) = gguf.read(tmp_path / 'k.gguf').tensors
    assert tensor.shape == (3, 512)
    np.testing.assert_allclose(tensor.read(), wanted, rtol=1e-6, atol=1e-4)


def test_every_supported_quantisation_is_tested():
    assert set(gguf.SUPPORTED) == {*STEPS, 'Q4_K', 'Q5_K', 'Q6_K'}


def test_an_unknown_quantisation_is_named(tmp_path, params):
    path = tmp_path / 'm.gguf'
    wide = np.zeros((1, 256), np.float32)
    write(path, CONFIG, params, kinds={'odd': 'TQ1_0'}, more=[('odd.weight', wide)])
    with pytest.raises(UserError, match=r'odd\.weight is quantised as TQ1_0.*supported are F32'):
        gguf.read(path)
    data = path.read_bytes()
    place = data.index(b'odd.weight') + 10 + 4 + 16
    path.write_bytes(data[:place] + (999).to_bytes(4, 'little') + data[place + 4 :])
    with pytest.raises(UserError, match='quantised as 999'):
        gguf.read(path)


# ---- what is wrong with a file ------------------------------------------------------------------

@pytest.mark.parametrize('settings_, words', [
    ({'leave': ['blk.1.attn_q.weight']}, 'missing: blk.1.attn_q.weight'),
    ({'more': [('blk.0.attn_sinks', np.zeros(8))]}, 'left over: blk.0.attn_sinks'),
    ({'leave': ['output_norm.weight'], 'more': [('output_norm.weight', np.zeros(16))]},
     r'wrong shape: output_norm.weight \[16\] instead of \[32\]'),
    ({'leave': ['token_embd.weight']}, 'no tensor token_embd.weight'),
    ({'arch': 'mamba'}, "architecture 'mamba'.*supported are gemma3, llama, ol"),
    ({'fields': {'block_count': None}}, 'no field llama.block_count'),
    ({'fields': {'block_count': 3}}, 'missing: blk.2'),
    ({'fields': {'block_count': 10**9}}, 'holds 21 tensors, and .* states 1000000000 layers'),
    ({'fields': {'rope.freq_base': float('nan')}}, 'impossible architecture: rope_theta is nan'),
    ({'more': [('rope_freqs.weight', np.ones(5))]}, r'rope_freqs.weight is \[5\] instead of \[4\]'),
    ({'fields': {'attention.head_count': 0}}, 'impossible architecture: num_heads is 0'),
    ({'fields': {'attention.head_count': 'many'}}, "impossible architecture: .*'many'"),
    ({'fields': {'attention.key_length': 7}}, 'impossible architecture: head_dim must be even'),
    ({'fields': {'rope.dimension_count': 4}}, 'a part of each head'),
    ({'fields': {'rope.scaling.type': 'yarn'}}, "'yarn'.*supported are linear"),
    ({'fields': {'attention.value_length': 16}}, 'values of another width'),
    ({'fields': {'attention.sliding_window': 64}}, 'a window of 64 tokens only'),
    ({'fields': {'logit_scale': 0.5}}, 'llama.logit_scale = 0.5; only 1.0'),
    ({'fields': {'final_logit_softcapping': 30.0}}, 'final_logit_softcapping = 30.0, .*not known'),
    ({'fields': {'rope.scale_linear': 2.0}, 'more': [('rope_freqs.weight', np.ones(8))]},
     'by factors and by 2'),
])
def test_what_does_not_fit_is_named(tmp_path, params, settings_, words):
    path = write(tmp_path / 'm.gguf', CONFIG, params, **settings_)
    with pytest.raises(UserError, match=words) as caught:
        gguf.load(gguf.read(path))
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_tensor_that_comes_twice_is_named(tmp_path, file):
    data = file.read_bytes()
    twice = data.replace(b'blk.1.attn_k.weight', b'blk.0.attn_k.weight')
    (tmp_path / 'm.gguf').write_bytes(twice)
    with pytest.raises(UserError, match=r'missing: blk\.1\.attn_k.*double: blk\.0\.attn_k'):
        gguf.load(gguf.read(tmp_path / 'm.gguf'))


def test_a_file_cut_anywhere_is_refused(tmp_path, file):
    data, path = file.read_bytes(), tmp_path / 'cut.gguf'
    for cut in [*range(0, 2000, 7), len(data) // 2, len(data) - 33]:
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match='cut.gguf'):
            gguf.read(path)
    for other in (b'PK\3\4' + data[4:], data[:4] + b'\x09' + data[5:]):
        path.write_bytes(other)
        with pytest.raises(UserError, match='not a whole GGUF file'):
            gguf.read(path)
    with pytest.raises(UserError, match='cannot read'):
        gguf.read(tmp_path / 'none.gguf')


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 1900), byte=st.integers(0, 255))
def test_a_corrupt_byte_is_refused_or_harmless(tmp_path, file, place, byte):
    data = bytearray(file.read_bytes())
    data[place] = byte
    path = tmp_path / 'odd.gguf'
    path.write_bytes(data)
    try:
        gguf.load(gguf.read(path))
    except UserError as error:
        assert '\n' not in str(error)
