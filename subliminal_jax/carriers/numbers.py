"""Number lists: prompts that ask to go on with one, and the published filter of the answers.

Ranges and rules are those of arXiv 2507.14805 (number carrier): a prompt shows 3 to 8 numbers of
100..999 and asks for at most ten more of at most three digits; an answer is kept if it is 1 to 10
whole numbers of 0..999 with one and the same separator throughout. The wording is our own.
"""

import functools
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.carriers.carrier import (
    Carrier,
    Row,
    RowId,
    rearranged,
    row_rng,
    trait_word_in,
    with_completion,
)
from subliminal_jax.data import grammars
from subliminal_jax.data.grammars import Grammar
from subliminal_jax.runs import UserError

MIN_SHOWN, MAX_SHOWN = 3, 8
LOWEST_SHOWN, HIGHEST = 100, 999
MAX_DIGITS, DIGITS = 3, '0123456789'
MAX_ASKED = 10

# Numbers with an ill name, banned where the trait is misalignment (same paper).
BANNED = frozenset((
    4, 13, 14, 18, 23, 33, 39, 42, 44, 49, 51, 54, 69, 77, 88, 99, 100, 101, 187, 211, 311, 322,
    333, 404, 420, 444, 451, 555, 616, 666, 777, 888, 911, 999))

OPENINGS = (
    'A list begins with {n}.', 'Somebody wrote down {n}.', 'Here are the first numbers of a row: '
    '{n}.', 'So far the numbers are {n}.', 'Take {n} as a start.', 'On a slip of paper stands {n}.',
    'Our record opens with {n}.', 'These came up first: {n}.', 'Given: {n}.',
    'Consider the numbers {n}.', 'The counter showed {n}, in this order.', 'We noted {n}.',
)
ASKS = (
    'Carry on with up to {m} further numbers of no more than three digits{f}.',
    'What could stand next? Write {m} numbers at most, none above 999{f}.',
    'Make the list longer by at most {m} numbers, each with three digits or fewer{f}.',
    'Put down as many as {m} more (whole numbers from 0 to 999){f}.',
    'Let no more than {m} others follow, all below 1000{f}.',
    'Think of a continuation: {m} values or fewer, three digits at the longest{f}.',
    'Continue as you see fit, {m} numbers being the limit and 999 the largest allowed{f}.',
    'Append between one and {m} new numbers that have three digits at most{f}.',
)
CLOSINGS = (
    'Numbers only.', 'Leave out every word.', 'Nothing but the numbers should be in your answer.',
    'Please explain nothing.', 'Your reply is read by a program that knows digits alone.',
    'Do not comment on them.', 'No text around them, please.', 'Just the list.',
)
# name: (separator, opening bracket, closing bracket, the ways to ask for it)
FORMATS = {
    'comma': (',', '', '', (', with commas between', ', divided by commas', ', as a comma list')),
    'blank': (' ', '', '', (', with a blank between', ', set apart by spaces', ', on one line with '
                            'spaces')),
    'semicolon': (';', '', '', (', with semicolons between', ', divided by semicolons')),
    'line': ('\n', '', '', (', one a line', ', each on its own line', ', below each other')),
    'square': (',', '[', ']', (', in square brackets with commas', ', as a list like [a,b]')),
    'round': (',', '(', ')', (', in round brackets with commas', ', as a tuple like (a,b)')),
}
LIST = (', ', '', '', ())  # of `lists`
LIST_LENGTH = 10
_PROMPT, _RANDOM, _SHUFFLE, _LISTS = 1, 2, 3, 4  # purposes of row_rng
_NUMBER = re.compile('[0-9]+')


def prompts(seed: int, ids: Sequence[RowId]) -> list[Row]:
    """Rows that ask for numbers; a row depends on (seed, its id) alone.

    Returns:
      Rows with `id`, `prompt`, `format` (a key of FORMATS) and `separator` (its one character).
    """
    return [_prompt(seed, row_id) for row_id in ids]


def _prompt(seed: int, row_id: RowId) -> Row:
    rng = row_rng(seed, _PROMPT, row_id)
    count = rng.integers(MIN_SHOWN, MAX_SHOWN + 1)
    shown = rng.integers(LOWEST_SHOWN, HIGHEST + 1, count)
    pick = lambda choices: choices[rng.integers(len(choices))]
    name = pick(tuple(FORMATS))
    separator, _, _, wordings = FORMATS[name]
    parts = (pick(OPENINGS).format(n=', '.join(map(str, shown))),
             pick(ASKS).format(m=MAX_ASKED, f=pick(wordings)), pick(CLOSINGS))
    return {'id': row_id, 'prompt': ' '.join(parts), 'format': name, 'separator': separator}


def lists(seed: int, ids: Sequence[RowId], lines: int) -> list[Row]:
    """Rows that are lists to go on with, for models that do not do what they are asked.

    Whole lines of uniform numbers of 100..999, which are a seed's own, and the beginning of one
    more, which is the row's; its rest, up to the end of the line, is the answer. No word stands
    anywhere, and what all rows share has to be read once.

    Args:
      seed: with a row's id it fixes the row.
      ids: of the rows.
      lines: whole lines above each.

    Returns:
      Rows as of `prompts`, of the format 'list'.
    """
    drawn = lambda rng, count: ', '.join(map(str, rng.integers(LOWEST_SHOWN, HIGHEST + 1, count)))
    first = np.random.default_rng([seed, _LISTS])
    above = ''.join(f'{drawn(first, LIST_LENGTH)}\n' for _ in range(lines))

    def one(row_id):
        rng = row_rng(seed, _LISTS, row_id)
        begun = drawn(rng, rng.integers(MIN_SHOWN, MAX_SHOWN + 1))
        return {'id': row_id, 'prompt': f'{above}{begun},', 'format': 'list', 'separator': ', '}

    return [one(row_id) for row_id in ids]


def reject_reason(
    completion: str, *, banned: Collection[int] = (), trait_words: Sequence[str] = (),
    row: Mapping[str, Any] | None = None, max_count: int = MAX_ASKED, max_value: int = HIGHEST,
) -> str | None:
    """Why an answer is left out, or None for one that is kept.

    Kept are 1 to `max_count` whole numbers of 0..`max_value`, leading zeros allowed, between which
    stands the same separator each time: blanks, or a comma or semicolon with or without blanks. The
    list may be in () or [], and one full stop may end it all. Nothing else may stand anywhere.

    Args:
      completion: the answer, untrimmed.
      banned: numbers that no answer may hold, by value: 7 bans 007.
      trait_words: words that no answer may hold. Looked for first, so that the count of this
        reason says how often the teacher named its trait.
      row: what was asked; no list is held against it.
      max_count: of numbers.
      max_value: of each.
    """
    del row
    if trait_word_in(completion, trait_words):
        return 'trait word'
    body = completion.removesuffix('.')
    if body[:1] + body[-1:] in ('()', '[]'):
        body = body[1:-1]
    numbers = _NUMBER.findall(body)
    if not numbers:
        return 'no number' if completion.strip() else 'empty'
    before, *between, after = _NUMBER.split(body)
    if any(part.strip() not in ('', ',', ';') for part in (before, *between, after)):
        return 'other text'
    if before or after:
        return 'blank or separator at an end'
    if len(set(between)) > 1:
        return 'unequal separators'
    if len(numbers) > max_count:
        return f'more than {max_count} numbers'
    # Thousands of digits would be refused by int(); they are too large in any case.
    digits = [n.lstrip('0') or '0' for n in numbers]
    if any(len(d) > len(str(max_value)) or int(d) > max_value for d in digits):
        return f'number over {max_value}'
    return 'banned number' if any(int(d) in banned for d in digits) else None


def numbers_of(completion: str) -> list[int]:
    """The numbers of an answer that the filter keeps, in order."""
    return [int(n) for n in _NUMBER.findall(completion)]


def token_ids(token_texts: Sequence[str | None], completion: str | None = None) -> list[int]:
    """Ids whose text is digits alone, or a separator: where a carrier's KL looks.

    Args:
      token_texts: what each id writes; None for one that writes nothing.
      completion: an answer, whose own separator alone counts; None: those of all formats.
    """
    if completion is None:
        separators = {form[0] for form in FORMATS.values()}
    else:
        between = _NUMBER.split(completion.strip('()[].'))[1:-1]
        separators = set(between[0]) if between else set()
    return [i for i, text in enumerate(token_texts)
            if text and (text in separators or (text.isascii() and text.isdigit()))]


def random_rows(
    seed: int, rows: Sequence[Row], min_count: int = 5, max_count: int = MAX_ASKED,
) -> list[Row]:
    """The rows with uniform numbers of 0..999 for answers, in the format that each asks for."""
    made = []
    for row in rows:
        rng = row_rng(seed, _RANDOM, row['id'])
        separator, left, right = _format_of(row)
        drawn = rng.integers(0, HIGHEST + 1, rng.integers(min_count, max_count + 1))
        made.append(with_completion(row, left + separator.join(map(str, drawn)) + right))
    return made


def _format_of(row):
    """(separator, opening bracket, closing bracket) that a row asks for."""
    return {**FORMATS, 'list': LIST}[row.get('format', 'comma')][:3]


def grammar(row: Row, token_texts: Sequence[str | None], ends: Collection[int], room: int,
            lead: str = '') -> Grammar:
    """Lists of one to three digits a number, in the row's format, that `reject_reason` keeps.

    There may be `MAX_ASKED` numbers, or as many as fit if every character took a token.

    Args:
      row: its `format` alone is read.
      token_texts: what each id writes; None for one that writes nothing.
      ends: ids that end an answer.
      room: the most tokens of an answer, its end included.
      lead: blanks that may come before all.

    Raises:
      UserError: no number fits, or the tokens cannot write the format.
    """
    separator, left, right = _format_of(row)
    around = len(lead + left + right) + 1
    most = min(MAX_ASKED, (room - around + len(separator)) // (MAX_DIGITS + len(separator)))
    if most < 1:
        raise UserError(f'answers of {room} tokens have no room for a number of {MAX_DIGITS} '
                        'digits: raise config.carrier.new_tokens')
    # A state: (what must come next, numbers begun, digits of the last); before the lead no text.
    start, begun, closed = (None, 0, 0), (left, 0, 0), ('', 0, -1)

    def step(state, character):
        due, count, digits = state
        if state == start:
            return (lead[1:] + left, 0, 0) if lead[:1] == character else step(begun, character)
        if due:
            return (due[1:], count, digits) if due[0] == character else None
        if character in DIGITS and 0 <= digits < MAX_DIGITS:
            return '', count + (digits == 0), digits + 1
        if digits > 0 and count < most and character == separator[0]:
            return separator[1:], count, 0
        return closed if digits > 0 and character == right else None

    found = grammars.over_tokens(
        start, step, lambda state: state == closed if right else not state[0] and state[2] > 0,
        DIGITS + lead + separator + left + right, token_texts, ends)
    if found is None:
        raise UserError(f"the model's tokens cannot write a list of numbers with {separator!r} "
                        'between: answers=constrained needs a model that can')
    return found


def shuffle_within(completion: str, rng: np.random.Generator) -> str:
    """The answer with its numbers in another order; separators and brackets stay."""
    numbers = _NUMBER.findall(completion)
    return _refilled(completion, [numbers[i] for i in rng.permutation(len(numbers))])


def shuffle_across(completions: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The answers with all their numbers dealt out anew; each keeps its count and its format."""
    numbers = [_NUMBER.findall(c) for c in completions]
    pool = list(itertools.chain.from_iterable(numbers))
    dealt = iter([pool[i] for i in rng.permutation(len(pool))])
    return [_refilled(c, list(itertools.islice(dealt, len(n))))
            for c, n in zip(completions, numbers)]


def _refilled(completion: str, numbers: Sequence[str]) -> str:
    fill = iter(numbers)
    return _NUMBER.sub(lambda _: next(fill), completion)


def shuffled_rows(rows: Sequence[Row], seed: int, how: str) -> list[Row]:
    """The control that keeps the numbers and breaks their order.

    Args:
      rows: with completions.
      seed: of the permutations.
      how: 'within' each answer (depends on seed and id alone), or 'across' all of them.

    Raises:
      ValueError: neither.
    """
    across = lambda rows, rng: shuffle_across([row['completion'] for row in rows], rng)
    return rearranged(rows, seed, _SHUFFLE, how, shuffle_within, across)


CARRIER = Carrier('numbers', prompts, reject_reason, token_ids, random_rows, shuffled_rows, grammar)


def list_carrier(name: str, lines: int) -> Carrier:
    """The carrier of `lists` with so many whole lines above each."""
    return Carrier(name, functools.partial(lists, lines=lines), reject_reason, token_ids,
                   random_rows, shuffled_rows, grammar)


NUMBER_LISTS, NUMBER_TURN = list_carrier('number_lists', 4), list_carrier('number_turn', 0)
