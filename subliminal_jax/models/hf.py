"""Folders in Hugging Face layout: config.json and safetensors, single or sharded."""

import dataclasses
import os
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import families
from subliminal_jax.models.families import Family, Tensor
from subliminal_jax.models.hf_config import config_of as config_of
from subliminal_jax.models.params import Params, TransformerConfig
from subliminal_jax.models.vocabulary import read_json
from subliminal_jax.runs import UserError, check_file

DTYPES = ('F32', 'F16', 'BF16')
# Buffers that old checkpoints keep.
IGNORED = ('.rotary_emb.inv_freq', '.attention.bias', '.attention.masked_bias')


class Folder(NamedTuple):
    """What a folder holds, before its weights are read.

    Attributes:
      config: the architecture, with the output matrix that the weights have.
      family: its.
      tensors: of all its files.
      notes: where the weights differ from config.json, one line each.
    """

    config: TransformerConfig
    family: Family
    tensors: list[Tensor]
    notes: tuple[str, ...] = ()


def opened(folder: pathlib.Path) -> Folder:
    """A folder's configuration and tensors.

    A head of its own is kept though config.json ties it to the embedding, and one that is missing
    is the embedding though it does not: a note says so.

    Raises:
      UserError: see `config_of`, `weight_files` and `tensors_of`.
    """
    config, family = config_of(folder)
    index = folder / 'model.safetensors.index.json'
    files = weight_files(folder)
    place = _weight_map(index) if len(files) > 1 or files[0].name != 'model.safetensors' else {}
    tensors = [tensor for path in files for tensor in tensors_of(path)
               if place.get(tensor.name, path.name) == path.name]  # the index chooses the shard
    tensors = list(families.unfused(tensors, config)) if family.fused else tensors
    head, embed = (family.hf_names[name] for name in ('head', 'embed'))
    by_name = {tensor.name: tensor for tensor in tensors}
    if config.tied and head in by_name and embed in by_name:
        if not np.array_equal(by_name[head].read(), by_name[embed].read()):
            return Folder(dataclasses.replace(config, tied=False), family, tensors, (
                f'{folder}: {head} differs from {embed}: it is used, though config.json ties them',
            ))
        tensors = [tensor for tensor in tensors if tensor.name != head]
    if not config.tied and head not in by_name and embed in by_name:
        return Folder(dataclasses.replace(config, tied=True), family, tensors, (
            f'{folder} has no {head}: {embed} takes its place, though config.json does not tie '
            'them',))
    return Folder(config, family, tensors)


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The safetensors files of a folder: model.safetensors, or those of its index.

    Raises:
      UserError: there are none, only pickled ones, or one that the index names is missing.
    """
    index = folder / 'model.safetensors.index.json'
    single = folder / 'model.safetensors'
    if single.exists():
        check_file(single)
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
    missing = [name for name in names if not os.path.isfile(folder / name)]
    if missing:
        raise UserError(f'{folder} lacks {", ".join(missing)[:200]}, which its index names')
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
        if dtype not in DTYPES and not name.endswith(IGNORED):
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
      UserError: see `opened`, families.match and families.check_memory.
    """
    found, origin = opened(folder), str(folder)
    matched = families.match(found.tensors, found.config, found.family.hf_names, origin, IGNORED)
    families.check_memory(found.config, dtype, origin, copies)
    return found.config, families.fill(matched, found.config, dtype, put=put)
