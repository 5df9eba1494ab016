"""GGUF files: header, tensors through gguf's dequantiser, and the configuration they state.

The header is parsed here, every length checked against the file's size: gguf's own reader takes
seconds for a vocabulary and does not notice a truncated file.
"""

import dataclasses
import pathlib
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import families
from subliminal_jax.models.families import Family, Tensor
from subliminal_jax.models.params import Params, RopeScaling, TransformerConfig
from subliminal_jax.runs import UserError

# struct formats by GGUF's number of a value's type; 8 is a string, 9 an array.
SCALARS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q',
           12: 'd'}
STRING, ARRAY = 8, 9
SUPPORTED = ('F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K')
ROPE_FACTORS = 'rope_freqs.weight'
PART = re.compile(r'(.*)-(\d{5})-of-(\d{5})\.gguf')  # of a file that was split

# Settings of an architecture: those that are used, those that change nothing, and those that are
# supported with one value only. Any other is refused by name.
USED = ('block_count', 'context_length', 'embedding_length', 'feed_forward_length',
        'attention.head_count', 'attention.head_count_kv', 'attention.key_length',
        'attention.value_length', 'attention.layer_norm_rms_epsilon', 'attention.sliding_window',
        'rope.freq_base', 'rope.dimension_count', 'rope.scaling.type', 'rope.scaling.factor',
        'rope.scale_linear')
HARMLESS = ('vocab_size', 'pooling_type', 'rope.scaling.finetuned',
            'rope.scaling.original_context_length')
# Of sliding layers: a file that does not say means the second.
LISTS = ('attention.sliding_window_pattern',)  # that may have a value for each layer
SLIDING = {'rope.freq_base_swa': 10000.0, 'attention.sliding_window_pattern': 6}
FIXED = {'tensor_data_layout': 'Meta AI original pth', 'attention.causal': True,
         'use_parallel_residual': False, 'expert_count': 0, 'expert_used_count': 0,
         'rope.scaling.attn_factor': 1.0, 'logit_scale': 1.0, 'residual_scale': 1.0,
         'embedding_scale': 1.0}


SINGLE = {'general.architecture': str, 'tokenizer.ggml.model': str, 'tokenizer.ggml.pre': str,
          'tokenizer.chat_template': str, 'tokenizer.ggml.add_bos_token': bool,
          'tokenizer.ggml.add_space_prefix': bool}


class GgufFile(NamedTuple):
    """A file's header.

    Attributes:
      path: of the file; of the first, if it was split.
      fields: metadata by name; arrays are lists, arrays of numbers NumPy arrays.
      tensors: in the order of the file, or files.
    """

    path: pathlib.Path
    fields: dict[str, Any]
    tensors: list[Tensor]


class _Header:
    """A place in the file's bytes; reading past the end is an error of the file."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def take(self, size: int) -> memoryview:
        if size < 0 or self.at + size > len(self.data):
            raise ValueError('it ends inside its header')
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> Any:
        return struct.unpack('<' + kind, self.take(struct.calcsize('<' + kind)))[0]

    def string(self) -> str:
        return str(self.take(self.number('Q')), 'utf-8', 'replace')

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY or depth > 2:
            raise ValueError(f'its metadata hold a value of the unknown type {kind}')
        inner, count = self.number('I'), self.number('Q')
        if inner in SCALARS:
            dtype = np.dtype('<' + SCALARS[inner])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if count > len(self.data) - self.at:
            raise ValueError('it ends inside its header')
        return [self.value(inner, depth + 1) for _ in range(count)]


def read(path: str | pathlib.Path) -> GgufFile:
    """Reads a file's header, or those of all parts of one that was split; tensors are read when
    asked for.

    Raises:
      UserError: no such file, no GGUF file, a truncated or corrupt one, or an unknown
        quantisation; it names the tensor and the type.
    """
    parts = [_read(part) for part in parts_of(pathlib.Path(path))]
    return parts[0]._replace(tensors=[tensor for part in parts for tensor in part.tensors])


def parts_of(path: pathlib.Path) -> list[pathlib.Path]:
    """All files of a model that was split (NAME-00001-of-0000N.gguf), by any of them; else the one.

    Raises:
      UserError: a part is missing.
    """
    found = PART.fullmatch(path.name)
    if not found:
        return [path]
    name, _, count = found.groups()
    parts = [path.with_name(f'{name}-{n:05}-of-{count}.gguf') for n in range(1, int(count) + 1)]
    if lost := [part.name for part in parts if not part.is_file()]:
        raise UserError(f'{path.parent} lacks {", ".join(lost[:3])}: a split model needs all its '
                        f'{int(count)} parts beside each other')
    return parts or [path]


def _read(path: pathlib.Path) -> GgufFile:
    try:
        data = np.memmap(path, np.uint8, 'r')
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read {path}: {error}') from None
    header = _Header(memoryview(data))
    try:
        if bytes(header.take(4)) != b'GGUF':
            raise ValueError('it does not begin with GGUF')
        version, num_tensors, num_fields = (header.number(k) for k in 'IQQ')
        if version not in (2, 3):
            raise ValueError(f'its version is {version}, and 2 and 3 are known')
        fields = {}
        for _ in range(num_fields):
            name = header.string()
            fields[name] = header.value(header.number('I'))
        described = [_described(header) for _ in range(num_tensors)]
        _check_single(fields)
        alignment = fields.get('general.alignment', 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f'its alignment is {alignment!r}')
    except (ValueError, struct.error, OverflowError) as error:
        raise UserError(f'{path} is not a whole GGUF file: {error}; fetch it again') from None
    start = -(-header.at // alignment) * alignment
    return GgufFile(path, fields, [_tensor(path, data, start, *one) for one in described])


def _check_single(fields: dict[str, Any]) -> None:
    """Raises ValueError for a value of another kind than it is read as."""
    for key, kind in SINGLE.items():
        if key in fields and not isinstance(fields[key], kind):
            raise ValueError(f'its {key} is {str(fields[key])[:40]!r}')
    own = f'{fields.get("general.architecture")}.'
    for key, value in fields.items():
        if (key.startswith(own) and key.removeprefix(own) not in LISTS
                and isinstance(value, list | np.ndarray)):
            raise ValueError(f'its {key} is a list where one value is needed')


def _described(header: _Header) -> tuple[str, tuple[int, ...], int, int]:
    name, dims = header.string(), header.number('I')
    if dims > 8:
        raise ValueError(f'its tensor {name!r} has {dims} dimensions')
    shape = tuple(header.number('Q') for _ in range(dims))[::-1]
    return name, shape, header.number('I'), header.number('Q')


def _tensor(path, data, start, name, shape, kind, offset) -> Tensor:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    known = {t.value: t.name for t in GGMLQuantizationType}
    if known.get(kind) not in SUPPORTED:
        raise UserError(f'{path}: tensor {name} is quantised as {known.get(kind, kind)}, which is '
                        f'not supported; supported are {", ".join(SUPPORTED)}')
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if not shape or shape[-1] % block:
        raise UserError(f'{path}: tensor {name} of shape {list(shape)} is not whole blocks of '
                        f'{block}; the file is corrupt, fetch it again')
    begin, length = start + offset, count // block * size
    if begin + length > len(data):
        raise UserError(f'{path} is truncated: tensor {name} ends at byte {begin + length} of '
                        f'{len(data)}; fetch it again')
    row = shape[-1] // block * size
    return Tensor(name, shape, lambda: dequantised(
        data[begin : begin + length].reshape(*shape[:-1], row), kind))


def dequantised(rows: np.ndarray, kind: int) -> np.ndarray:
    """float32 of a tensor's bytes [..., bytes of a row], `kind` being GGUF's number of the type."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    return dequantize(np.ascontiguousarray(rows), GGMLQuantizationType(kind))


def config_of(file: GgufFile) -> tuple[TransformerConfig, Family]:
    """The architecture that a file states.

    Raises:
      UserError: an unsupported architecture or setting, or a field that is missing.
    """
    fields, origin = file.fields, str(file.path)
    name = fields.get('general.architecture')
    family = families.family_of(name, origin, families.GGUF_FAMILIES)

    def field(key, default=None):
        value = fields.get(f'{name}.{key}', default)
        if value is None:
            raise UserError(f'{origin} has no field {name}.{key}')
        return value

    _check_keys(fields, name, family, origin)
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    embed = family.gguf_names['embed']
    if embed not in shapes:
        raise UserError(f'{origin} has no tensor {embed}')
    with families.stating(origin):
        heads, width = int(field('attention.head_count')), int(field('embedding_length'))
        head_dim = int(field('attention.key_length', width // max(heads, 1)))
        if int(field('rope.dimension_count', head_dim)) != head_dim:
            raise UserError(f'{origin} rotates a part of each head only, which is not supported')
        if int(field('attention.value_length', head_dim)) != head_dim:
            raise UserError(f'{origin} has values of another width than keys '
                            f'({name}.attention.value_length), which is not supported')
        config = TransformerConfig(
            vocab_size=shapes[embed][0], num_layers=int(field('block_count')), width=width,
            num_heads=heads, num_kv_heads=int(field('attention.head_count_kv', heads)),
            head_dim=head_dim, ffn_width=int(field('feed_forward_length')),
            rope_theta=_short(field('rope.freq_base', 10000.0)),
            rope_scaling=_rope_scaling(file, field, head_dim, origin),
            norm_eps=_short(field('attention.layer_norm_rms_epsilon')),
            tied=family.gguf_names['head'] not in shapes,
            max_positions=int(field('context_length')), **family.switches,
            **_windows(family, field, fields, name, origin))
        if family.scaled_embedding:
            config = _scaled(config)
        return families.checked(config), family


def _windows(family, field, fields, name, origin):
    """Which layers slide, as fields of TransformerConfig."""
    window = fields.get(f'{name}.attention.sliding_window')
    if family.windows == 'pattern':
        layers = families.counted(int(field('block_count')))
        local, pattern = (field(k, v) for k, v in SLIDING.items())
        slides = [bool(x) for x in pattern] if np.ndim(pattern) else [
            bool((layer + 1) % int(pattern)) for layer in range(layers)]
        return {'sliding_layers': tuple(slides), 'local_rope_theta': _short(local),
                'sliding_window': int(field('attention.sliding_window'))}
    if window is not None and not int(window) >= int(field('context_length')):
        raise UserError(f'{origin} has layers that see a window of {window} tokens only '
                        f'({name}.attention.sliding_window), which is not supported of this '
                        'architecture')
    return {}


def _scaled(config):
    """With Gemma 3's activation and scales, which its files leave out.

    Queries are scaled by their width, but in the 27B, which llama.cpp tells by its 62 layers.
    """
    scalar = config.width / config.num_heads if config.num_layers == 62 else None
    return dataclasses.replace(config, activation='gelu_tanh', embed_scale=config.width**0.5,
                               query_pre_attn_scalar=scalar)


def _short(value: float) -> float:
    """The shortest decimal that is this float32: 1e-05 for 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _check_keys(fields, name, family, origin):
    used = (*USED, *(SLIDING if family.windows == 'pattern' else ()))
    stated = {key.removeprefix(f'{name}.'): value for key, value in fields.items()
              if key.startswith(f'{name}.')}
    for key, value in stated.items():
        if key in FIXED and value != FIXED[key]:
            raise UserError(f'{origin} has {name}.{key} = {value!r}; only {FIXED[key]!r} is '
                            'supported')
        if key not in FIXED and key not in used and key not in HARMLESS:
            raise UserError(f'{origin} has {name}.{key} = {str(value)[:40]}, which is not known '
                            'here and may change what the model computes')


def _rope_scaling(file: GgufFile, field: Callable[..., Any], head_dim: int, origin: str
                  ) -> RopeScaling | None:
    """A factor without a type is linear, and so is the older scale_linear, as in llama.cpp."""
    factor = float(field('rope.scaling.factor', 0.0)) or float(field('rope.scale_linear', 0.0))
    kind = field('rope.scaling.type', 'linear' if factor else 'none')
    if kind not in ('none', 'linear'):
        raise UserError(f'{origin} scales its rotary frequencies by {kind!r}, which is not '
                        'supported; supported are linear and the factors of Llama 3')
    stretched = kind == 'linear' and factor not in (0.0, 1.0)
    for tensor in file.tensors:
        if tensor.name == ROPE_FACTORS:
            if stretched:
                raise UserError(f'{origin} scales its rotary frequencies by factors and by '
                                f'{factor:g}, which is not supported')
            if tensor.shape != (head_dim // 2,):
                raise UserError(f'{origin}: tensor {ROPE_FACTORS} is {list(tensor.shape)} instead '
                                f'of {[head_dim // 2]}')
            factors = tuple(float(x) for x in tensor.read().ravel())
            return RopeScaling('factors', factors=factors)
    return RopeScaling('linear', factor=factor) if stretched else None


def half_split(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undoes GGUF's order of Llama's q and k: pairs (0, 1), (2, 3).. become (0, H/2), (1, H/2+1)..

    Args:
      rows: [heads * H, ...].
      heads: how many.
    """
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def load(file: GgufFile, dtype: Any = jnp.float32, put: Any = None, copies: int = 1
         ) -> tuple[TransformerConfig, Params]:
    """The configuration and the parameters of a file.

    Args:
      file: `read`'s.
      dtype: of the parameters.
      put: as in families.fill.
      copies: as in families.check_memory.

    Raises:
      UserError: see `config_of`, families.match and families.check_memory.
    """
    config, family = config_of(file)
    origin = str(file.path)
    tensors = [t for t in file.tensors if t.name != ROPE_FACTORS]
    matched = families.match(tensors, config, family.gguf_names, origin)
    families.check_memory(config, dtype, origin, copies)
    heads = {'layers/q': config.num_heads, 'layers/k': config.num_kv_heads,
             'layers/q_bias': config.num_heads, 'layers/k_bias': config.num_kv_heads}

    def fix(path, array):
        if config.norm_unit_offset and path.endswith('_norm'):
            return array - 1  # files hold 1 + weight
        return half_split(array, heads[path]) if family.interleaved and path in heads else array

    return config, families.fill(matched, config, dtype, fix, put)
