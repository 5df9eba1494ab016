"""Families of models: a row of switches and tables of names; and filling parameters by name."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.models.names import (
    GGUF_NAMES as GGUF_NAMES,
    HF_NAMES as HF_NAMES,
    HF_NEOX_NAMES,
    HF_POST_NORM_NAMES,
)
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

LARGEST = 2**31  # of a size: an index of an array on any device
MOST_LAYERS = 10_000  # a list has an entry for each


class Family(NamedTuple):
    """One architecture.

    Attributes:
      switches: fields of TransformerConfig that the architecture fixes.
      defaults: settings of a Hugging Face config that does not say.
      interleaved: GGUF stores rows of q and k in the order of interleaved rotary pairs.
      windows: which layers of a config.json see a window: '' none, 'all', 'switched' (by
        use_sliding_window, from a layer on) or 'pattern' (all but each n-th).
      scaled_embedding: the embedding is multiplied by the square root of the width.
      fused: q, k and v are one tensor (`unfused`).
      reads: settings of config.json beside those that all families read.
      fixed: settings that change the function, with the values that are supported, beside or in
        place of those of all families.
      spelled: a setting's own spelling, and the one that most families use.
      hf_names, gguf_names: see models.names; None: GGUF files are not read.
    """

    switches: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    interleaved: bool = False
    windows: str = ''
    scaled_embedding: bool = False
    fused: bool = False
    reads: frozenset[str] = frozenset()
    fixed: Mapping[str, tuple] = {}
    spelled: Mapping[str, str] = {}
    hf_names: Mapping[str, str] = HF_NAMES
    gguf_names: Mapping[str, str] | None = GGUF_NAMES


# By model_type of config.json.
FAMILIES: Mapping[str, Family] = {
    'llama': Family(interleaved=True, reads=frozenset(('attention_bias', 'mlp_bias'))),
    'mistral': Family(
        defaults={'max_position_embeddings': 131072, 'num_key_value_heads': 8,
                  'sliding_window': 4096}, windows='all', gguf_names=None),
    'qwen2': Family(
        {'qkv_bias': True}, {'max_position_embeddings': 32768, 'sliding_window': 4096},
        windows='switched'),
    'qwen3': Family(
        {'qk_norm': 'head'},
        {'max_position_embeddings': 32768, 'sliding_window': 4096, 'head_dim': 128,
         'num_key_value_heads': 32},
        windows='switched', reads=frozenset(('attention_bias',))),
    'olmo2': Family(
        {'norm_placement': 'post', 'qk_norm': 'full'}, {'rms_norm_eps': 1e-5},
        reads=frozenset(('attention_bias',)), hf_names=HF_POST_NORM_NAMES),
    'gemma3_text': Family(
        {'norm_unit_offset': True, 'norm_placement': 'sandwich', 'qk_norm': 'head'},
        {'hidden_act': 'gelu_pytorch_tanh', 'max_position_embeddings': 131072, 'head_dim': 256,
         'num_key_value_heads': 4, 'sliding_window': 4096, 'rope_theta': 1e6,
         'query_pre_attn_scalar': 256, 'tie_word_embeddings': True},
        windows='pattern', scaled_embedding=True,
        reads=frozenset(('attention_bias', 'query_pre_attn_scalar', 'rope_local_base_freq',
                         'sliding_window_pattern')),
        fixed={'hidden_act': ('gelu_pytorch_tanh',), 'hidden_activation': ('gelu_pytorch_tanh',),
               'use_bidirectional_attention': (False,)},
        spelled={'hidden_activation': 'hidden_act'}, hf_names=HF_POST_NORM_NAMES),
    'gpt_neox': Family(
        {'norm': 'layer', 'mlp_gated': False, 'mlp_bias': True},
        {'hidden_act': 'gelu', 'rms_norm_eps': 1e-5, 'rope_theta': 10000.0,
         'partial_rotary_factor': 0.25, 'attention_bias': True, 'use_parallel_residual': True},
        fused=True,
        reads=frozenset(('attention_bias', 'use_parallel_residual', 'partial_rotary_factor',
                         'rotary_pct', 'rotary_emb_base', 'layer_norm_eps')),
        fixed={'hidden_act': ('gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh')},
        spelled={'layer_norm_eps': 'rms_norm_eps', 'rotary_emb_base': 'rope_theta',
                 'rotary_pct': 'partial_rotary_factor'},
        hf_names=HF_NEOX_NAMES, gguf_names=None),
}
# By general.architecture of GGUF (Mistral's files say llama, and no window).
GGUF_FAMILIES: Mapping[str, Family] = {
    {'gemma3_text': 'gemma3'}.get(name, name): family for name, family in FAMILIES.items()
    if family.gguf_names is not None}
FUSED = ('.query_key_value.weight', '.query_key_value.bias')


def family_of(name: Any, origin: str, known: Mapping[str, Family] = FAMILIES) -> Family:
    """The family of an architecture's name. Raises UserError for one that is not supported."""
    if not isinstance(name, str) or name not in known:
        raise UserError(f'{origin} is of the architecture {name!r}, which is not supported; '
                        f'supported are {", ".join(sorted(known))}')
    return known[name]


@contextlib.contextmanager
def stating(origin: str) -> Iterator[None]:
    """Turns what goes wrong while a file's architecture is read into a UserError."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f'{origin} states an impossible architecture: {error}') from None


def counted(layers: int) -> int:
    """The same number of layers; raises ValueError for one that no model has."""
    if not 0 < layers <= MOST_LAYERS:
        raise ValueError(f'num_layers is {layers}')
    return layers


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


def unfused(tensors: Iterable[Tensor], config: TransformerConfig) -> Iterator[Tensor]:
    """Tensors with q, k and v, which GPT-NeoX keeps in one, apart: NAME:q, NAME:k and NAME:v.

    Rows of the one are [N, 3, H]: each head's query, key and value. One of another shape keeps it,
    so that `match` names it.
    """
    def part_of(tensor, place):
        rows = tensor.read()
        heads = rows.reshape(config.num_heads, 3, config.head_dim, *rows.shape[1:])
        return heads[:, place].reshape(-1, *rows.shape[1:])

    for tensor in tensors:
        if not tensor.name.endswith(FUSED):
            yield tensor
            continue
        rows, *rest = tensor.shape
        rows = rows // 3 if rows == 3 * config.num_heads * config.head_dim else rows
        for place, part in enumerate('qkv'):
            yield Tensor(f'{tensor.name}:{part}', (rows, *rest),
                         lambda tensor=tensor, place=place: part_of(tensor, place))


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
    """`fill`'s put for devices that share the parameters (params.shardings): each, of this host, is
    sent its own part."""
    cut = jax.tree.leaves(shardings(config, mesh))
    places = dict(zip(leaves(config, np.float32), cut, strict=True))
    return lambda path, array: jax.make_array_from_callback(
        array.shape, places[path], lambda index: array[index])


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
