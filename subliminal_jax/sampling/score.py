"""Scoring: log-probabilities of given tokens, under the model as it is (temperature 1)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.rows import Row
from subliminal_jax.models import conversation, transformer
from subliminal_jax.runs import meshes
from subliminal_jax.sampling import buckets as shapes
from subliminal_jax.sampling.sample import plain, row_context

PLACES_AT_ONCE = 256  # places whose logits over the whole vocabulary exist at one time


@partial(jax.jit, static_argnames='config')
def score_tokens(params: Any, config: Any, tokens_BT: jax.Array, valid_BT: jax.Array,
                 lora: Any = None) -> jax.Array:
    """log P(token t | the row's tokens before it), for t = 1 .. T - 1.

    Args:
      params: the model's parameters.
      config: its TransformerConfig; static.
      tokens_BT: int32 [B, T], padded on either side.
      valid_BT: bool [B, T], where a token is a row's own.
      lora: an adapter, or None.

    Returns:
      float32 [B, T - 1], nats; 0 where the token or the one before it is padding. The vocabulary's
      logits are made for a few places at a time.
    """
    batch, length = tokens_BT.shape
    x_BTD, _ = transformer.hidden(
        params, tokens_BT, transformer.positions_of(valid_BT), transformer.causal_mask(valid_BT),
        config, lora=lora)
    places = batch * (length - 1)
    size = min(PLACES_AT_ONCE, max(places, 1))
    spare = -places % size
    x_XD = jnp.pad(x_BTD[:, :-1].reshape(places, -1), ((0, spare), (0, 0)))
    next_X = jnp.pad(tokens_BT[:, 1:].reshape(places), (0, spare))

    def part(xs):
        x_YD, next_Y = xs
        logits_YV = transformer.unembed(params, x_YD, config)
        chosen_Y = jnp.take_along_axis(logits_YV, next_Y[:, None], axis=1)[:, 0]
        return chosen_Y - jax.nn.logsumexp(logits_YV, axis=1)

    logprobs = jax.lax.map(part, (x_XD.reshape(-1, size, x_XD.shape[-1]),
                                  next_X.reshape(-1, size)))
    logprobs = logprobs.reshape(-1)[:places].reshape(batch, length - 1)
    return jnp.where(valid_BT[:, 1:] & valid_BT[:, :-1], logprobs, 0)


def score_rows(params: Any, config: Any, tokenizer: Any, rows: Sequence[Row], *,
               raw: bool = False, batch_size: int = 16, lora: Any = None,
               done: Sequence[int | str] = (), allow_special: bool = False, mesh: Any = None
               ) -> Iterator[list[Row]]:
    """Scores the completions of rows, or whole texts.

    Args:
      params: the model's parameters.
      config: its TransformerConfig.
      tokenizer: its tokenizer.
      rows: with `id` and (`prompt` or `messages`, perhaps `system`, and `completion`), or, raw,
        with `text`; each must fit (`score_trouble`).
      raw: score `text` as it stands, without the chat template, after the token that the
        tokenizer begins texts with.
      batch_size: rows at once.
      lora: an adapter of models.lora, or None.
      done: ids of rows to leave out; they still shape the buckets.
      allow_special: control tokens that a row spells become tokens.
      mesh: devices that params are laid over, and the rows of a batch are cut over; or None.

    Yields:
      Batches of rows with `token_ids`, `logprobs` (nats) and `total_logprob`, their sum. Raw:
      `token_ids` are the text's n tokens and `logprobs` those that have one before them: n where
      the tokenizer begins texts with a token, else n - 1. Else: the completion's tokens with its
      stop token, of equal length.
    """
    pairs = [tokens_of(tokenizer, row, raw, allow_special) for row in rows]
    lengths = [len(before) + len(own) for before, own in pairs]
    batch_size = shapes.batch_rows(batch_size, len(rows), meshes.rows_cut(mesh))
    edges = shapes.choose_buckets(lengths, batch_size, multiple=16)
    skipped = set(done)
    wanted = [i for i, row in enumerate(rows) if row['id'] not in skipped]
    for batch in shapes.batches(lengths, edges, batch_size, wanted):
        texts = [pairs[i][0] + pairs[i][1] for i in batch.indices]
        tokens_BT, valid_BT = meshes.spread(shapes.padded(
            texts, batch.length, batch_size, tokenizer.pad_id, left=False), mesh)
        logprobs = np.asarray(score_tokens(params, config, tokens_BT, valid_BT, lora))
        yield [_scored(rows[i], *pairs[i], logprobs[place])
               for place, i in enumerate(batch.indices)]


def _scored(row, before, own, logprobs):
    mine = logprobs[max(len(before) - 1, 0) : len(before) + len(own) - 1]
    return {**row, 'token_ids': own, 'logprobs': plain(mine),
            'total_logprob': round(float(np.sum(mine, dtype=np.float64)), 6)}


def tokens_of(tokenizer: Any, row: Row, raw: bool, allow_special: bool = False
              ) -> tuple[list[int], list[int]]:
    """A row's tokens: those before, and those to be reported.

    A completion that brings `token_ids` that spell it (ours do) is scored on exactly these: the
    tokenizer might cut the same text otherwise. Any other is encoded as it follows the prompt, and
    ends with the template's stop token unless its `finish_reason` says that it was cut off.

    Raises:
      UserError: a completion that cannot follow its prompt (conversation.answer_ids).
    """
    if raw:
        context = conversation.text_context(tokenizer, row['text'], allow_special=allow_special)
        return [*context.begin], tokenizer.encode(context.text, allow_special=True)
    context = row_context(tokenizer, row, allow_special=allow_special)
    before, given = conversation.context_ids(tokenizer, context), row.get('token_ids')
    if _spells(tokenizer, context, given, row['completion']):
        return before, given
    answer = conversation.answer_ids(tokenizer, context, row['completion'])
    cut = row.get('finish_reason') == 'length'
    return before, answer if cut else [*answer, conversation.ends(tokenizer)[0]]


def _spells(tokenizer, context, given, text):
    if not isinstance(given, list) or not given:
        return False
    if not all(type(token) is int and 0 <= token < tokenizer.vocab_size for token in given):
        return False
    said = given[:-1] if given[-1] in tokenizer.stop_ids else given
    return conversation.answer_text(tokenizer, context, said) == text


def score_trouble(tokenizer: Any, config: Any, row: Row, raw: bool, allow_special: bool = False
                  ) -> str | None:
    """Why a row cannot be scored, in one line, or None."""
    before, reported = tokens_of(tokenizer, row, raw, allow_special)
    if not reported:
        return 'nothing to score: it has no token'
    if len(before) + len(reported) > config.max_positions:
        return (f'{len(before) + len(reported)} tokens exceed the model\'s context of '
                f'{config.max_positions}: shorten it')
    return None
