"""The decoder's configuration and one description per parameter: initialisation, loading and
sharding derive from it.

A parameter tree is nested dicts. Matrices are stored [inputs, outputs], with the layers stacked in
front; embedding and output matrix are [V, D], so that a token's row is contiguous in both:

    embed [V, D] · head [V, D] (untied only) · final_norm [D] · layers:
      attn_norm [L, D] · q [L, D, N*H] · k, v [L, D, K*H] · o [L, N*H, D]
      q_bias [L, N*H] · k_bias, v_bias [L, K*H] (with qkv_bias)
      mlp_norm [L, D] · gate, up [L, D, F] · down [L, F, D]
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the pre-training length.

    Attributes:
      kind: 'linear' (positions divided by factor; Chen et al. 2023, arXiv 2306.15595), 'llama3'
        (low frequencies divided by factor, high ones kept, a linear blend between them; Llama 3.1)
        or 'factors' (each frequency divided by its own factor).
      factor: the stretch.
      low, high: of 'llama3': wavelengths above original / low are stretched, below original / high
        kept.
      original: of 'llama3': the pre-training length, tokens.
      factors: of 'factors': H / 2 numbers.
    """

    kind: str
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    factors: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A decoder's architecture; hashable, static in compiled programs.

    Attributes:
      vocab_size: V.
      num_layers: L.
      width: D.
      num_heads: N.
      num_kv_heads: K, a divisor of N; query head n reads key/value head n // (N / K).
      head_dim: H, even.
      ffn_width: F.
      rope_theta: base of the rotary frequencies (Su et al. 2021, arXiv 2104.09864).
      rope_scaling: see RopeScaling, or None.
      norm_eps: of every RMSNorm.
      tied: the output matrix is the embedding.
      qkv_bias: q, k and v have biases (Qwen2).
      max_positions: the longest context, tokens; callers check it, the model does not.
      remat: the backward pass computes each layer again, and keeps its input alone; without it the
        results of the matrix products are kept as well, and all that lies between them is computed
        again.
      compute_dtype: 'float32': layers compute in float32, in float64 if the parameters are;
        'bfloat16': operands of the layers' matrix products are rounded to bfloat16, their sums,
        the residual stream, norms and softmax stay float32.
      head_dtype: the same for the output matrix. With 'float32', which every KL needs, final norm,
        output matrix and logits are float32 whatever the layers compute in.
    """

    vocab_size: int
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_width: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tied: bool = True
    qkv_bias: bool = False
    max_positions: int = 2048
    remat: bool = False
    compute_dtype: str = 'float32'
    head_dtype: str = 'float32'

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f'{self.num_heads} heads do not share {self.num_kv_heads} kv heads')
        if self.head_dim % 2:
            raise ValueError(f'head_dim must be even, not {self.head_dim}')


def tiny(vocab_size: int, *, width: int = 64, num_layers: int = 2, num_heads: int = 4,
         num_kv_heads: int | None = None, ffn_width: int | None = None, tied: bool = False,
         **others: Any) -> TransformerConfig:
    """The tiny configuration: seconds on a CPU, about 100,000 parameters and two vocabularies.

    Args:
      vocab_size: V.
      width, num_layers, num_heads: D, L, N.
      num_kv_heads: K; N by default.
      ffn_width: F; by default 8/3 D, rounded up to a multiple of four.
      tied: the output matrix is the embedding.
      **others: any other field of TransformerConfig.
    """
    return TransformerConfig(
        vocab_size=vocab_size, num_layers=num_layers, width=width, num_heads=num_heads,
        num_kv_heads=num_kv_heads or num_heads, head_dim=width // num_heads,
        ffn_width=ffn_width or -(-8 * width // 12) * 4, tied=tied,
        **{'max_positions': 256, **others})


def wide(dtype: Any) -> Any:
    """What sums are kept in: float64 for float64, else float32."""
    return jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32


class ParamSpec(NamedTuple):
    """One parameter.

    Attributes:
      shape: of the array.
      dtype: of the array.
      axes: the logical name of each dimension: layers, vocab, width, heads, kv_heads or ffn.
      std: standard deviation of its normal initial values; None: not random.
      fill: its constant initial value where std is None.
    """

    shape: tuple[int, ...]
    dtype: Any
    axes: tuple[str, ...]
    std: float | None
    fill: float = 0.0


def param_specs(config: TransformerConfig, dtype: Any = jnp.float32) -> Params:
    """The description of every parameter, in a tree like the parameters.

    Matrices start from N(0, 1 / d_in), those that write into the residual stream from
    N(0, 1 / (2 L d_in)); norms from 1, biases from 0.
    """
    c = config
    sizes = {'layers': c.num_layers, 'vocab': c.vocab_size, 'width': c.width, 'ffn': c.ffn_width,
             'heads': c.num_heads * c.head_dim, 'kv_heads': c.num_kv_heads * c.head_dim}

    def spec(*axes, std=None, fill=0.0):
        return ParamSpec(tuple(sizes[a] for a in axes), jnp.dtype(dtype), axes, std, fill)

    def matrix(inputs, outputs, scale=1.0):
        return spec('layers', inputs, outputs, std=scale * sizes[inputs] ** -0.5)

    residual = (2 * c.num_layers) ** -0.5
    norm = spec('layers', 'width', fill=1.0)
    layers = {
        'attn_norm': norm, 'q': matrix('width', 'heads'), 'k': matrix('width', 'kv_heads'),
        'v': matrix('width', 'kv_heads'), 'o': matrix('heads', 'width', residual),
        'mlp_norm': norm, 'gate': matrix('width', 'ffn'), 'up': matrix('width', 'ffn'),
        'down': matrix('ffn', 'width', residual),
    }
    if c.qkv_bias:
        layers |= {'q_bias': spec('layers', 'heads'), 'k_bias': spec('layers', 'kv_heads'),
                   'v_bias': spec('layers', 'kv_heads')}
    table = spec('vocab', 'width', std=c.width**-0.5)
    specs = {'embed': table, 'final_norm': spec('width', fill=1.0), 'layers': layers}
    return specs if c.tied else {**specs, 'head': table}


def is_spec(leaf: Any) -> bool:
    """For jax.tree functions over a tree of ParamSpec (which is itself a tuple)."""
    return isinstance(leaf, ParamSpec)


def init_params(key: jax.Array, config: TransformerConfig, dtype: Any = jnp.float32) -> Params:
    """Fresh parameters, each drawn from the key folded with its place in the sorted tree.

    Args:
      key: a typed key.
      config: the architecture.
      dtype: of the parameters.
    """
    specs, treedef = jax.tree.flatten(param_specs(config, dtype), is_leaf=is_spec)

    def draw(number, spec):
        if spec.std is None:
            return jnp.full(spec.shape, spec.fill, spec.dtype)
        normal = jax.random.normal(jax.random.fold_in(key, number), spec.shape, spec.dtype)
        return normal * jnp.asarray(spec.std, spec.dtype)

    return treedef.unflatten([draw(number, spec) for number, spec in enumerate(specs)])


def abstract_params(config: TransformerConfig, dtype: Any = jnp.float32) -> Params:
    """The parameters' shapes and dtypes (jax.ShapeDtypeStruct), for compiling without them."""
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype),
                        param_specs(config, dtype), is_leaf=is_spec)


def count_params(config: TransformerConfig) -> int:
    """How many numbers the parameters hold."""
    return sum(math.prod(s.shape) for s in jax.tree.leaves(param_specs(config), is_leaf=is_spec))


# Which mesh axis cuts a logical axis: rows of the tables, heads and feed-forward units over
# 'model' (tensor parallelism), the width over 'data' (parameters are gathered where used).
RULES: Mapping[str, str] = {
    'vocab': 'model', 'heads': 'model', 'kv_heads': 'model', 'ffn': 'model', 'width': 'data'}


def shardings(config: TransformerConfig, mesh: jax.sharding.Mesh,
              rules: Mapping[str, str] = RULES) -> Params:
    """A NamedSharding per parameter.

    Args:
      config: the architecture.
      mesh: the devices.
      rules: mesh axis by logical axis. One that the mesh lacks, that the parameter uses already,
        or that does not divide the dimension leaves the dimension whole.
    """
    spec_of = jax.sharding.PartitionSpec

    def one(spec):
        names: list[str | None] = []
        for size, axis in zip(spec.shape, spec.axes):
            name = rules.get(axis)
            fits = name in mesh.shape and name not in names and size % mesh.shape[name] == 0
            names.append(name if fits else None)
        return jax.sharding.NamedSharding(mesh, spec_of(*names))

    return jax.tree.map(one, param_specs(config), is_leaf=is_spec)
