"""Folders in Hugging Face layout: config.json and safetensors, single or sharded."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import families
from subliminal_jax.models.families import Family, Tensor
from subliminal_jax.models.params import Params, RopeScaling, TransformerConfig
from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError

DTYPES = ('F32', 'F16', 'BF16')
IGNORED = ('.rotary_emb.inv_freq',)  # buffers that old checkpoints keep

# Settings that change the function, with the only value that is supported.
FIXED: Mapping[str, Any] = {
    'hidden_act': 'silu', 'attention_bias': False, 'mlp_bias': False, 'use_sliding_window': False,
    'partial_rotary_factor': 1.0, 'quantization_config': None,
}


def config_of(folder: pathlib.Path) -> tuple[TransformerConfig, Family]:
    """The architecture that config.json states.

    Raises:
      UserError: no file, an unsupported architecture or setting, or a field that is missing.
    """
    origin = str(folder / 'config.json')
    stated = read_json(folder / 'config.json')
    name = stated.get('model_type')
    family = families.family_of(name, origin)
    for key, only in FIXED.items():
        if stated.get(key, only) not in (only, None):
            raise UserError(f'{origin} has {key} = {stated[key]!r}; only {only!r} is supported')

    def field(key, default=None):
        value = stated.get(key)
        value = default if value is None else value
        if value is None:
            raise UserError(f'{origin} has no field {key}')
        return value

    with families.stating(origin):
        heads = int(field('num_attention_heads'))
        theta, scaling = _rope(stated, family, origin)
        config = TransformerConfig(
            vocab_size=int(field('vocab_size')), num_layers=int(field('num_hidden_layers')),
            width=int(field('hidden_size')), num_heads=heads,
            num_kv_heads=int(field('num_key_value_heads', heads)),
            head_dim=int(field('head_dim', int(field('hidden_size')) // max(heads, 1))),
            ffn_width=int(field('intermediate_size')), rope_theta=theta, rope_scaling=scaling,
            norm_eps=float(field('rms_norm_eps', 1e-6)),
            tied=bool(field('tie_word_embeddings', False)), qkv_bias=family.qkv_bias,
            max_positions=int(field('max_position_embeddings', 2048)))
        return families.checked(config), family


def _rope(stated, family, origin):
    """(theta, scaling), from either spelling: rope_parameters, or rope_theta and rope_scaling."""
    rope = stated.get('rope_parameters') or stated.get('rope_scaling') or {}
    if not isinstance(rope, dict):
        raise UserError(f'{origin} states rotary settings that are none: {rope!r}')
    theta = rope.get('rope_theta', stated.get('rope_theta', family.default_theta))
    kind = rope.get('rope_type', rope.get('type', 'default'))
    if kind == 'default':
        return float(theta), None
    try:
        if kind == 'linear':
            return float(theta), RopeScaling('linear', factor=float(rope['factor']))
        if kind == 'llama3':
            return float(theta), RopeScaling(
                'llama3', float(rope['factor']), float(rope['low_freq_factor']),
                float(rope['high_freq_factor']), int(rope['original_max_position_embeddings']))
    except KeyError as error:
        raise UserError(f'{origin} scales its rotary frequencies without {error}') from None
    raise UserError(f'{origin} scales its rotary frequencies by {kind!r}, which is not supported; '
                    'supported are linear and llama3')


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The safetensors files of a folder: model.safetensors, or those of its index.

    Raises:
      UserError: there are none, only pickled ones, or one that the index names is missing.
    """
    index = folder / 'model.safetensors.index.json'
    single = folder / 'model.safetensors'
    if single.exists():
        return [single]
    if not index.exists():
        pickled = any(folder.glob('*.bin'))
        raise UserError(f'{folder} has no model.safetensors' + (
            '; its weights are pickled, which can run code: convert them to safetensors'
            if pickled else ''))
    stated = _weight_map(index).values()
    if any(not isinstance(name, str) or pathlib.PurePath(name).name != name for name in stated):
        raise UserError(f'{index} names files outside of its folder')
    names = sorted(set(stated))
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise UserError(f'{folder} lacks {", ".join(missing)}, which its index names')
    return [folder / name for name in names]


def _weight_map(index: pathlib.Path) -> dict[str, str]:
    weight_map = read_json(index).get('weight_map')
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f'{index} has no weight_map')
    return weight_map


def tensors_of(path: pathlib.Path) -> list[Tensor]:
    """The tensors of a safetensors file, to be read when asked for.

    Raises:
      UserError: a truncated or corrupt file, or another dtype than float32, float16, bfloat16.
    """
    import ml_dtypes  # noqa: F401  teaches NumPy bfloat16
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework='numpy')
        found = [(name, file.get_slice(name)) for name in file.keys()]  # noqa: SIM118
        described = [(name, tuple(s.get_shape()), s.get_dtype()) for name, s in found]
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f'{path} is not a whole safetensors file: {error}; fetch it again'
                        ) from None
    for name, _, dtype in described:
        if dtype not in DTYPES:
            raise UserError(f'{path}: tensor {name} has the dtype {dtype}, which is not '
                            f'supported; supported are {", ".join(DTYPES)}')
    return [Tensor(name, shape, lambda name=name: file.get_tensor(name))
            for name, shape, _ in described]


def load(folder: pathlib.Path, dtype: Any = jnp.float32, put: Any = None, copies: int = 1
         ) -> tuple[TransformerConfig, Params]:
    """The configuration and the parameters of a folder.

    Args:
      folder: with config.json and safetensors.
      dtype: of the parameters.
      put: as in families.fill.
      copies: as in families.check_memory.

    Raises:
      UserError: see `config_of`, `tensors_of`, families.match and families.check_memory.
    """
    config, family = config_of(folder)
    origin = str(folder)
    files = weight_files(folder)
    tensors = [tensor for path in files for tensor in tensors_of(path)]
    tensors = _without_copied_head(tensors, config, family, origin)
    matched = families.match(tensors, config, family.hf_names, origin, IGNORED)
    families.check_memory(config, dtype, origin, copies)
    return config, families.fill(matched, config, dtype, put=put)


def _without_copied_head(tensors, config, family, origin):
    """Without the output matrix that some tied checkpoints store again; it must be the same."""
    head, embed = family.hf_names['head'], family.hf_names['embed']
    by_name = {t.name: t for t in tensors}
    if not config.tied or head not in by_name or embed not in by_name:
        return tensors
    if not np.array_equal(by_name[head].read(), by_name[embed].read()):
        raise UserError(f'{origin}: {head} differs from {embed}, though its configuration ties '
                        'them (tie_word_embeddings)')
    return [t for t in tensors if t.name != head]
