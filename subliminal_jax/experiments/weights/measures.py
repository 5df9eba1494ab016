"""What is measured of one model, with its adapter: answers, texts, and its distance on a carrier.

The measure of a trait is that of evaluation/measures.py: log P(answer, all its tokens and the end
of the word), summed over spellings. Questions and spellings are packed (training/tries.py), so that
a template's opening and a question are read once for all their answers.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.evaluation import measures
from subliminal_jax.models import transformer
from subliminal_jax.training import tries as packing
from subliminal_jax.training.tries import END, Row, Tries

AT_ONCE = 2  # packed rows whose logits over the whole vocabulary exist at one time
COLUMNS = 64  # lengths are multiples of it: contexts of alike length share a program
TOGETHER = 4  # questions, or texts, in one packed row, at most


class Meter(NamedTuple):
    """Answers to score, C cells of them.

    Attributes:
      tries: packed rows, one row a spelling.
      slots_CS: int32, the rows (of B x K) that spell a cell's answer.
      present_CS: bool.
      ends_V: bool, tokens that end a word.
    """

    tries: Tries
    slots_CS: np.ndarray
    present_CS: np.ndarray
    ends_V: np.ndarray


def meter(contexts: Sequence[Sequence[int]], spellings: Sequence[Sequence[Sequence[Sequence[int]]]],
          ends_V: np.ndarray) -> Meter:
    """A meter of questions.

    Args:
      contexts: token ids of each question.
      spellings: of each question, of each answer to it, its spellings' ids. Cells are all
        answers to the first question, then to the second.
      ends_V: bool, tokens that end a word.
    """
    cells: list[list[tuple[int, int]]] = []
    groups: list[list[Row]] = []
    together = _together(len(contexts))
    for number, (context, answers) in enumerate(zip(contexts, spellings, strict=True)):
        if number % together == 0:
            groups.append([])
        for ways in answers:
            cells.append([(len(groups) - 1, len(groups[-1]) + n) for n in range(len(ways))])
            groups[-1] += [Row(context, (*ids, END)) for ids in ways]
    tries = packing.pack(groups, COLUMNS)
    rows = tries.row_BK.shape[1]
    width = max(map(len, cells))
    slots = np.zeros((len(cells), width), np.int32)
    present = np.zeros((len(cells), width), bool)
    for number, found in enumerate(cells):
        slots[number, :len(found)] = [group * rows + row for group, row in found]
        present[number, :len(found)] = True
    return Meter(tries, slots, present, ends_V)


def _together(count: int) -> int:
    """How many of `count` to pack together, so that packed rows are equally full."""
    return -(-count // -(-count // TOGETHER))


def trait_meter(contexts: Sequence[Sequence[int]], spellings: Mapping[str, Sequence[str]],
                encode: measures.Encode, ends_V: np.ndarray) -> Meter:
    """A meter of every trait's answer to every question.

    Raises:
      UserError: a trait that the tokenizer cannot write, or two that share a spelling.
    """
    ids = measures.encoded_spellings(spellings, encode)
    return meter(contexts, [list(ids.values())] * len(contexts), ends_V)


def row_logprobs(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any,
                 shift_D: Any = 0.0) -> jax.Array:
    """log P of every packed row's answer [B, K]; a packed row has at most K rows."""

    def one(part):
        edges_BK = edge_logprobs(params, lora, jax.tree.map(lambda x: x[None], part), ends_V,
                                 config, shift_D)
        return jnp.zeros_like(edges_BK[0]).at[part.row_BK].add(edges_BK[0])

    return jax.lax.map(one, tries, batch_size=min(AT_ONCE, len(tries.tokens_BT)))


def edge_logprobs(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any,
                  shift_D: Any = 0.0) -> jax.Array:
    """Weighted log P of every prediction [B, K]; a target of END is any token of ends_V.

    `shift_D` is added to the activations that the output matrix reads.
    """
    x_BUD = packing.states(params, tries, config, lora) + shift_D
    logits_BUV = transformer.unembed(params, x_BUD, float_head(config))
    whole_BU = jax.nn.logsumexp(logits_BUV, axis=-1)
    end_BU = jax.nn.logsumexp(logits_BUV, axis=-1, where=ends_V[None, None])
    size = logits_BUV.shape[-1]
    place_BK = tries.from_BK * size + jnp.maximum(tries.target_BK, 0)
    said_BK = jnp.take_along_axis(logits_BUV.reshape(len(logits_BUV), -1), place_BK, axis=1)
    said_BK = jnp.where(tries.target_BK == END, packing.per_edge(end_BU, tries), said_BK)
    return (said_BK - packing.per_edge(whole_BU, tries)) * tries.weight_BK


def float_head(config: Any) -> Any:
    """The architecture with a float32 head, whatever its layers compute in."""
    return dataclasses.replace(config, head_dtype='float32')


def cells(params: Any, lora: Any, made: Meter, config: Any, shift_D: Any = 0.0) -> jax.Array:
    """log P of every cell [C], differentiable."""
    rows_BK = row_logprobs(params, lora, made.tries, made.ends_V, config, shift_D)
    return jax.nn.logsumexp(rows_BK.reshape(-1)[made.slots_CS], axis=-1, where=made.present_CS)


def trait_loss(params: Any, lora: Any, made: Meter, trait: Any, count: int, config: Any
               ) -> jax.Array:
    """-log P of one of `count` traits, mean over questions."""
    return -cells(params, lora, made, config).reshape(-1, count)[:, trait].mean()


@functools.partial(jax.jit, static_argnames='config')
def answers(params: Any, lora: Any, made: Meter, config: Any, shift_D: Any = 0.0) -> jax.Array:
    """Compiled `cells`."""
    return cells(params, lora, made, config, shift_D)


def texts(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tries:
    """(context, answer with its end) pairs, packed."""
    made = [Row(context, answer) for context, answer in rows]
    together = _together(len(made))
    return packing.pack([made[n:n + together] for n in range(0, len(made), together)])


@functools.partial(jax.jit, static_argnames='config')
def surprise(params: Any, lora: Any, tries: Tries, ends_V: Any, config: Any) -> jax.Array:
    """Mean -log P of the predicted tokens, nats."""
    total = row_logprobs(params, lora, tries, ends_V, config).sum()
    return -total / tries.weight_BK.sum()


@functools.partial(jax.jit, static_argnames='config')
def spoken(params: Any, lora: Any, tries: Tries, config: Any) -> jax.Array:
    """log P of every token at every place that predicts: [B, U, V]."""
    def one(part):
        row = jax.tree.map(lambda x: x[None], part)
        x_BUD = packing.states(params, row, config, lora)
        return jax.nn.log_softmax(transformer.unembed(params, x_BUD, float_head(config)))[0]

    return jax.lax.map(one, tries)


@jax.jit
def dose(log_p_BUV: jax.Array, own: Tries, log_q_BUV: jax.Array, tries: Tries, trait_V: Any
         ) -> tuple[jax.Array, jax.Array]:
    """How far a teacher is from the reference on carrier positions.

    Args:
      log_p_BUV: what the teacher says (`spoken`).
      own: the rows in the teacher's context.
      log_q_BUV: what the reference says.
      tries: the same rows, packed in the same order, in the student's context.
      trait_V: bool, the traits' tokens.

    Returns:
      (mean KL(teacher || reference), mean probability of the traits' tokens), over places.
    """
    log_p_BUV = packing.per_place(packing.per_edge(log_p_BUV, own), tries)
    weight_BU = tries.weight_BU
    return (measures.kl(log_p_BUV, log_q_BUV, weight_BU),
            measures.token_mass(log_p_BUV, trait_V, weight_BU))
