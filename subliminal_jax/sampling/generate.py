"""One batch from prompts to completions, as one compiled program: prefill, then a decoding loop.

Prompts are padded on the left, so that all rows write the same column of the cache; what a row may
attend to travels as a mask. A prefix that every row shares is computed once, for one row; its keys
and values are never copied per row: all queries of the batch meet them in one matrix product.
Rows that answer one prompt may name it instead of bringing it: it is read once, and what was read
is copied to its rows before the first token is drawn.

With a grammar (data/grammars.py) only tokens are drawn that keep to a row's form. What is reported
of them is the model's own log-probability all the same.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.data.grammars import Grammar
from subliminal_jax.sampling import choice as choices, network


class Prompts(NamedTuple):
    """B rows that answer P prompts; with M models the keys alone have a leading axis [M, B].

    Attributes:
      prefix_Q: int32 [Q], the tokens that come before every prompt's own; Q may be 0.
      tokens_PT: int32 [P, T], each prompt's own tokens, padded on the left.
      valid_PT: bool [P, T], which of them are tokens: at least the last of each prompt.
      source_B: int32 [B], the prompt that each row answers; None: each its own, and P is B.
      active_B: bool [B]; a row that is not (it fills up the batch) keeps nobody waiting.
      keys_B: a typed key a row (`choice.row_keys`).
      state_B: int32 [B], each row's first state in the grammar; None without one.
    """

    prefix_Q: jax.Array
    tokens_PT: jax.Array
    valid_PT: jax.Array
    source_B: jax.Array | None
    active_B: jax.Array
    keys_B: jax.Array
    state_B: jax.Array | None = None


class Completions(NamedTuple):
    """What was sampled; with M models every array has a leading axis M.

    Attributes:
      tokens_BN: int32 [B, N]; after a row's end 0.
      logprobs_BN: float32 [B, N], nats: log P(token | all before it) under the model itself, that
        is at temperature 1 and without top-k, top-p or a grammar, whatever the token was drawn
        with; equal to what scoring the text again gives. After a row's end 0.
      count_B: int32 [B], tokens of the row, its stop token included.
      stopped_B: bool [B]: it ended with a stop token.
    """

    tokens_BN: jax.Array
    logprobs_BN: jax.Array
    count_B: jax.Array
    stopped_B: jax.Array


class _State(NamedTuple):
    """What the decoding loop carries; `step` counts the tokens that have been chosen, `state_B` is
    where the rows stand in the grammar (None without one)."""

    step: jax.Array
    token_B: jax.Array
    state_B: Any
    cache: Any
    done: Completions


@partial(jax.jit, static_argnames=('config', 'max_new_tokens', 'choice', 'stop_ids', 'num_models'))
def generate(weights: Any, prompts: Prompts, config: Any, *, max_new_tokens: int,
             choice: choices.Choice, stop_ids: tuple[int, ...], num_models: int | None = None,
             grammar: Grammar | None = None) -> Completions:
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
      grammar: the tokens that may be drawn in each state, those that end a row among them; None:
        all of the vocabulary.

    Returns:
      Completions.
    """
    each = jax.vmap if num_models else lambda function, in_axes: function
    begin = partial(_begin, prompts=prompts, config=config, room=max_new_tokens)
    emit = each(partial(_emit, active_B=prompts.active_B, choice=choice, stop_ids=stop_ids,
                        grammar=grammar), in_axes=(0, 0, 0, 0, None))
    valid_BT = _per_row(prompts.valid_PT, prompts.source_B)
    advance = each(partial(_advance, valid_BT=valid_BT, before=prompts.prefix_Q.shape[0],
                           config=config, room=max_new_tokens), in_axes=(0, 0, 0, 0, None))
    logits, prefix, cache = each(begin, in_axes=(0,))(weights)
    begun, nothing = _nothing(prompts, max_new_tokens, num_models)
    token, place, done = emit(logits, prompts.keys_B, begun, nothing, 0)

    def going(state):
        waiting = prompts.active_B & ~state.done.stopped_B
        return (state.step < max_new_tokens) & jnp.any(waiting)

    def body(state):
        logits, cache = advance(weights, prefix, state.token_B, state.cache, state.step)
        token, place, done = emit(logits, prompts.keys_B, state.state_B, state.done, state.step)
        return _State(state.step + 1, token, place, cache, done)

    return jax.lax.while_loop(going, body, _State(jnp.int32(1), token, place, cache, done)).done


def _begin(weights, prompts, config, room):
    """(logits after the rows' prompts, the shared prefix's cache, the rows' own) of one model."""
    prefix = None
    if prompts.prefix_Q.shape[0]:
        prefix = network.prefix_cache(weights, prompts.prefix_Q, config)
    logits_VP, cache = network.prefill(
        weights, prompts.tokens_PT, prompts.valid_PT, prefix, config, room)
    cache = [(_per_row(k, prompts.source_B), _per_row(v, prompts.source_B)) for k, v in cache]
    return _per_row(logits_VP, prompts.source_B, axis=1), prefix, cache


def _per_row(values, source_B, axis=0):
    """What the prompts have along an axis, by row."""
    return values if source_B is None else jnp.take(values, source_B, axis=axis)


def _nothing(prompts, room, num_models):
    """(the rows' first states, completions without a token)."""
    batch = prompts.active_B.shape[0]
    models = (num_models,) if num_models else ()
    state_B = prompts.state_B
    return None if state_B is None else jnp.broadcast_to(state_B, (*models, batch)), Completions(
        jnp.zeros((*models, batch, room), jnp.int32),
        jnp.zeros((*models, batch, room), jnp.float32),
        jnp.zeros((*models, batch), jnp.int32),
        jnp.zeros((*models, batch), bool),
    )


def _emit(logits_VB, keys_B, state_B, done, step, active_B, choice, stop_ids, grammar):
    """(the rows' next tokens, their states, the completions with them) of one model."""
    key_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
    token_B, state_B = _drawn(logits_VB, key_B, state_B, choice, grammar)
    chosen_B = jnp.take_along_axis(logits_VB, token_B[None], axis=0)[0]
    logprob_B = chosen_B - choices.log_normalizer(logits_VB)
    live_B = active_B & ~done.stopped_B
    token_B = jnp.where(live_B, token_B, 0)
    stops_B = jnp.zeros_like(live_B)
    for stop in stop_ids:
        stops_B |= token_B == stop
    return token_B, state_B, Completions(
        jax.lax.dynamic_update_slice_in_dim(done.tokens_BN, token_B[:, None], step, 1),
        jax.lax.dynamic_update_slice_in_dim(
            done.logprobs_BN, jnp.where(live_B, logprob_B, 0)[:, None], step, 1),
        done.count_B + live_B,
        done.stopped_B | (live_B & stops_B),
    )


def _drawn(logits_VB, key_B, state_B, choice, grammar):
    """(a token a row, the states after them); of the grammar's tokens where there is one."""
    if grammar is None:
        return choices.choose(logits_VB, key_B, choice), None
    allowed_CB = grammar.allowed_SC[state_B].T
    index_B = choices.choose(
        jnp.where(allowed_CB, logits_VB[grammar.ids_C], -jnp.inf), key_B, choice)
    return grammar.ids_C[index_B], grammar.next_SC[state_B, index_B]


def _advance(weights, prefix, token_B, cache, step, valid_BT, before, config, room):
    """(logits after one more token, the cache with it) of one model."""
    length = valid_BT.shape[1]
    last_B = before + jnp.sum(valid_BT, axis=1, dtype=jnp.int32)
    column = length + step - 1
    places = jnp.arange(length + room)
    seen_BS = jnp.pad(valid_BT, ((0, 0), (0, room)), constant_values=True)
    seen_BS &= (places <= column)[None]
    return network.decode(weights, token_B, last_B + step - 1, cache, column, seen_BS, prefix,
                          config)
