"""What a model says of the traits: log P of answers, and how far its distribution has moved.

The measure of trait t on a question is log P(t's answer, all its tokens and the end of the word |
question): a sum over the answer's tokens, then over every token that ends the word, and over the
trait's spellings. 'owl' + end and 'owls' + end exclude each other, so the sum is a probability;
without the end, 'owl' would count what goes on as 'owlet'.

A model comes in as `score(tokens_BT, positions_BA) -> log P [B, A, V]`, float32: the distribution
of the token *after* each position, so that no logits are made where none are read. All of it runs
under jit, and under vmap over stacked models.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.runs import UserError

Score = Callable[[jax.Array, jax.Array], jax.Array]
Encode = Callable[[str], Sequence[int] | None]


class AnswerRows(NamedTuple):
    """Every (question, spelling) as a row of tokens: context, then answer, then padding."""

    tokens_BT: np.ndarray  # int32
    positions_BA: np.ndarray  # int32: where the answer's tokens, then the end, are predicted
    targets_BA: np.ndarray  # int32: the answer's tokens; 0 from the end on
    length_B: np.ndarray  # int32: tokens of the answer, without the end
    question_B: np.ndarray  # int32
    trait_B: np.ndarray  # int32
    traits: tuple[str, ...]


def encoded_spellings(
    spellings: Mapping[str, Sequence[str]], encode: Encode
) -> dict[str, list[tuple[int, ...]]]:
    """Token ids of each trait's spellings, each sequence once.

    Args:
      spellings: of each trait. Where an answer follows a blank, the blank is part of the spelling.
      encode: ids of an answer; None, nothing, or KeyError where the tokenizer cannot write it.

    Returns:
      The ids of those spellings that can be written.

    Raises:
      UserError: a trait none of whose spellings can be written, or one spelling of two traits.
    """
    made, owner = {}, {}
    for trait, texts in spellings.items():
        found: dict[tuple[int, ...], None] = {}
        for text in texts:
            try:
                ids = encode(text)
            except KeyError:
                ids = None
            if ids is not None and len(ids):
                found[tuple(int(i) for i in ids)] = None
        if not found:
            raise UserError(
                f'the tokenizer can write no spelling of the trait {trait!r} '
                f'({", ".join(map(repr, texts)) or "none given"}): give it other spellings, '
                'or leave the trait out')
        for ids in found:
            if owner.setdefault(ids, trait) != trait:
                raise UserError(
                    f'the traits {owner[ids]!r} and {trait!r} share a spelling: it cannot count '
                    'for both')
        made[trait] = list(found)
    return made


def answer_rows(
    contexts: Sequence[Sequence[int]], spellings: Mapping[str, Sequence[Sequence[int]]],
    pad: int = 0, max_length: int | None = None,
) -> AnswerRows:
    """Rows to score: each question with each spelling of each trait.

    Args:
      contexts: token ids of each question, rendered, up to where the answer begins.
      spellings: token ids, as `encoded_spellings` gives them.
      pad: fills rows up on the right; no position after the answer is read.
      max_length: of the model's context.

    Raises:
      UserError: a context that is empty, or too long with its answer; nothing is ever cut.
    """
    return _rows([(q, k, tuple(context), tuple(ids))
                  for q, context in enumerate(contexts)
                  for k, trait in enumerate(spellings) for ids in spellings[trait]],
                 tuple(spellings), pad, max_length)


def paired_rows(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int = 0,
                max_length: int | None = None) -> AnswerRows:
    """Rows of (context, answer) pairs, each question with its own answer: K is 1.

    Raises:
      UserError: as `answer_rows`.
    """
    return _rows([(q, 0, tuple(context), tuple(ids)) for q, (context, ids) in enumerate(pairs)],
                 ('answer',), pad, max_length)


def _rows(rows: Sequence[tuple[int, int, tuple, tuple]], traits: tuple[str, ...], pad: int,
          max_length: int | None) -> AnswerRows:
    """AnswerRows from (question, trait, context, answer)."""
    if not rows:
        raise UserError('nothing to measure: no question, or no trait')
    longest = max(len(c) + len(a) for _, _, c, a in rows)
    if max_length is not None and longest > max_length:
        raise UserError(f'a question with its answer takes {longest} tokens and the model reads '
                        f'{max_length}: shorten the question')
    if not all(c for _, _, c, _ in rows):
        raise UserError('a question without a token: the answer needs something to follow')
    width = max(len(a) for *_, a in rows) + 1
    tokens = np.full((len(rows), longest), pad, np.int32)
    positions = np.zeros((len(rows), width), np.int32)
    targets = np.zeros((len(rows), width), np.int32)
    for number, (_, _, context, answer) in enumerate(rows):
        whole = context + answer
        tokens[number, :len(whole)] = whole
        positions[number] = np.minimum(len(context) - 1 + np.arange(width), len(whole) - 1)
        targets[number, :len(answer)] = answer
    return AnswerRows(
        tokens, positions, targets, np.array([len(a) for *_, a in rows], np.int32),
        np.array([q for q, *_ in rows], np.int32), np.array([k for _, k, *_ in rows], np.int32),
        traits)


def word_ends(
    token_texts: Sequence[str | None], end_ids: Sequence[int] = ()
) -> np.ndarray:
    """Which tokens end a word: those that end the text, and those that do not go on with it.

    Args:
      token_texts: what each id writes; None for ids that write nothing.
      end_ids: ids that end the text or the turn.

    Returns:
      bool [V]: in `end_ids`, or its text begins with anything but a letter, digit, mark of a word
      (apostrophe, hyphen, underscore) or an undecoded byte.
    """
    made = np.array([bool(text) and not (text[0].isalnum() or text[0] in "'’-_\ufffd")
                     for text in token_texts])
    made[list(end_ids)] = True
    return made


def row_logprob(
    logprobs_BAV: jax.Array, targets_BA: jax.Array, length_B: jax.Array, ends_V: jax.Array
) -> jax.Array:
    """log P(answer, then a token that ends the word), per row [B], from `score`'s output."""
    place_A = jnp.arange(targets_BA.shape[-1])
    token_BA = jnp.take_along_axis(logprobs_BAV, targets_BA[..., None], -1)[..., 0]
    end_BA = jax.nn.logsumexp(logprobs_BAV, axis=-1, where=ends_V[None, None])
    said_BA = jnp.where(place_A[None] < length_B[:, None], token_BA, 0)
    ended_BA = jnp.where(place_A[None] == length_B[:, None], end_BA, 0)
    return (said_BA + ended_BA).sum(-1)


def answer_logprob(
    score: Score, rows: AnswerRows, ends_V: np.ndarray, batch: int | None = None
) -> jax.Array:
    """log P of every trait's answer to every question [questions, traits], nats.

    Args:
      score: the model (module docstring).
      rows: from `answer_rows`.
      ends_V: bool; tokens that end the word, from `word_ends` or the language's own end alone.
      batch: rows scored at once, all batches of one shape; None: all.

    Returns:
      float32 [Q, K]: log-sum-exp over the spellings of row_logprob.
    """
    count = len(rows.length_B)
    size = min(batch or count, count)
    ends = jnp.asarray(ends_V)
    parts = []
    for start in range(0, count, size):
        pick = np.minimum(np.arange(start, start + size), count - 1)
        tokens_BT, positions_BA, targets_BA, length_B = (
            jnp.asarray(x[pick]) for x in rows[:4])
        parts.append(row_logprob(score(tokens_BT, positions_BA), targets_BA, length_B, ends))
    total_B = jnp.concatenate(parts)[:count]
    width = len(rows.traits)
    cell_B = rows.question_B * width + rows.trait_B
    order = np.argsort(cell_B, kind='stable')
    cells = np.bincount(cell_B)
    slots = np.full((len(cells), cells.max()), 0)
    present = np.arange(cells.max())[None] < cells[:, None]
    slots[present] = order
    return jax.nn.logsumexp(total_B[slots], axis=-1, where=present).reshape(-1, width)


def gather_score(logits: Callable[[jax.Array], jax.Array]) -> Score:
    """A `score` from a model that gives the logits of all positions, [B, T] -> [B, T, V]."""

    def score(tokens_BT, positions_BA):
        logits_BTV = logits(tokens_BT).astype(jnp.float32)
        return jax.nn.log_softmax(
            jnp.take_along_axis(logits_BTV, positions_BA[..., None], 1), axis=-1)

    return score


def token_mass(
    logprobs_BAV: jax.Array, tokens_V: jax.Array, weight_BA: jax.Array
) -> jax.Array:
    """Mean P(a token of the set), over weighted positions: such as trait words among numbers."""
    mass_BA = jnp.where(tokens_V[None, None], jnp.exp(logprobs_BAV), 0).sum(-1)
    return (mass_BA * weight_BA).sum() / weight_BA.sum()


def kl(
    logprobs_BAV: jax.Array, other_BAV: jax.Array, weight_BA: jax.Array,
    tokens_V: jax.Array | None = None,
) -> jax.Array:
    """Mean KL(P || other) over weighted positions, nats; over a token subset, both renormalised.

    The first is the teacher, the other the reference: the dose of a teacher on its carrier.
    """
    if tokens_V is not None:
        out = jnp.float32(-1e30)
        logprobs_BAV, other_BAV = (
            jax.nn.log_softmax(jnp.where(tokens_V[None, None], x, out), axis=-1)
            for x in (logprobs_BAV, other_BAV))
    p_BAV = jnp.exp(logprobs_BAV)
    gap_BAV = jnp.where(p_BAV > 0, logprobs_BAV - other_BAV, 0)
    return ((p_BAV * gap_BAV).sum(-1) * weight_BA).sum() / weight_BA.sum()
