"""LoRA (Hu et al. 2021, arXiv 2106.09685): an adapter is a tree of its own, never a mask."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from subliminal_jax.models.params import Params, TransformerConfig, param_specs
from subliminal_jax.runs import UserError, unknown_name

TARGETS = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')


@partial(jax.tree_util.register_dataclass, data_fields=['layers'], meta_fields=['scale'])
@dataclasses.dataclass(frozen=True)
class Lora:
    """An adapter: it adds scale * (x a) b to x W.

    A pytree whose leaves are all trainable.

    Attributes:
      layers: {projection: {'a': [L, in, R], 'b': [L, R, out]}}.
      scale: static.
    """

    layers: dict[str, dict[str, jax.Array]]
    scale: float


def init_lora(key: jax.Array, config: TransformerConfig, rank: int, alpha: float | None = None,
              targets: Sequence[str] = TARGETS, rslora: bool = False, dtype: Any = jnp.float32
              ) -> Lora:
    """A fresh adapter: A from N(0, 1 / d_in), B zero, so that it changes nothing yet.

    Teacher and student share the start of A if they share the key, and only then.

    Args:
      key: folded with the place of each projection in TARGETS.
      config: of the base.
      rank: R.
      alpha: the adapter's strength; by default the rank.
      targets: which projections, of TARGETS.
      rslora: scale by alpha / sqrt(R) (Kalajdzievski 2023, arXiv 2312.03732), not alpha / R.
      dtype: of the adapter.

    Raises:
      UserError: an unknown projection, or a rank below one.
    """
    if rank < 1:
        raise UserError(f'a LoRA rank must be at least 1, not {rank}')
    for name in targets:
        if name not in TARGETS:
            raise unknown_name('LoRA projection', name, TARGETS)
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
        dtype = jnp.promote_types(layers[name].dtype, adapter['a'].dtype)
        low, high = adapter['a'].astype(dtype), adapter['b'].astype(dtype)
        added = lora.scale * jnp.einsum('LDR,LRF->LDF', low, high, precision='highest')
        layers[name] = (layers[name].astype(dtype) + added).astype(layers[name].dtype)
    return {**params, 'layers': layers}
