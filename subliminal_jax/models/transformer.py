"""One decoder transformer as pure functions of (params, config): Llama and its kin.

Pre-norm blocks of rotary grouped-query attention and a gated SiLU feed-forward, layers stacked
under `lax.scan`. Families differ by the switches of TransformerConfig. Runs under vmap over a
leading axis of params or of an adapter, under grad, jvp and linearize, and in float64.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.models.lora import Lora
from subliminal_jax.models.params import (
    Params as Params,
    TransformerConfig as TransformerConfig,
    init_params as init_params,
    tiny as tiny,
    wide,
)

NEVER = -1e30  # finite: a row that may attend to nothing must not become NaN


class Cache(NamedTuple):
    """Keys and values of what has been read.

    Attributes:
      k_LBSKH, v_LBSKH: S is static; column `index` and those after it are free.
      index: int32 scalar, the column where the next call writes its T tokens, for every row alike
        (pad prompts on the left, or let the mask skip the gaps). It is data: one compiled program
        serves every place. Under vmap over models keep it unmapped, so that writing stays a slice.
    """

    k_LBSKH: jax.Array
    v_LBSKH: jax.Array
    index: jax.Array


def init_cache(config: TransformerConfig, batch: int, length: int, dtype: Any = jnp.float32
               ) -> Cache:
    """An empty cache of S = length columns for `batch` rows; dtype as the activations'."""
    shape = (config.num_layers, batch, length, config.num_kv_heads, config.head_dim)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32))


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
      mask_BTS: bool; True may attend. Without a cache S = T; with one S is the cache's length,
        and the columns of these tokens are index .. index + T - 1.
      config: static.
      lora: an adapter of models.lora, or None.
      cache: keys and values of what was read before, or None.

    Returns:
      (x_BTD, float32 or the parameters' float64; the new cache, or None without one).
    """
    x_BTD, step, layers = _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, cache)
    (x_BTD, cache), _ = jax.lax.scan(step, (x_BTD, cache), layers)
    if cache is not None:
        cache = cache._replace(index=cache.index + tokens_BT.shape[1])
    return rms_norm(x_BTD, params['final_norm'], config.norm_eps), cache


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
    contract = (((x.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(x.astype(operand), table_VD.astype(operand), contract,
                               preferred_element_type=dtype)


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
    x_BTD, step, layers = _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, None)

    def keep(carry, xs):
        (x_BTD, cache), _ = step(carry, xs)
        return (x_BTD, cache), x_BTD

    _, after = jax.lax.scan(keep, (x_BTD, None), layers)
    return jnp.concatenate([x_BTD[None], after])


def rms_norm(x_BTD: jax.Array, scale_D: jax.Array, eps: float) -> jax.Array:
    """RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467) over the last axis, in x's dtype."""
    mean_BT1 = jnp.mean(x_BTD * x_BTD, axis=-1, keepdims=True)
    return x_BTD * jax.lax.rsqrt(mean_BT1 + eps) * scale_D.astype(x_BTD.dtype)[None, None]


def rotary_frequencies(config: TransformerConfig, dtype: Any) -> jax.Array:
    """Radians a position, [H / 2]."""
    half = config.head_dim // 2
    exponent = jnp.arange(half, dtype=dtype) / half
    frequency = jnp.asarray(config.rope_theta, dtype) ** -exponent
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    if scaling.kind == 'linear':
        return frequency / scaling.factor
    if scaling.kind == 'factors':
        return frequency / jnp.asarray(scaling.factors, dtype)
    turns = scaling.original * frequency / (2 * jnp.pi)  # how often it turns in pre-training
    blend = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
    return blend * frequency + (1 - blend) * frequency / scaling.factor


def rotation(positions_BT: jax.Array, config: TransformerConfig, dtype: Any
             ) -> tuple[jax.Array, jax.Array]:
    """(cos, sin) of every position's angles, each [B, T, 1, H / 2]."""
    frequency = rotary_frequencies(config, dtype)
    angle = positions_BT.astype(dtype)[:, :, None, None] * frequency[None, None, None]
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x_BTNH: jax.Array, turn: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns the pairs (h, h + H / 2) of every head by their position's angles."""
    cos, sin = turn
    first, second = jnp.split(x_BTNH, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def attend(q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, bias_BTS: jax.Array,
           config: TransformerConfig) -> jax.Array:
    """Softmax attention with grouped heads: [B, T, N * H]; softmax in the bias's dtype."""
    batch, length, heads, width = q_BTNH.shape
    kv, dtype, operand = config.num_kv_heads, bias_BTS.dtype, _operand(config, bias_BTS.dtype)
    q = (q_BTNH * width**-0.5).reshape(batch, length, kv, heads // kv, width)
    score = jnp.einsum('BTKGH,BSKH->BKGTS', q.astype(operand), k_BSKH.astype(operand),
                       preferred_element_type=dtype)
    p_BKGTS = jax.nn.softmax(score + bias_BTS[:, None, None], axis=-1)
    out = jnp.einsum('BKGTS,BSKH->BTKGH', p_BKGTS.astype(operand), v_BSKH.astype(operand),
                     preferred_element_type=dtype)
    return out.reshape(batch, length, heads * width)


def _stack(params, tokens_BT, positions_BT, mask_BTS, config, lora, cache):
    """(embedded tokens, one layer's step for lax.scan, what it is scanned over)."""
    dtype = wide(params['final_norm'].dtype)
    turn = rotation(positions_BT, config, dtype)
    bias_BTS = jnp.where(mask_BTS, 0.0, NEVER).astype(dtype)
    block = _block if cache is None else _cached_block

    def step(carry, xs):
        return block(carry, xs, turn, bias_BTS, config)

    x_BTD = jnp.take(params['embed'], tokens_BT, axis=0).astype(dtype)
    numbers = jnp.arange(config.num_layers, dtype=jnp.int32)
    adapters = Lora({}, 1.0) if lora is None else lora
    return x_BTD, jax.checkpoint(step) if config.remat else step, (
        numbers, params['layers'], adapters)


def _operand(config, dtype):
    return jnp.bfloat16 if config.compute_dtype == 'bfloat16' else dtype


def _linear(name, x_BTD, layer, adapters, config):
    """x times a layer's matrix, with its bias and its adapter if it has them."""
    dtype, operand = x_BTD.dtype, _operand(config, x_BTD.dtype)

    def product(x, w):
        return jnp.dot(x, w.astype(operand), preferred_element_type=dtype)

    x_BTD = x_BTD.astype(operand)
    y = product(x_BTD, layer[name])
    bias = layer.get(f'{name}_bias')
    if bias is not None:
        y += bias.astype(dtype)[None, None]
    adapter = adapters.layers.get(name)
    if adapter is not None:
        low_BTR = product(x_BTD, adapter['a'])
        y += product(low_BTR.astype(operand), adapter['b']) * adapters.scale
    return y


def _projections(x_BTD, layer, adapters, turn, config):
    """Rotated q_BTNH, k_BTKH and v_BTKH of a layer's normed input."""
    h_BTD = rms_norm(x_BTD, layer['attn_norm'], config.norm_eps)
    heads = lambda y: y.reshape(*y.shape[:2], -1, config.head_dim)
    q, k, v = (heads(_linear(n, h_BTD, layer, adapters, config)) for n in ('q', 'k', 'v'))
    return rotate(q, turn), rotate(k, turn), v


def _rest(x_BTD, out_BTX, layer, adapters, config):
    """What follows attention: its output matrix and the feed-forward, added to the stream."""
    x_BTD += _linear('o', out_BTX, layer, adapters, config)
    h_BTD = rms_norm(x_BTD, layer['mlp_norm'], config.norm_eps)
    gate_BTF = _linear('gate', h_BTD, layer, adapters, config)
    up_BTF = _linear('up', h_BTD, layer, adapters, config)
    return x_BTD + _linear('down', jax.nn.silu(gate_BTF) * up_BTF, layer, adapters, config)


def _block(carry, xs, turn, bias_BTS, config):
    x_BTD, _ = carry
    _, layer, adapters = xs
    q, k, v = _projections(x_BTD, layer, adapters, turn, config)
    out_BTX = attend(q, k, v, bias_BTS, config)
    return (_rest(x_BTD, out_BTX, layer, adapters, config), None), None


def _cached_block(carry, xs, turn, bias_BTS, config):
    x_BTD, cache = carry
    number, layer, adapters = xs
    q, k, v = _projections(x_BTD, layer, adapters, turn, config)
    zero = jnp.zeros((), jnp.int32)
    at = (number, zero, cache.index, zero, zero)
    write = lambda whole, new: jax.lax.dynamic_update_slice(
        whole, new[None].astype(whole.dtype), at)
    cache = Cache(write(cache.k_LBSKH, k), write(cache.v_LBSKH, v), cache.index)
    read = lambda whole: jax.lax.dynamic_index_in_dim(
        whole, number, 0, keepdims=False).astype(x_BTD.dtype)
    out_BTX = attend(q, read(cache.k_LBSKH), read(cache.v_LBSKH), bias_BTS, config)
    return (_rest(x_BTD, out_BTX, layer, adapters, config), cache), None
