"""One batch from prompts to completions, as one compiled program: prefill, then a decoding loop.

Prompts are padded on the left, so that all rows write the same column of the cache; what a row may
attend to travels as a mask. A prefix that every row shares is computed once, for one row; its keys
and values are never copied per row: all queries of the batch meet them in one matrix product.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.sampling import choice as choices, network


class Prompts(NamedTuple):
    """A batch of prompts; with M models the keys alone have a leading axis [M, B].

    Attributes:
      prefix_Q: int32 [Q], the tokens that come before every row's own; Q may be 0.
      tokens_BT: int32 [B, T], each row's own tokens, padded on the left.
      valid_BT: bool [B, T], which of them are tokens: at least the last of each row.
      active_B: bool [B]; a row that is not (it fills up the batch) keeps nobody waiting.
      keys_B: a typed key a row (`choice.row_keys`).
    """

    prefix_Q: jax.Array
    tokens_BT: jax.Array
    valid_BT: jax.Array
    active_B: jax.Array
    keys_B: jax.Array


class Completions(NamedTuple):
    """What was sampled; with M models every array has a leading axis M.

    Attributes:
      tokens_BN: int32 [B, N]; after a row's end 0.
      logprobs_BN: float32 [B, N], nats: log P(token | all before it) under the model itself, that
        is at temperature 1 and without top-k or top-p, whatever the token was drawn with; equal
        to what scoring the text again gives. After a row's end 0.
      count_B: int32 [B], tokens of the row, its stop token included.
      stopped_B: bool [B]: it ended with a stop token.
    """

    tokens_BN: jax.Array
    logprobs_BN: jax.Array
    count_B: jax.Array
    stopped_B: jax.Array


class _Settings(NamedTuple):
    """What is static in `generate`; `room` is the most tokens that a row may be given."""

    config: Any
    room: int
    choice: choices.Choice
    stop_ids: tuple[int, ...]


class _State(NamedTuple):
    """What the decoding loop carries; `step` counts the tokens that have been chosen."""

    step: jax.Array
    token_B: jax.Array
    cache: Any
    done: Completions


@partial(jax.jit, static_argnames=('config', 'max_new_tokens', 'choice', 'stop_ids', 'num_models'))
def generate(weights: Any, prompts: Prompts, config: Any, *, max_new_tokens: int,
             choice: choices.Choice, stop_ids: tuple[int, ...], num_models: int | None = None
             ) -> Completions:
    """Samples a completion for every row.

    Args:
      weights: `network.prepare`'s; with `num_models` every leaf has a leading axis M.
      prompts: the batch; see `Prompts`.
      config: the model's TransformerConfig.
      max_new_tokens: N; a row of N tokens without a stop token ends there.
      choice: how tokens are chosen.
      stop_ids: tokens that end a row.
      num_models: M models at once, each with its own keys, on the same prompts; the loop goes on
        until all of them have stopped.

    Returns:
      Completions.
    """
    each = jax.vmap if num_models else lambda function, in_axes: function
    settings = _Settings(config, max_new_tokens, choice, stop_ids)
    read_B = prompts.prefix_Q.shape[0] + jnp.sum(prompts.valid_BT, axis=1, dtype=jnp.int32)
    begin = each(partial(_begin, prompts, settings), in_axes=(0,))
    advance = each(partial(_advance, prompts, read_B, settings), in_axes=(0, 0, 0, 0, None))
    emit = each(partial(_emit, prompts.active_B, settings), in_axes=(0, 0, 0, None))

    logits, prefix, cache = begin(weights)
    models = (num_models,) if num_models else ()
    done = _nothing((*models, prompts.tokens_BT.shape[0]), max_new_tokens)
    token, done = emit(logits, prompts.keys_B, done, 0)

    def going(state):
        waiting = prompts.active_B & ~state.done.stopped_B
        return (state.step < max_new_tokens) & jnp.any(waiting)

    def body(state):
        logits, cache = advance(weights, prefix, state.token_B, state.cache, state.step)
        token, done = emit(logits, prompts.keys_B, state.done, state.step)
        return _State(state.step + 1, token, cache, done)

    return jax.lax.while_loop(going, body, _State(jnp.int32(1), token, cache, done)).done


def _nothing(rows: tuple[int, ...], room: int) -> Completions:
    """Completions of [..., B] rows before their first token, with room for N."""
    return Completions(
        jnp.zeros((*rows, room), jnp.int32), jnp.zeros((*rows, room), jnp.float32),
        jnp.zeros(rows, jnp.int32), jnp.zeros(rows, bool))


def _begin(prompts, settings, weights):
    """(logits_VB after the prompts, the prefix's cache or None, the rows' own cache)."""
    prefix = None
    if prompts.prefix_Q.shape[0]:
        prefix = network.prefix_cache(weights, prompts.prefix_Q, settings.config)
    logits_VB, cache = network.prefill(
        weights, prompts.tokens_BT, prompts.valid_BT, prefix, settings.config, settings.room)
    return logits_VB, prefix, cache


def _advance(prompts, read_B, settings, weights, prefix, token_B, cache, step):
    """(logits_VB after the token that was chosen last, the cache with it).

    read_B: how many tokens of each row were read before its first new one, the prefix included.
    """
    length = prompts.tokens_BT.shape[1]
    column = length + step - 1
    seen_BS = jnp.pad(prompts.valid_BT, ((0, 0), (0, settings.room)), constant_values=True)
    seen_BS &= (jnp.arange(length + settings.room) <= column)[None]
    return network.decode(weights, token_B, read_B + step - 1, cache, column, seen_BS, prefix,
                          settings.config)


def _emit(active_B, settings, logits_VB, keys_B, done, step):
    """(the tokens chosen at this step [B], 0 where a row has ended; what is done with them)."""
    step_keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
    token_B = choices.choose(logits_VB, step_keys_B, settings.choice)
    chosen_B = jnp.take_along_axis(logits_VB, token_B[None], axis=0)[0]
    logprob_B = chosen_B - choices.log_normalizer(logits_VB)
    live_B = active_B & ~done.stopped_B
    token_B = jnp.where(live_B, token_B, 0)
    stops_B = jnp.zeros_like(live_B)
    for stop in settings.stop_ids:
        stops_B |= token_B == stop
    write = jax.lax.dynamic_update_slice_in_dim
    return token_B, Completions(
        write(done.tokens_BN, token_B[:, None], step, 1),
        write(done.logprobs_BN, jnp.where(live_B, logprob_B, 0)[:, None], step, 1),
        done.count_B + live_B,
        done.stopped_B | (live_B & stops_B),
    )
