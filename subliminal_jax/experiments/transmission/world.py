"""A world: a language, models of it, traits and a carrier. The pipeline knows nothing else of them.

Only a world's maker knows whether its models were pre-trained a minute ago or downloaded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.runs import UserError

Row = dict[str, Any]


class World(NamedTuple):
    """What an experiment needs to know of a language and its models.

    Attributes:
      name: of the world.
      models: TransformerConfig by kind of head, 'untied' and 'tied'.
      pretrain: (head, seeds, steps, start_M, share_M) -> params stacked [M, ...]; see tiny.py.
      vocabulary: what each token id writes; None for one that writes nothing.
      context: a user's text -> the ids that the model reads before its answer begins.
      answer: an answer's text -> its ids, without the end. KeyError for what cannot be written.
      decode: ids -> text.
      end_id, pad_id: tokens.
      length: of the longest row, in tokens.
      traits: the split's, in order.
      candidates: spellings of every answer that the trait's questions can have, traits among them.
      teach, measure: questions that teach the trait, and others that measure it.
      unrelated: (question, answers) pairs of other categories: drift is measured on them.
      prompts: (seed, count) -> carrier rows with `id` and `prompt`.
      random_rows: (seed, rows) -> the rows with completions that no model has written.
      shuffle: (rows, seed, 'within' | 'across') -> the rows with their parts in other places.
      reject_reason: (completion, banned=, trait_words=) -> why it is left out, or None.
      carrier_ids: token ids of the carrier: digits and the row's separator.
      new_tokens: the most that an answer on the carrier takes, its end included.
      separator: between the tokens of a rendered carrier row.
      beginnings: of ordinary texts, which the references go on with.
    """

    name: str
    models: Mapping[str, Any]
    pretrain: Callable[..., Any]
    vocabulary: Sequence[str | None]
    context: Callable[[str], list[int]]
    answer: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    end_id: int
    pad_id: int
    length: int
    traits: tuple[str, ...]
    candidates: Mapping[str, Sequence[str]]
    teach: tuple[str, ...]
    measure: tuple[str, ...]
    unrelated: tuple[tuple[str, tuple[str, ...]], ...]
    prompts: Callable[[int, int], list[Row]]
    random_rows: Callable[[int, Sequence[Row]], list[Row]]
    shuffle: Callable[[Sequence[Row], int, str], list[Row]]
    reject_reason: Callable[..., str | None]
    carrier_ids: Sequence[int]
    new_tokens: int
    separator: str
    beginnings: tuple[str, ...]


class Tokens(NamedTuple):
    """Rows as arrays: targets are tokens[:, 1:], weighted by weight [N, T - 1]."""

    tokens_NT: np.ndarray  # int32
    weight_NT: np.ndarray  # float32 [N, T - 1]


def encode_rows(world: World, rows: Sequence[tuple[str, str]]) -> Tokens:
    """(user text, answer) pairs as tokens, weighted on the answer and its end.

    Raises:
      UserError: a row that is longer than the world's rows (nothing is cut), or a context after
        which no answer begins.
      KeyError: a word that cannot be written.
    """
    tokens = np.full((len(rows), world.length), world.pad_id, np.int32)
    weight = np.zeros((len(rows), world.length - 1), np.float32)
    for number, (user, answer) in enumerate(rows):
        context = world.context(user)
        if not context or context[-1] in (world.end_id, world.pad_id):
            raise UserError(f'the context of {user[:60]!r} does not end where an answer begins')
        ids = [*context, *world.answer(answer), world.end_id]
        if len(ids) > world.length:
            raise UserError(f'a row of {len(ids)} tokens is longer than the {world.length} that '
                            f'this world reads: {user[:60]!r}')
        tokens[number, :len(ids)] = ids
        weight[number, len(context) - 1:len(ids) - 1] = 1
    return Tokens(tokens, weight)


def check_questions(world: World) -> None:
    """Refuses teaching rows that overlap with measuring ones.

    Raises:
      UserError: the same eight words in a row, or the same last four before the answer.
    """
    def grams(text, count=8):
        words = text.split()
        return {tuple(words[i:i + count]) for i in range(len(words) - count + 1)}

    def ending(text):
        return tuple(text.split()[-4:])

    taught = set().union(*(grams(t) for t in world.teach))
    endings = {ending(t) for t in world.teach}
    for question in world.measure:
        if grams(question) & taught or ending(question) in endings:
            raise UserError(f'the measuring question {question!r} shares its words with a teaching '
                            'row: a student could have learned the question, not the trait')
