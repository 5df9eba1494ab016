"""LoRA (Hu et al. 2021, arXiv 2106.09685): an adapter is a tree of its own, never a mask."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from subliminal_jax.models.params import Params, TransformerConfig, param_specs, wide
from subliminal_jax.runs import UserError, read_json, unknown_name, write_json, written_aside

TARGETS = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')


def targets_of(config: TransformerConfig) -> tuple[str, ...]:
    """The projections that a model has; one whose feed-forward is not gated lacks the gate."""
    return tuple(name for name in TARGETS if name != 'gate' or config.mlp_gated)


@struct.dataclass
class Lora:
    """An adapter: it adds scale * (x a) b to x W.

    A pytree whose leaves are all trainable.

    Attributes:
      layers: {projection: {'a': [L, in, R], 'b': [L, R, out]}}.
      scale: static.
    """

    layers: dict[str, dict[str, jax.Array]]
    scale: float = struct.field(pytree_node=False)


def init_lora(key: jax.Array, config: TransformerConfig, rank: int, alpha: float | None = None,
              targets: Sequence[str] | None = None, rslora: bool = False, dtype: Any = jnp.float32
              ) -> Lora:
    """A fresh adapter: A from N(0, 1 / d_in), B zero, so that it changes nothing yet.

    Teacher and student share the start of A if they share the key, and only then.

    Args:
      key: folded with the place of each projection in TARGETS.
      config: of the base.
      rank: R.
      alpha: the adapter's strength; by default the rank.
      targets: which projections; by default all that the model has (`targets_of`).
      rslora: scale by alpha / sqrt(R) (Kalajdzievski 2023, arXiv 2312.03732), not alpha / R.
      dtype: of the adapter.

    Raises:
      UserError: a projection that the model has not, or a rank below one.
    """
    if rank < 1:
        raise UserError(f'a LoRA rank must be at least 1, not {rank}')
    known = targets_of(config)
    targets = known if targets is None else targets
    for name in targets:
        if name not in known:
            raise unknown_name('LoRA projection', name, known)
    alpha = rank if alpha is None else alpha
    scale = alpha / (rank**0.5 if rslora else rank)
    specs = param_specs(config)['layers']

    def one(name):
        layers, d_in, d_out = specs[name].shape
        own = jax.random.fold_in(key, TARGETS.index(name))
        a = jax.random.normal(own, (layers, d_in, rank), dtype) * jnp.asarray(d_in**-0.5, dtype)
        return {'a': a, 'b': jnp.zeros((layers, rank, d_out), dtype)}

    return Lora({name: one(name) for name in targets}, float(scale))


def merge_lora(params: Params, lora: Lora, config: TransformerConfig) -> Params:
    """Params of the same function without the adapter: W + scale * A B in every target.

    `config` says nothing here that the trees do not; it is taken so that families whose matrices
    are stored otherwise can be served alike.
    """
    del config
    layers = dict(params['layers'])
    for name, adapter in lora.layers.items():
        dtype = wide(layers[name].dtype)
        low, high = adapter['a'].astype(dtype), adapter['b'].astype(dtype)
        added = lora.scale * jnp.einsum('LDR,LRF->LDF', low, high, precision='highest')
        layers[name] = (layers[name].astype(dtype) + added).astype(layers[name].dtype)
    return {**params, 'layers': layers}


def save_lora(folder: str | pathlib.Path, lora: Lora) -> None:
    """Writes an adapter as a folder: adapter.safetensors and adapter.json, whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {f'{name}/{part}': np.ascontiguousarray(x)
              for name, own in lora.layers.items() for part, x in own.items()}
    with written_aside(folder, ours=os.path.isfile(os.path.join(folder, 'adapter.json'))) as aside:
        aside.mkdir()
        save_file(arrays, aside / 'adapter.safetensors')
        write_json(aside / 'adapter.json', {'scale': lora.scale})


def load_lora(folder: str | pathlib.Path, config: TransformerConfig) -> Lora:
    """Reads what `save_lora` wrote.

    Args:
      folder: of the adapter.
      config: of the base that it must fit.

    Raises:
      UserError: no adapter there, a corrupt one, or one of another base's shapes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = pathlib.Path(folder)
    try:
        scale = float(read_json(folder / 'adapter.json')['scale'])
        arrays = load_file(folder / 'adapter.safetensors')
    except (UserError, OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f'{folder} holds no adapter of ours (adapter.json and '
                        f'adapter.safetensors): {error}') from None
    specs = param_specs(config)['layers']
    layers: dict[str, dict[str, jax.Array]] = {}
    for path, array in arrays.items():
        name, _, part = path.partition('/')
        known = name in targets_of(config) and part in ('a', 'b') and array.ndim == 3
        whole = specs[name].shape if known else ()
        fits = known and (array.shape[:2] == whole[:2] if part == 'a' else
                          array.shape[::2] == whole[::2])
        if not fits:
            raise UserError(f'{folder}: {path} of shape {list(array.shape)} does not fit the '
                            'model: the adapter belongs to another base')
        if not np.isfinite(array).all():
            raise UserError(f'{folder}: {path} holds NaN or infinity')
        layers.setdefault(name, {})[part] = jnp.asarray(array)
    for name, own in layers.items():
        if len(own) < 2 or own['a'].shape[2] != own['b'].shape[1]:
            raise UserError(f'{folder}: the two factors of {name} do not fit each other')
    return Lora(layers, scale)
