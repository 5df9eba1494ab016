"""Families of models: a row of switches and two tables of names; and filling parameters by name.

A name table says, for each parameter of ours, what a file calls it; {} is the layer's number.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.models.params import (
    Params,
    ParamSpec,
    TransformerConfig,
    count_params,
    is_spec,
    param_specs,
    shardings,
)
from subliminal_jax.runs import UserError
from subliminal_jax.runs.plan import available_memory

HF_NAMES: Mapping[str, str] = {
    'embed': 'model.embed_tokens.weight',
    'head': 'lm_head.weight',
    'final_norm': 'model.norm.weight',
    'layers/attn_norm': 'model.layers.{}.input_layernorm.weight',
    'layers/q': 'model.layers.{}.self_attn.q_proj.weight',
    'layers/k': 'model.layers.{}.self_attn.k_proj.weight',
    'layers/v': 'model.layers.{}.self_attn.v_proj.weight',
    'layers/o': 'model.layers.{}.self_attn.o_proj.weight',
    'layers/q_bias': 'model.layers.{}.self_attn.q_proj.bias',
    'layers/k_bias': 'model.layers.{}.self_attn.k_proj.bias',
    'layers/v_bias': 'model.layers.{}.self_attn.v_proj.bias',
    'layers/mlp_norm': 'model.layers.{}.post_attention_layernorm.weight',
    'layers/gate': 'model.layers.{}.mlp.gate_proj.weight',
    'layers/up': 'model.layers.{}.mlp.up_proj.weight',
    'layers/down': 'model.layers.{}.mlp.down_proj.weight',
}
GGUF_NAMES: Mapping[str, str] = {
    'embed': 'token_embd.weight',
    'head': 'output.weight',
    'final_norm': 'output_norm.weight',
    'layers/attn_norm': 'blk.{}.attn_norm.weight',
    'layers/q': 'blk.{}.attn_q.weight',
    'layers/k': 'blk.{}.attn_k.weight',
    'layers/v': 'blk.{}.attn_v.weight',
    'layers/o': 'blk.{}.attn_output.weight',
    'layers/q_bias': 'blk.{}.attn_q.bias',
    'layers/k_bias': 'blk.{}.attn_k.bias',
    'layers/v_bias': 'blk.{}.attn_v.bias',
    'layers/mlp_norm': 'blk.{}.ffn_norm.weight',
    'layers/gate': 'blk.{}.ffn_gate.weight',
    'layers/up': 'blk.{}.ffn_up.weight',
    'layers/down': 'blk.{}.ffn_down.weight',
}


LARGEST = 2**31  # of a size: an index of an array on any device


class Family(NamedTuple):
    """One architecture.

    Attributes:
      qkv_bias: q, k and v have biases.
      interleaved: GGUF stores rows of q and k in the order of interleaved rotary pairs.
      default_theta, default_positions: rope_theta and max_position_embeddings of a Hugging Face
        config that does not say.
      hf_names, gguf_names: see the module.
    """

    qkv_bias: bool
    interleaved: bool
    default_theta: float = 10000.0
    default_positions: int = 2048
    hf_names: Mapping[str, str] = HF_NAMES
    gguf_names: Mapping[str, str] = GGUF_NAMES


# By model_type of config.json, which is also general.architecture of GGUF.
FAMILIES: Mapping[str, Family] = {
    'llama': Family(qkv_bias=False, interleaved=True),
    'qwen2': Family(qkv_bias=True, interleaved=False, default_positions=32768),
}


def family_of(name: Any, origin: str) -> Family:
    """The family of an architecture's name. Raises UserError for one that is not supported."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f'{origin} is of the architecture {name!r}, which is not supported; '
                        f'supported are {", ".join(sorted(FAMILIES))}')
    return FAMILIES[name]


@contextlib.contextmanager
def stating(origin: str) -> Iterator[None]:
    """Turns what goes wrong while a file's architecture is read into a UserError."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f'{origin} states an impossible architecture: {error}') from None


def checked(config: TransformerConfig) -> TransformerConfig:
    """The same; raises ValueError for a size that is not positive or a number that is not finite.
    """
    for name in ('vocab_size', 'num_layers', 'width', 'num_heads', 'num_kv_heads', 'head_dim',
                 'ffn_width', 'rope_theta', 'norm_eps', 'max_positions'):
        value = getattr(config, name)
        if not 0 < value < (LARGEST if isinstance(value, int) else math.inf):
            raise ValueError(f'{name} is {value}')
    return config


class Tensor(NamedTuple):
    """A tensor of a file.

    Attributes:
      name: in the file.
      shape: as read() gives it; matrices are [outputs, inputs].
      read: reads it; it may be called from any thread.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def leaves(config: TransformerConfig, dtype: Any) -> dict[str, ParamSpec]:
    """The description of each parameter by its path, such as 'layers/q'."""
    found = jax.tree_util.tree_leaves_with_path(param_specs(config, dtype), is_leaf=is_spec)
    return {jax.tree_util.keystr(p, simple=True, separator='/'): spec for p, spec in found}


def match(tensors: Iterable[Tensor], config: TransformerConfig, names: Mapping[str, str],
          origin: str, ignored: tuple[str, ...] = ()) -> dict[str, list[Tensor]]:
    """The tensors of each parameter, one a layer, before anything is read.

    Args:
      tensors: of all the model's files.
      config: what they should hold.
      names: a name table.
      origin: named in errors.
      ignored: ends of names that hold no parameter.

    Returns:
      {path: tensors in the order of the layers}; one tensor where there are no layers.

    Raises:
      UserError: a tensor is missing, double, left over or of another shape; it names all such.
    """
    tensors = list(tensors)
    if config.num_layers > len(tensors):
        raise UserError(f'{origin} holds {len(tensors)} tensors, and its configuration states '
                        f'{config.num_layers} layers')
    wanted = {}
    for path, spec in leaves(config, np.float32).items():
        shape = spec.shape[1:] if path.startswith('layers/') else spec.shape
        turned = shape[::-1] if path.startswith('layers/') else shape
        for layer in range(config.num_layers if path.startswith('layers/') else 1):
            wanted[names[path].format(layer)] = turned
    have: dict[str, Tensor] = {}
    double, extra = [], []
    for tensor in tensors:
        if tensor.name in have:
            double.append(tensor.name)
        elif tensor.name in wanted:
            have[tensor.name] = tensor
        elif not tensor.name.endswith(ignored or ('\0',)):
            extra.append(tensor.name)
    missing = [name for name in wanted if name not in have]
    misshapen = [f'{name} {list(t.shape)} instead of {list(wanted[name])}'
                 for name, t in have.items() if tuple(t.shape) != tuple(wanted[name])]
    troubles = [f'{what}: {_some(which)}' for what, which in (
        ('missing', missing), ('double', double), ('left over', extra),
        ('of the wrong shape', misshapen)) if which]
    if troubles:
        raise UserError(f'tensors of {origin} do not fit its configuration; ' + '; '.join(troubles))
    return {path: [have[names[path].format(layer)] for layer in
                   range(config.num_layers if path.startswith('layers/') else 1)]
            for path in leaves(config, np.float32)}


def fill(matched: Mapping[str, list[Tensor]], config: TransformerConfig, dtype: Any,
         fix: Callable[[str, np.ndarray], np.ndarray] | None = None,
         put: Callable[[str, np.ndarray], jax.Array] | None = None) -> Params:
    """Reads matched tensors into parameters, one stacked parameter after the other.

    Args:
      matched: `match`'s.
      config: the architecture.
      dtype: of the parameters.
      fix: (path, array as in the file) -> array, such as undoing a permutation.
      put: (path, NumPy array) -> the parameter on its devices; by default jax.device_put.

    Returns:
      The parameters. Host memory holds one parameter beyond those that are done.
    """
    put = put or (lambda path, array: jax.device_put(array))
    params: Params = {'layers': {}}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, spec in leaves(config, dtype).items():
            whole = np.empty(spec.shape, spec.dtype)
            parts = list(whole) if path.startswith('layers/') else [whole]

            def one(tensor, part, path=path):
                array = tensor.read()
                array = fix(path, array) if fix else array
                part[...] = array.T if path.startswith('layers/') else array
                if not np.isfinite(part).all():
                    raise UserError(f'tensor {tensor.name} holds NaN or infinity: its file is '
                                    'damaged, fetch it again')

            list(pool.map(one, matched[path], parts))
            *group, name = path.split('/')
            (params['layers'] if group else params)[name] = put(path, whole)
    return params


def put_on(config: TransformerConfig, mesh: jax.sharding.Mesh
           ) -> Callable[[str, np.ndarray], jax.Array]:
    """`fill`'s put for devices that share the parameters (params.shardings)."""
    cut = jax.tree.leaves(shardings(config, mesh))
    places = dict(zip(leaves(config, np.float32), cut, strict=True))
    return lambda path, array: jax.device_put(array, places[path])


def check_memory(config: TransformerConfig, dtype: Any, origin: str, copies: int = 1) -> None:
    """Raises UserError, before anything is read, if the parameters cannot fit.

    Host memory is always checked, the memory of an accelerator where it tells it.

    Args:
      config: the architecture.
      dtype: of the parameters.
      origin: named in the error.
      copies: how often the caller will hold the parameters at one time.
    """
    need = copies * count_params(config) * np.dtype(dtype).itemsize
    largest = max(math.prod(s.shape) for s in leaves(config, dtype).values())
    free = available_memory()
    device = jax.local_devices()[0]
    on_host = need if device.platform == 'cpu' else 0
    host_need = on_host + largest * np.dtype(dtype).itemsize
    if free is not None and host_need > free:
        raise UserError(
            f'{origin} needs {host_need / 1e9:.1f} GB of memory in {np.dtype(dtype).name}, and '
            f'{free / 1e9:.1f} GB are free: close other programs, or load '
            'it in bfloat16')
    stats = device.memory_stats() if device.platform != 'cpu' else None
    if stats and 'bytes_limit' in stats:
        room = stats['bytes_limit'] - stats.get('bytes_in_use', 0)
        if need > room * jax.local_device_count():
            raise UserError(
                f'{origin} needs {need / 1e9:.1f} GB of device memory in '
                f'{np.dtype(dtype).name}, and {room / 1e9:.1f} GB are free on each device')


def _some(names: list[str], most: int = 4) -> str:
    rest = len(names) - most
    return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')
