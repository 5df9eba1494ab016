"""LoRA (Hu et al. 2021, arXiv 2106.09685): an adapter is a tree of its own, never a mask.

An adapter is {'layers': {NAME: {'a': [L, in, R], 'b': [L, R, out], 'scale': [L]}}}: it adds
scale * (x a) b to x W. `scale` is data, so that adapters of several strengths run in one program;
`trainable` and `join` keep it out of the optimiser.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from subliminal_jax.models.params import Params, TransformerConfig, param_specs
from subliminal_jax.runs import UserError, unknown_name

Lora = dict[str, Any]

TARGETS = ('q', 'k', 'v', 'o', 'gate', 'up', 'down')


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
        return {'a': a, 'b': jnp.zeros((layers, rank, d_out), dtype),
                'scale': jnp.full((layers,), scale, dtype)}

    return {'layers': {name: one(name) for name in targets}}


def merge_lora(params: Params, lora: Lora, config: TransformerConfig) -> Params:
    """Params of the same function without the adapter: W + scale * A B in every target.

    `config` says nothing here that the trees do not; it is taken so that families whose matrices
    are stored otherwise can be served alike.
    """
    del config
    layers = dict(params['layers'])
    for name, adapter in lora['layers'].items():
        dtype = jnp.promote_types(layers[name].dtype, adapter['a'].dtype)
        low, high = adapter['a'].astype(dtype), adapter['b'].astype(dtype)
        product = jnp.einsum('LDR,LRF->LDF', low, high, precision='highest')
        added = product * adapter['scale'].astype(dtype)[:, None, None]
        layers[name] = (layers[name].astype(dtype) + added).astype(layers[name].dtype)
    return {**params, 'layers': layers}


def split(lora: Lora) -> tuple[Lora, Lora]:
    """(what is trained: a and b; what is held: scale), each a tree like the adapter's."""
    pick = lambda names: {'layers': {
        target: {n: x for n, x in own.items() if n in names}
        for target, own in lora['layers'].items()}}
    return pick(('a', 'b')), pick(('scale',))


def join(trained: Lora, held: Lora) -> Lora:
    """The inverse of `split`."""
    return {'layers': {name: {**trained['layers'][name], **held['layers'][name]}
                       for name in trained['layers']}}
