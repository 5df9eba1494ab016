"""One decoder transformer as pure functions of (params, config): Llama and its kin.

Blocks of rotary grouped-query attention and a feed-forward, layers stacked under `lax.scan`.
Families differ by the switches of TransformerConfig: a layer uses the norms and biases that it has,
and where layers differ in what they see, that is data which the scan carries. Runs under vmap over
a leading axis of params or of an adapter, under grad, jvp and linearize, and in float64.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from subliminal_jax.models import products
from subliminal_jax.models.lora import Lora
from subliminal_jax.models.params import (
    Params as Params,
    TransformerConfig as TransformerConfig,
    init_params as init_params,
    tiny as tiny,
    wide,
)
from subliminal_jax.models.rotary import (
    rotary_frequencies as rotary_frequencies,
    rotate as rotate,
    rotation as rotation,
)
from subliminal_jax.runs import platforms

PRODUCT = 'product'  # the name of what a layer keeps for its backward pass
NEVER = -1e30  # finite: a row that may attend to nothing must not become NaN
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    'silu': jax.nn.silu, 'gelu': functools.partial(jax.nn.gelu, approximate=False),
    'gelu_tanh': functools.partial(jax.nn.gelu, approximate=True)}


class Cache(NamedTuple):
    """Keys and values of what has been read.

    Attributes:
      k_LBSKH, v_LBSKH: S is static; column `index` and those after it are free.
      position_BS: int32, the rotary position of each column, for the window of sliding layers.
      index: int32 scalar, the column where the next call writes its T tokens, for every row alike
        (pad prompts on the left, or let the mask skip the gaps). It is data: one compiled program
        serves every place. Under vmap over models keep it unmapped, so that writing stays a slice.
    """

    k_LBSKH: jax.Array
    v_LBSKH: jax.Array
    position_BS: jax.Array
    index: jax.Array


def init_cache(config: TransformerConfig, batch: int, length: int, dtype: Any = jnp.float32
               ) -> Cache:
    """An empty cache of S = length columns for `batch` rows; dtype as the activations'."""
    shape = (config.num_layers, batch, length, config.num_kv_heads, config.head_dim)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype),
                 jnp.zeros((batch, length), jnp.int32), jnp.zeros((), jnp.int32))


def causal_mask(valid_BT: jax.Array) -> jax.Array:
    """bool [B, T, T]: a place may attend to the valid places up to itself (and to itself)."""
    length = valid_BT.shape[1]
    lower_TS = jnp.tril(jnp.ones((length, length), bool))
    own_TS = jnp.eye(length, dtype=bool)
    return (lower_TS[None] & valid_BT[:, None, :]) | own_TS[None]


def positions_of(valid_BT: jax.Array) -> jax.Array:
    """int32 [B, T]: how many valid places lie before each, whichever side is padded."""
    return jnp.maximum(jnp.cumsum(valid_BT, axis=1, dtype=jnp.int32) - 1, 0)


def hidden(params: Params, tokens_BT: jax.Array, positions_BT: jax.Array, mask_BTS: jax.Array,
           config: TransformerConfig, *, lora: Lora | None = None, cache: Cache | None = None
           ) -> tuple[jax.Array, Cache | None]:
    """The activations after the final norm.

    Args:
      params: see models.params.
      tokens_BT: int32 token ids.
      positions_BT: int32 rotary positions.
      mask_BTS: bool; True may attend, in sliding layers only if it is within their window, by
        positions. Without a cache S = T; with one S is the cache's length, and the columns of these
        tokens are index .. index + T - 1.
      config: static.
      lora: an adapter of models.lora, or None.
      cache: keys and values of what was read before, or None.

    Returns:
      (x_BTD, float32 or the parameters' float64; the new cache, or None without one).
    """
    if cache is not None:
        cache = cache._replace(position_BS=jax.lax.dynamic_update_slice(
            cache.position_BS, positions_BT.astype(jnp.int32), (jnp.int32(0), cache.index)))
    x_XD, step, layers = _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, cache)
    (x_XD, cache), _ = jax.lax.scan(step, (x_XD, cache), layers)
    if cache is not None:
        cache = cache._replace(index=cache.index + tokens_BT.shape[1])
    x_BTD = x_XD.reshape(*tokens_BT.shape, -1)
    return normed(x_BTD, params, 'final_norm', config), cache


def unembed(params: Params, x: jax.Array, config: TransformerConfig,
            token_ids: jax.Array | None = None) -> jax.Array:
    """Logits of activations [..., D].

    Args:
      params: see models.params.
      x: activations after the final norm, any leading axes.
      config: static; `head_dtype` says in what the product is computed.
      token_ids: int32 [C], the tokens whose logits are wanted; None: the vocabulary.

    Returns:
      [..., V] or [..., C], float32 (float64 of a float64 model).
    """
    table_VD = params['embed' if config.tied else 'head']
    if token_ids is not None:
        table_VD = jnp.take(table_VD, token_ids, axis=0)
    dtype = wide(params['final_norm'].dtype)
    operand = jnp.bfloat16 if config.head_dtype == 'bfloat16' else dtype
    x_XD = x.reshape(-1, x.shape[-1]).astype(operand)
    logits_XV = products.matmul_turned(x_XD, table_VD.astype(operand), dtype)
    return logits_XV.reshape(*x.shape[:-1], -1)


def forward(params: Params, tokens_BT: jax.Array, positions_BT: jax.Array, mask_BTS: jax.Array,
            config: TransformerConfig, *, lora: Lora | None = None,
            token_ids: jax.Array | None = None) -> jax.Array:
    """Logits [B, T, V], or [B, T, C] of `token_ids`: `unembed` of `hidden`, without a cache."""
    x_BTD, _ = hidden(params, tokens_BT, positions_BT, mask_BTS, config, lora=lora)
    return unembed(params, x_BTD, config, token_ids)


def layer_outputs(params: Params, tokens_BT: jax.Array, positions_BT: jax.Array,
                  mask_BTS: jax.Array, config: TransformerConfig, *, lora: Lora | None = None
                  ) -> jax.Array:
    """The residual stream before the first layer and after each, [L + 1, B, T, D].

    For finding the layer at which two implementations part; no final norm.
    """
    x_XD, step, layers = _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, None)

    def keep(carry, xs):
        (x_XD, cache), _ = step(carry, xs)
        return (x_XD, cache), x_XD

    _, after = jax.lax.scan(keep, (x_XD, None), layers)
    return jnp.concatenate([x_XD[None], after]).reshape(-1, *tokens_BT.shape, config.width)


def rms_norm(x: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467) over the last axis, in x's dtype."""
    mean = jnp.mean(x * x, axis=-1, keepdims=True)
    scale = jnp.expand_dims(scale_D.astype(x.dtype), range(x.ndim - 1))
    return x * jax.lax.rsqrt(mean + eps) * scale


def layer_norm(x: jax.Array, scale_D: jax.Array, bias_D: jax.Array, eps: float) -> jax.Array:
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450) over the last axis, in x's dtype."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return rms_norm(x, scale_D, eps) + jnp.expand_dims(bias_D.astype(x.dtype), range(x.ndim - 1))


def normed(x: jax.Array, weights: Mapping[str, jax.Array], name: str, config: TransformerConfig
           ) -> jax.Array:
    """x under a norm of a layer (or of the parameters), over the last axis; x where there is none.

    A norm with a bias is a LayerNorm.
    """
    if name not in weights:
        return x
    scale_D = weights[name].astype(x.dtype)
    scale_D = scale_D + 1 if config.norm_unit_offset else scale_D
    bias_D = weights.get(f'{name}_bias')
    if bias_D is None:
        return rms_norm(x, scale_D, config.norm_eps)
    return layer_norm(x, scale_D, bias_D, config.norm_eps)


def attend(q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, bias_BTS: jax.Array,
           config: TransformerConfig) -> jax.Array:
    """Softmax attention with grouped heads: [B, T, N * H]; softmax in the bias's dtype.

    A key head's queries are the rows of one product (X = G T, G query heads a key head).
    """
    batch, length, heads, width = q_BTNH.shape
    kv, dtype, operand = config.num_kv_heads, bias_BTS.dtype, _operand(config, bias_BTS.dtype)
    group = heads // kv
    q = jnp.swapaxes(q_BTNH * config.attention_scale, 1, 2)
    q = q.reshape(batch, kv, group * length, width)
    k, v = jnp.transpose(k_BSKH, (0, 2, 3, 1)), jnp.swapaxes(v_BSKH, 1, 2)
    score = products.matmul(q.astype(operand), k.astype(operand), dtype)
    score = checkpoint_name(score, PRODUCT)
    score = score.reshape(batch, kv, group, length, -1) + bias_BTS[:, None, None]
    p = jax.nn.softmax(score, axis=-1).reshape(batch, kv, group * length, -1)
    out = products.matmul(p.astype(operand), v.astype(operand), dtype)
    out = jnp.swapaxes(out.reshape(batch, heads, length, width), 1, 2)
    return checkpoint_name(out.reshape(batch, length, heads * width), PRODUCT)


def _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, cache):
    """(embedded tokens [X, D], one layer's step for lax.scan, what it is scanned over).

    Inside the layers the tokens of all rows are one axis X = B T: a weight's gradient is then one
    plain product, where two axes would first be transposed.
    """
    dtype = wide(params['final_norm'].dtype)
    columns_BS = positions_BT if cache is None else cache.position_BS
    view_of = _views(positions_BT, columns_BS, mask_BTS, config, dtype)
    block = _block if cache is None else _cached_block

    def step(carry, xs):
        *xs, slides = xs
        return block(carry, xs, *view_of(slides), config)

    x_XD = jnp.take(params['embed'], tokens_BT.reshape(-1), axis=0).astype(dtype)
    if config.embed_scale != 1:
        x_XD *= jnp.asarray(config.embed_scale, dtype)
    numbers = jnp.arange(config.num_layers, dtype=jnp.int32)
    adapters = Lora({}, 1.0) if lora is None else lora
    # What is not a product is cheaper to compute again than to write to memory and read back.
    keep = None if config.remat else jax.checkpoint_policies.save_only_these_names(PRODUCT)
    step = jax.checkpoint(step, policy=keep, prevent_cse=False)
    slides_L = jnp.array(config.sliding_layers) if config.sliding_layers else None
    return x_XD, step, (numbers, params['layers'], adapters, slides_L)


def _views(positions_BT, columns_BS, mask_BTS, config, dtype):
    """What a layer attends with, by whether it slides: (its rotation, its mask as a bias)."""
    bias = lambda mask_BTS: jnp.where(mask_BTS, 0.0, NEVER).astype(dtype)
    full = rotation(positions_BT, config, dtype), bias(mask_BTS)
    if not any(config.sliding_layers):
        return lambda slides: full
    if config.sliding_window is not None:
        mask_BTS = mask_BTS & within(positions_BT, columns_BS, config.sliding_window)
    sliding = rotation(positions_BT, config, dtype, local=True), bias(mask_BTS)
    return lambda slides: jax.tree.map(lambda a, b: jnp.where(slides, a, b), sliding, full)


def within(positions_BT: jax.Array, columns_BS: jax.Array, window: int) -> jax.Array:
    """bool [B, T, S]: a window of W places holds the own one and the W - 1 before it."""
    return positions_BT[:, :, None] - columns_BS[:, None, :] < window


def _operand(config, dtype):
    return jnp.bfloat16 if config.compute_dtype == 'bfloat16' else dtype


def _linear(name, x_XD, layer, adapters, config):
    """x times a layer's matrix, with its bias and its adapter if it has them."""
    dtype, operand = x_XD.dtype, _operand(config, x_XD.dtype)
    x_XD = x_XD.astype(operand)
    y = products.matmul(x_XD, layer[name].astype(operand), dtype)
    bias = layer.get(f'{name}_bias')
    if bias is not None:
        y += bias.astype(dtype)[None]
    adapter = adapters.layers.get(name)
    if adapter is not None:
        a_RD = platforms.rows_first(adapter['a'])
        low_XR = products.matmul_turned(x_XD, a_RD.astype(operand), dtype)
        low_XR = (checkpoint_name(low_XR, PRODUCT) * adapters.scale).astype(operand)
        y += products.matmul(low_XR, adapter['b'].astype(operand), dtype)
    return checkpoint_name(y, PRODUCT)


def _projections(x_XD, shape_BT, layer, adapters, turn, config):
    """Rotated q_BTNH, k_BTKH and v_BTKH of the stream before a layer."""
    h_XD = normed(x_XD, layer, 'attn_norm', config)
    q, k, v = (_linear(n, h_XD, layer, adapters, config) for n in ('q', 'k', 'v'))
    heads = lambda y: y.reshape(*shape_BT, -1, config.head_dim)
    if config.qk_norm == 'full':
        q, k = normed(q, layer, 'q_norm', config), normed(k, layer, 'k_norm', config)
    q, k, v = heads(q), heads(k), heads(v)
    if config.qk_norm == 'head':
        q, k = normed(q, layer, 'q_norm', config), normed(k, layer, 'k_norm', config)
    return rotate(q, turn), rotate(k, turn), v


def _rest(x_XD, out_BTX, layer, adapters, config):
    """What follows attention: its output matrix and the feed-forward, added to the stream."""
    out_XD = _linear('o', out_BTX.reshape(x_XD.shape[0], -1), layer, adapters, config)
    after_XD = x_XD + normed(out_XD, layer, 'attn_post_norm', config)
    h_XD = normed(x_XD if config.parallel_residual else after_XD, layer, 'mlp_norm', config)
    act = ACTIVATIONS[config.activation]
    if config.mlp_gated:
        gate_XF = _linear('gate', h_XD, layer, adapters, config)
        h_XF = act(gate_XF) * _linear('up', h_XD, layer, adapters, config)
    else:
        h_XF = act(_linear('up', h_XD, layer, adapters, config))
    out_XD = _linear('down', h_XF, layer, adapters, config)
    return after_XD + normed(out_XD, layer, 'mlp_post_norm', config)


def _block(carry, xs, turn, bias_BTS, config):
    x_XD, _ = carry
    _, layer, adapters = xs
    q, k, v = _projections(x_XD, bias_BTS.shape[:2], layer, adapters, turn, config)
    out_BTX = attend(q, k, v, bias_BTS, config)
    return (_rest(x_XD, out_BTX, layer, adapters, config), None), None


def _cached_block(carry, xs, turn, bias_BTS, config):
    x_XD, cache = carry
    number, layer, adapters = xs
    q, k, v = _projections(x_XD, bias_BTS.shape[:2], layer, adapters, turn, config)
    zero = jnp.zeros((), jnp.int32)
    at = (number, zero, cache.index, zero, zero)
    write = lambda whole, new: jax.lax.dynamic_update_slice(
        whole, new[None].astype(whole.dtype), at)
    cache = cache._replace(k_LBSKH=write(cache.k_LBSKH, k), v_LBSKH=write(cache.v_LBSKH, v))
    read = lambda whole: jax.lax.dynamic_index_in_dim(
        whole, number, 0, keepdims=False).astype(x_XD.dtype)
    out_BTX = attend(q, read(cache.k_LBSKH), read(cache.v_LBSKH), bias_BTS, config)
    return (_rest(x_XD, out_BTX, layer, adapters, config), cache), None
