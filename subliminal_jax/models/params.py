"""The decoder's configuration and one description per parameter: initialisation, loading and
sharding derive from it.

A parameter tree is nested dicts. Matrices are stored [inputs, outputs], with the layers stacked in
front; embedding and output matrix are [V, D], so that a token's row is contiguous in both:

    embed [V, D] · head [V, D] (untied only) · final_norm [D] · layers:
      attn_norm [L, D] · q [L, D, N*H] · k, v [L, D, K*H] · o [L, N*H, D]
      mlp_norm [L, D] · gate, up [L, D, F] · down [L, F, D]

The switches of a family add to that or take from it:

    qkv_bias, out_bias, mlp_bias    NAME_bias [L, outputs] of each of their matrices
    norm_placement                  attn_post_norm, mlp_post_norm [L, D], beside or in place of the
                                    norms before
    qk_norm                         q_norm, k_norm [L, H] (head), or [L, N*H] and [L, K*H] (full)
    norm 'layer'                    NAME_bias of every norm but q_norm and k_norm
    not mlp_gated                   no gate
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.runs import UserError

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


CHOICES: Mapping[str, tuple] = {
    'norm': ('rms', 'layer'), 'norm_placement': ('pre', 'post', 'sandwich'),
    'qk_norm': (None, 'head', 'full'), 'activation': ('silu', 'gelu', 'gelu_tanh')}


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
      norm_eps: of every norm.
      tied: the output matrix is the embedding.
      qkv_bias, out_bias, mlp_bias: q, k and v; o; gate, up and down have biases.
      norm: 'rms' (RMSNorm) or 'layer' (LayerNorm with a bias; Ba et al. 2016, arXiv 1607.06450).
      norm_unit_offset: a norm's scale is 1 + its weight (Gemma).
      norm_placement: 'pre' (before attention and feed-forward), 'post' (behind each, before it is
        added to the stream; OLMo 2, arXiv 2501.00656) or 'sandwich' (both; Gemma 3, arXiv
        2503.19786).
      qk_norm: an RMSNorm of queries and keys before they are rotated: 'head' (of each head alone,
        one scale for all; Qwen3, Gemma 3), 'full' (of all heads together; OLMo 2), or None.
      parallel_residual: attention and feed-forward read the same stream (GPT-NeoX, arXiv
        2204.06745), not one after the other.
      activation: 'silu', 'gelu' (exact) or 'gelu_tanh' (its approximation).
      mlp_gated: the feed-forward is down(act(gate x) * up x), else down(act(up x)).
      embed_scale: the embedding is multiplied by it; a tied output matrix is not.
      query_pre_attn_scalar: attention scores are divided by its square root; None: by that of H.
      rotary_dim: R, the entries of a head that are rotated, from the first; None: all H.
      sliding_layers: for each layer whether it slides, that is, sees a window and may have a
        rotary base of its own; empty: none does.
      sliding_window: how many places a sliding layer sees, the own one included; None: all.
      local_rope_theta: the rotary base of sliding layers, unstretched; None: as all others'.
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
    out_bias: bool = False
    mlp_bias: bool = False
    norm: str = 'rms'
    norm_unit_offset: bool = False
    norm_placement: str = 'pre'
    qk_norm: str | None = None
    parallel_residual: bool = False
    activation: str = 'silu'
    mlp_gated: bool = True
    embed_scale: float = 1.0
    query_pre_attn_scalar: float | None = None
    rotary_dim: int | None = None
    sliding_layers: tuple[bool, ...] = ()
    sliding_window: int | None = None
    local_rope_theta: float | None = None
    max_positions: int = 2048
    remat: bool = False
    compute_dtype: str = 'float32'
    head_dtype: str = 'float32'

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f'{self.num_heads} heads do not share {self.num_kv_heads} kv heads')
        if self.head_dim % 2:
            raise ValueError(f'head_dim must be even, not {self.head_dim}')
        rotated = self.head_dim if self.rotary_dim is None else self.rotary_dim
        if rotated % 2 or not 0 < rotated <= self.head_dim:
            raise ValueError(f'rotary_dim must be even and at most head_dim, not {rotated}')
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f'{name} is {getattr(self, name)!r}, not one of {known}')
        if self.sliding_layers and len(self.sliding_layers) != self.num_layers:
            raise ValueError(f'{len(self.sliding_layers)} sliding_layers for {self.num_layers} '
                             'layers')

    @property
    def attention_scale(self) -> float:
        """What queries are multiplied by."""
        return (self.query_pre_attn_scalar or self.head_dim) ** -0.5

    def slides(self, layer: int) -> bool:
        """Whether a layer is a sliding one."""
        return bool(self.sliding_layers) and self.sliding_layers[layer]


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
      axes: the logical name of each dimension: layers, vocab, width, heads, kv_heads,
        head_dim or ffn.
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
    N(0, 1 / (2 L d_in)); norms' scales from 1, biases from 0.
    """
    c = config
    sizes = {'layers': c.num_layers, 'vocab': c.vocab_size, 'width': c.width, 'ffn': c.ffn_width,
             'heads': c.num_heads * c.head_dim, 'kv_heads': c.num_kv_heads * c.head_dim,
             'head_dim': c.head_dim}

    def spec(*axes, std=None, fill=0.0):
        return ParamSpec(tuple(sizes[a] for a in axes), jnp.dtype(dtype), axes, std, fill)

    def matrix(inputs, outputs, scale=1.0):
        return spec('layers', inputs, outputs, std=scale * sizes[inputs] ** -0.5)

    def norm(name, *axes, bias=c.norm == 'layer'):
        scale = {name: spec(*axes, fill=0.0 if c.norm_unit_offset else 1.0)}
        return {**scale, f'{name}_bias': spec(*axes)} if bias else scale

    residual = (2 * c.num_layers) ** -0.5
    layers = {
        'q': matrix('width', 'heads'), 'k': matrix('width', 'kv_heads'),
        'v': matrix('width', 'kv_heads'), 'o': matrix('heads', 'width', residual),
        'gate': matrix('width', 'ffn'), 'up': matrix('width', 'ffn'),
        'down': matrix('ffn', 'width', residual)}
    if not c.mlp_gated:
        del layers['gate']
    biased = ('qkv' if c.qkv_bias else '') + ('o' if c.out_bias else '')
    for name in (*biased, *(('gate', 'up', 'down') if c.mlp_bias else ())):
        if name in layers:
            layers[f'{name}_bias'] = spec('layers', layers[name].axes[2])
    for name in ('attn', 'mlp'):
        if c.norm_placement != 'post':
            layers |= norm(f'{name}_norm', 'layers', 'width')
        if c.norm_placement != 'pre':
            layers |= norm(f'{name}_post_norm', 'layers', 'width')
    for name, axis in (('q_norm', 'heads'), ('k_norm', 'kv_heads')) if c.qk_norm else ():
        axis = 'head_dim' if c.qk_norm == 'head' else axis
        layers |= norm(name, 'layers', axis, bias=False)
    table = spec('vocab', 'width', std=c.width**-0.5)
    specs = {'embed': table, **norm('final_norm', 'width'), 'layers': layers}
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


# Which mesh axis (runs/meshes.py) cuts a logical axis: rows of the tables, heads and feed-forward
# units over 'tensor', the width over 'fsdp'.
RULES: Mapping[str, str] = {
    'vocab': 'tensor', 'heads': 'tensor', 'kv_heads': 'tensor', 'ffn': 'tensor', 'width': 'fsdp'}


def check_divides(config: TransformerConfig, sizes: Mapping[str, int]) -> None:
    """Raises UserError for a logical axis of the weights that its mesh axis does not divide.

    Args:
      config: the architecture.
      sizes: of the mesh's axes; of one that is not named: 1.
    """
    for spec in jax.tree.leaves(param_specs(config), is_leaf=is_spec):
        for side, axis in zip(spec.shape, spec.axes):
            name = RULES.get(axis)
            if name and side % sizes.get(name, 1):
                raise UserError(
                    f"the mesh's axis {name}={sizes[name]} does not divide the model's {axis} "
                    f'({side}): every device would hold all of it; take a mesh whose axis divides '
                    'it')


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
