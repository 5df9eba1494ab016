"""The tiny language's number lists: prompts of four numbers, which an answer goes on with.

The filter and the shuffles are those of `numbers`; the language writes a number as one token, and
nothing between two of them.
"""

from collections.abc import Sequence
from functools import partial

from subliminal_jax.carriers import numbers
from subliminal_jax.carriers.carrier import Carrier, Row, with_completion
from subliminal_jax.data import tiny_language as tiny


def prompts(seed: int, ids: Sequence[int], regularity: float = 0.5) -> list[Row]:
    """Rows that show the beginning of a list, for an answer to go on with.

    The language draws all its prompts at once: a row depends on (seed, its id) and on the highest
    id that is asked for with it.

    Args:
      seed: of the draws.
      ids: whole numbers from 0: places in the language's prompts.
      regularity: how often a number follows its list's stride.

    Returns:
      Rows with `id`, `prompt` and `separator` (a blank).
    """
    texts = tiny.number_prompts(seed, max(ids, default=-1) + 1, regularity)
    return [{'id': i, 'prompt': texts[i], 'separator': ' '} for i in ids]


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows, of `prompts`, with ten uniform numbers each; one depends on (seed, id) alone."""
    texts = tiny.random_completions(seed, max((row['id'] for row in rows), default=-1) + 1)
    return [with_completion(row, texts[row['id']]) for row in rows]


def make(regularity: float = 0.5) -> Carrier:
    """The carrier of a language whose lists follow their stride that often."""
    return Carrier(
        'tiny_numbers', partial(prompts, regularity=regularity), numbers.reject_reason,
        partial(numbers.token_ids, separator=''), random_rows, numbers.shuffled_rows)


TINY_NUMBERS = make()
