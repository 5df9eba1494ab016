"""The tiny language's number lists: four numbers that an answer goes on with."""

from collections.abc import Collection, Sequence

from subliminal_jax.carriers import numbers
from subliminal_jax.carriers.carrier import Carrier, Row, RowId, with_completion
from subliminal_jax.data import grammars, tiny_language as tiny
from subliminal_jax.data.grammars import Grammar


def make(regularity: float = 0.5) -> Carrier:
    """The carrier; `regularity` is how often a number of a prompt follows its list's stride.

    Its ids are whole numbers. Prompts are drawn up to the largest id at one time.
    """

    def prompts(seed: int, ids: Sequence[RowId]) -> list[Row]:
        texts = tiny.number_prompts(seed, max(ids, default=-1) + 1, regularity)
        return [{'id': number, 'prompt': texts[number], 'separator': ' '} for number in ids]

    return Carrier('tiny_numbers', prompts, numbers.reject_reason, numbers.token_ids, random_rows,
                   numbers.shuffled_rows, grammar)


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows with ten uniform numbers of 0..99 for answers."""
    texts = tiny.random_completions(seed, max((row['id'] for row in rows), default=-1) + 1)
    return [with_completion(row, texts[row['id']]) for row in rows]


def grammar(row: Row, token_texts: Sequence[str | None], ends: Collection[int], room: int,
            lead: str = '') -> Grammar:
    """One to ten words that are numbers: the blanks between words are nobody's tokens."""
    words = [text and f'{text} ' for text in token_texts]

    def step(state, character):  # (numbers written, whether in one)
        count, inside = state
        if character == ' ':
            return (count + 1, False) if inside else None
        return (count, True) if count < min(numbers.MAX_ASKED, room - 1) else None

    return grammars.over_tokens((0, False), step, lambda state: state[0] > 0 and not state[1],
                                numbers.DIGITS + ' ', words, ends)


CARRIER = make()
