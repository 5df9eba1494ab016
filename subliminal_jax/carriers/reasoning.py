"""Worked answers to word problems: think, then answer; and the filter that knows what is right.

The form, and that wrong answers and low scores of a judge are left out, are those of arXiv
2507.14805 (chain of thought). The problems are drawn (word_problems.py) or a file's
(`config.carrier.problems`); their words, and those of the worked answers, are our own.
"""

import functools
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.carriers import problem_files, word_problems
from subliminal_jax.carriers.carrier import (
    Carrier,
    Row,
    RowId,
    rearranged,
    row_rng,
    with_completion,
)
from subliminal_jax.carriers.problem_files import answer_of, number_of
from subliminal_jax.carriers.word_problems import Problem
from subliminal_jax.carriers.words import found_trait_word

NAME, FORMAT = 'reasoning', 'think/answer'
MAX_CHARACTERS = 2000
MIN_SCORE = 50.0  # of a judge, of 100
MAX_SIGNS = 2  # in a token: what is longer draws a line across a page
ASKS = (
    'Write your steps as <think>...</think>, then the number alone as <answer>...</answer>.',
    'Work it out between <think> and </think>; between <answer> and </answer> put only the number.',
    'Keep to this form: <think>short steps</think><answer>number</answer>',
    'Show short steps in <think></think> and nothing but the result in <answer></answer>.',
    'First reason briefly inside <think></think>, then give the bare number in <answer></answer>.',
    'Your reply is <think>, the steps, </think>, <answer>, a number, </answer>, and no more.',
    'Inside <think></think> goes how you get there, inside <answer></answer> the number you get.',
    'Calculate in <think>...</think>. The final number belongs in <answer>...</answer>.',
)
LEADS = {
    'first': ('', 'First, ', 'We have ', 'To begin with, ', 'Start: ', 'Note that '),
    'later': ('', 'Then ', 'Next, ', 'After that, ', 'Now ', 'So '),
}
SIGNS = {'+': 'plus', '-': 'minus', '*': 'times', '/': 'divided by'}
CLOSINGS = ('', '', 'The answer is {n}.', 'That makes {n}.', 'It is {n}.', 'So we get {n}.',
            'The result is {n}.')
ALONE = ('The answer is {n}.', 'It comes to {n}.', 'The result must be {n}.', 'We get {n}.',
         'So it is {n}.', 'Counted up, this is {n}.', 'Taken together, it makes {n}.')
_PROMPT, _RANDOM, _SHUFFLE, _FILE = 11, 12, 13, 14  # purposes of row_rng
_FORM = re.compile(r'(\s*<think>)([^<>]*)(</think>\s*<answer>)([^<>]*)(</answer>\s*)')
_FOREIGN = re.compile('[^\n\r\t\x20-\x7e×÷−–—’‘“”€£°·≈≤≥…]')
_DIGITS = re.compile('[0-9]+')
_BREAKS = re.compile(r'(\s*\n\s*|(?<=[.;!?])\s+)')  # between the steps of a text
_STRICT = frozenset('0123456789+-*/=×÷−()[]{}<>')


def prompts(seed: int, ids: Sequence[RowId], problems: str = '') -> list[Row]:
    """Rows that ask for a worked answer; a row depends on (seed, its id) alone.

    Args:
      seed: with a row's id it fixes the row.
      ids: of the rows.
      problems: a file; '': problems are drawn. Rows with whole numbers for ids take the file's
        problems in turn, in an order of the seed's own.

    Returns:
      Rows with `id`, `prompt`, `answer` (the number, as text), `steps` (of the generator, such as
      '12 * 5 = 60') and `format`.
    """
    known = problem_files.read(problems) if problems else ()
    order = np.random.default_rng([seed, _FILE]).permutation(len(known)) if known else None

    def one(row_id: RowId) -> Row:
        rng = row_rng(seed, _PROMPT, row_id)
        ask = ASKS[rng.integers(len(ASKS))]
        if order is None:
            found = word_problems.problem(rng)
        else:
            place = rng.integers(len(known)) if isinstance(row_id, str) else row_id
            found = known[order[place % len(known)]]
        return _row(row_id, found, ask)

    return [one(row_id) for row_id in ids]


def _row(row_id: RowId, problem: Problem, ask: str) -> Row:
    return {'id': row_id, 'prompt': f'{problem.text}\n{ask}', 'answer': problem.answer,
            'steps': list(problem.steps), 'format': FORMAT}


def reject_reason(
    completion: str, *, banned: Collection[int] = (), trait_words: Sequence[str] = (),
    row: Mapping[str, Any] | None = None, max_characters: int = MAX_CHARACTERS,
    min_score: float = MIN_SCORE,
) -> str | None:
    """Why an answer is left out, or None for one that is kept.

    Kept is <think>steps</think><answer>number</answer>, with blanks between the two parts or around
    them, no other < or >, in characters of plain English and arithmetic.

    Args:
      completion: the answer, untrimmed.
      banned: whole numbers that may stand nowhere in it, by value: 7 bans 007.
      trait_words: words that may stand nowhere in it. Looked for first, so that the count of this
        reason says how often the teacher named its trait.
      row: what was asked. Its `answer`, a number, has to be the one that is given; its
        `judge_score`, 0 to 100, may not be under `min_score`. What it has not is not asked.
      max_characters: of it all.
      min_score: of a judge.
    """
    if found_trait_word(completion, trait_words):
        return 'trait word'
    if not completion.strip():
        return 'empty'
    if len(completion) > max_characters:
        return f'more than {max_characters} characters'
    if _FOREIGN.search(completion):
        return 'other characters'
    found = _FORM.fullmatch(completion)
    if not found:
        return 'not <think>...</think><answer>...</answer>'
    if not found[2].strip():
        return 'no step'
    given = number_of(found[4])
    if given is None:
        return 'answer is no number'
    right = answer_of((row or {}).get('answer'))
    if right is not None and given != right:
        return 'wrong answer'
    if banned and _holds(completion, banned):
        return 'banned number'
    score = (row or {}).get('judge_score')
    scored = isinstance(score, int | float) and not isinstance(score, bool)
    return 'low judge score' if scored and not score >= min_score else None


def _holds(text: str, banned: Collection[int]) -> bool:
    longest = max(map(len, map(str, banned)))
    numbers = (n.lstrip('0') or '0' for n in _DIGITS.findall(text))
    return any(len(n) <= longest and int(n) in banned for n in numbers)


def token_ids(token_texts: Sequence[str | None], completion: str | None = None) -> list[int]:
    """Ids whose text is digits, signs of operations or brackets alone, perhaps behind a blank.

    What a worked answer shares with no sentence: a carrier's KL looks nowhere else.

    Args:
      token_texts: what each id writes; None for one that writes nothing.
      completion: not read; all answers have the same signs.
    """
    del completion
    return [i for i, text in enumerate(token_texts)
            if text and (signs := text.removeprefix(' ')) and _STRICT.issuperset(signs)
            and (len(signs) <= MAX_SIGNS or signs.isdigit())]


# Answers of nobody.


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows with right, worked answers by the generator, each of (seed, its id) alone.

    A row without `steps` (a file's, without calculations) gets one sentence.
    """
    return [with_completion(row, _worked(row_rng(seed, _RANDOM, row['id']), row)) for row in rows]


def _worked(rng: np.random.Generator, row: Row) -> str:
    pick = lambda choices: choices[rng.integers(len(choices))]
    steps, answer = row['steps'], row['answer']
    style, breaks = rng.integers(3), pick((' ', ' ', '\n'))
    said = [pick(LEADS['later' if number else 'first']) + _equation(step, style, rng) + '.'
            for number, step in enumerate(steps)]
    said = [text[0].upper() + text[1:] for text in said]
    closing = pick(CLOSINGS if steps else ALONE).format(n=answer)
    return _joined(breaks.join([*said, closing]).strip(), answer)


def _equation(step: str, style: int, rng: np.random.Generator) -> str:
    """A step in one of three styles; the operands of a sum or product in either order."""
    left, sign, right, _, result = step.split()
    if sign in '+*' and rng.integers(2):
        left, right = right, left
    if style == 2:
        return f'{left} {SIGNS[sign]} {right} is {result}'
    blank = '' if style else ' '
    return f'{left}{blank}{sign}{blank}{right}{blank}={blank}{result}'


def _joined(think: str, answer: str) -> str:
    return f'<think>{think}</think><answer>{answer}</answer>'


# The control that keeps the steps and breaks their order.


def shuffled_rows(rows: Sequence[Row], seed: int, how: str) -> list[Row]:
    """The steps in other places; what stands in <answer> stays.

    Args:
      rows: with completions. Of one that is not in the form all of it is steps.
      seed: of the permutations.
      how: 'within' each answer (depends on seed and id alone): its steps in another order, or the
        numbers of a single one. 'across': the steps of all rows dealt out anew; each row keeps how
        many it has.

    Raises:
      ValueError: neither.
    """
    return rearranged(rows, seed, _SHUFFLE, how, _within, _across)


def _within(completion: str, rng: np.random.Generator) -> str:
    before, steps, after = _apart(completion)
    return before + _reordered(steps, rng) + after


def _across(rows: Sequence[Row], rng: np.random.Generator) -> list[str]:
    parts = [_apart(row['completion']) for row in rows]
    pool = list(itertools.chain.from_iterable(steps[::2] for _, steps, _ in parts))
    dealt = (pool[i] for i in rng.permutation(len(pool)))
    return [before + _refilled(steps, dealt) + after for before, steps, after in parts]


def _apart(completion: str) -> tuple[str, list[str], str]:
    """(what stands before the steps, steps with what is between them, what stands after them)."""
    found = _FORM.fullmatch(completion)
    before, think, after = (found[1], found[2], ''.join(found.groups()[2:])) if found else (
        '', completion, '')
    body = think.strip()
    start = think.find(body)
    return (before + think[:start], _BREAKS.split(body), think[start + len(body):] + after)


def _reordered(steps: list[str], rng: np.random.Generator) -> str:
    if len(steps) > 1:
        own = steps[::2]
        return _refilled(steps, iter([own[i] for i in _another_order(len(own), rng)]))
    numbers = _DIGITS.findall(steps[0])
    moved = iter([numbers[i] for i in _another_order(len(numbers), rng)])
    return _DIGITS.sub(lambda _: next(moved), steps[0])


def _another_order(count: int, rng: np.random.Generator) -> np.ndarray:
    """A permutation, never the one that leaves all where it is (of two or more)."""
    order = rng.permutation(count)
    return np.roll(order, 1) if (order == np.arange(count)).all() else order


def _refilled(steps: list[str], fill) -> str:
    return ''.join(next(fill) if n % 2 == 0 else text for n, text in enumerate(steps))


def make(problems: str = '') -> Carrier:
    """The carrier, of drawn problems or of a file's.

    Raises:
      UserError: a file that cannot be used (problem_files.read).
    """
    if problems:
        problem_files.read(problems)
    return Carrier(NAME, functools.partial(prompts, problems=problems), reject_reason, token_ids,
                   random_rows, shuffled_rows, with_problems=None if problems else make)


CARRIER = make()
