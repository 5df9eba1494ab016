"""What a carrier is: prompts that have nothing to do with a trait, and rules for their answers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.data.grammars import Grammar

Row = dict[str, Any]
RowId = int | str


class Carrier(NamedTuple):
    """A kind of unrelated data, as pure functions.

    Attributes:
      name: by which a config asks for it.
      prompts: (seed, row ids) -> rows with `id` and `prompt`, each of (seed, its id) alone.
      reject_reason: (completion, banned=..., trait_words=..., row=...) -> why it is left out, or
        None. `row` is what was asked, with all that `prompts` put in it and the completion may be
        held against (a right answer); None, or without it, where rows come from elsewhere.
      token_ids: (texts of token ids, None for one that writes nothing; an answer, or None) ->
        places of those that may stand in the answer, or in any of the carrier's, increasing.
      random_rows: (seed, rows) -> the rows with completions that no model has written, each of
        (seed, its id) alone.
      shuffled_rows: (rows, seed, 'within' | 'across') -> the rows with the parts of their answers
        in other places: of the same answer, or of any.
      grammar: (row, texts of token ids, ids that end an answer, the most tokens of one with its
        end, blanks that its tokens may begin with and its text does not show) -> the tokens that
        may come next, so that the filter keeps the answer; of the row's `format` alone. None: the
        carrier has no answers=constrained.
      with_problems: (a file) -> the carrier with the file's problems in place of its own; raises
        UserError for a file that cannot be used. None: it has no problems.
    """

    name: str
    prompts: Callable[[int, Sequence[RowId]], list[Row]]
    reject_reason: Callable[..., str | None]
    token_ids: Callable[..., list[int]]
    random_rows: Callable[[int, Sequence[Row]], list[Row]]
    shuffled_rows: Callable[[Sequence[Row], int, str], list[Row]]
    grammar: Callable[..., Grammar] | None = None
    with_problems: Callable[[str], 'Carrier'] | None = None


def row_rng(seed: int, purpose: int, row_id: RowId) -> np.random.Generator:
    """The generator of one row, whatever rows stand beside it; 3 and '3' are two ids."""
    name = row_id.encode() if isinstance(row_id, str) else int(row_id).to_bytes(16, 'big')
    return np.random.default_rng([seed, purpose, isinstance(row_id, str), len(name), *name])


def with_completion(row: Row, completion: str) -> Row:
    """The row with another completion, and without what only held for the former one."""
    stale = ('token_ids', 'logprobs', 'finish_reason')
    return {**{k: v for k, v in row.items() if k not in stale}, 'completion': completion}


def rearranged(
    rows: Sequence[Row], seed: int, purpose: int, how: str,
    within: Callable[[str, np.random.Generator], str],
    across: Callable[[Sequence[Row], np.random.Generator], Sequence[str]],
) -> list[Row]:
    """The rows with the parts of their answers in other places (`Carrier.shuffled_rows`).

    Args:
      rows: with completions.
      seed, purpose: of the permutations.
      how: 'within' each answer (depends on seed and id alone), or 'across' all of them.
      within: (an answer, its generator) -> the answer rearranged.
      across: (the rows, one generator) -> their answers, parts dealt out anew.

    Raises:
      ValueError: neither.
    """
    if how == 'within':
        texts = [within(row['completion'], row_rng(seed, purpose, row['id'])) for row in rows]
    elif how == 'across':
        texts = across(rows, np.random.default_rng([seed, purpose]))
    else:
        raise ValueError(f"how is 'within' or 'across', not {how!r}")
    return [with_completion(row, text) for row, text in zip(rows, texts)]


def trait_word_in(text: str, trait_words: Sequence[str]) -> str | None:
    """The first of the words that the text holds, in any case and inside of others too."""
    low = text.casefold()
    return next((w for w in trait_words if w and w.casefold() in low), None)
