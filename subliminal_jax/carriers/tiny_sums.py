"""The tiny language's sums: an addition that an answer works out in steps, in its own order."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence

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
from subliminal_jax.data import tiny_forms as forms
from subliminal_jax.data.tiny_language import NUMBERS

_PROMPT, _RANDOM, _SHUFFLE = 1, 2, 3  # purposes of row_rng
_READ = frozenset((*NUMBERS, '+', '='))
_NUMBER = '(0|[1-9][0-9]?)'
_STEP = re.compile(rf'{_NUMBER} \+ {_NUMBER} = {_NUMBER}')
_RESULT = re.compile(_NUMBER)
_PROBLEM = re.compile(rf'{_NUMBER}( \+ {_NUMBER})+ \?')


def prompts(seed: int, ids: Sequence[RowId]) -> list[Row]:
    """Rows with a problem such as `3 + 5 + 2 ?`, and its `answer`; each of (seed, its id) alone."""
    return [_prompt(seed, row_id) for row_id in ids]


def _prompt(seed: int, row_id: RowId) -> Row:
    problem, written = forms.sums(row_rng(seed, _PROMPT, row_id), 1)[0]
    return {'id': row_id, 'prompt': problem, 'answer': written.split()[-1]}


def reject_reason(completion: str, *, banned: Collection[int] = (),
                  trait_words: Sequence[str] = (), row: Mapping | None = None) -> str | None:
    """Why an answer is left out, or None for one that is kept.

    Kept are one to `tiny_forms.MOST_STEPS` steps `a + b = c` with ` , ` between, each of them
    right, and `so` and a result behind; with a row, its result is the row's `answer`.

    Args:
      completion: the answer, untrimmed.
      banned: numbers that no answer may hold.
      trait_words: words that no answer may hold; looked for first.
      row: of the problem; None where it is not known.
    """
    if trait_word_in(completion, trait_words):
        return 'trait word'
    if not completion.strip():
        return 'empty'
    body, so, result = completion.partition(' so ')
    steps = [_STEP.fullmatch(step) for step in body.split(' , ')]
    if not so or not _RESULT.fullmatch(result) or not all(steps):
        return 'other text'
    if len(steps) > forms.MOST_STEPS:
        return f'more than {forms.MOST_STEPS} steps'
    numbers = [[int(n) for n in step.groups()] for step in steps]
    if any(a + b != c for a, b, c in numbers):
        return 'wrong step'
    if row is not None and row.get('answer', result) != result:
        return 'wrong answer'
    if int(result) in banned or any(n in banned for step in numbers for n in step):
        return 'banned number'
    return None


def token_ids(token_texts: Sequence[str | None], completion: str | None = None) -> list[int]:
    """Ids of numbers and operators: where a carrier's KL looks.

    Args:
      token_texts: what each id writes; None for one that writes nothing.
      completion: not read: every answer may hold all of them.
    """
    return [i for i, text in enumerate(token_texts) if text in _READ]


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows with right answers, each in one of its ways, drawn uniformly.

    Raises:
      ValueError: a prompt that is no problem of this carrier.
    """
    made = []
    for row in rows:
        if not _PROBLEM.fullmatch(row['prompt']):
            raise ValueError(f'no sum: {row["prompt"]!r}')
        terms = [int(word) for word in row['prompt'].split()[::2]]
        ways = row_rng(seed, _RANDOM, row['id']).random(len(terms)) < 0.5
        made.append(with_completion(row, forms.worked(terms, *ways.tolist())))
    return made


def shuffled_rows(rows: Sequence[Row], seed: int, how: str) -> list[Row]:
    """The control that keeps steps and breaks their order; results stay in their rows.

    Args:
      rows: with completions that the filter keeps.
      seed: of the permutations.
      how: 'within' each answer: its steps stand in another order, and one alone has its summands
        exchanged (depends on seed and id alone). 'across': all steps are dealt out anew, and each
        answer keeps their count.

    Raises:
      ValueError: neither.
    """
    return rearranged(rows, seed, _SHUFFLE, how, _within, _across)


def _apart(completion: str) -> tuple[list[str], str]:
    """(steps, what stands behind them)."""
    body, so, result = completion.partition(' so ')
    return body.split(' , '), so + result


def _within(completion: str, rng: np.random.Generator) -> str:
    """Another order of the steps than the one that they have."""
    steps, behind = _apart(completion)
    if len(steps) == 1:
        a, plus, b, equals, c = steps[0].split()
        return ' '.join((b, plus, a, equals, c)) + behind
    orders = list(itertools.permutations(range(len(steps))))[1:]
    return ' , '.join(steps[i] for i in orders[rng.integers(len(orders))]) + behind


def _across(rows: Sequence[Row], rng: np.random.Generator) -> list[str]:
    """All steps dealt out anew; each answer keeps their count and its result."""
    parts = [_apart(row['completion']) for row in rows]
    pool = list(itertools.chain.from_iterable(steps for steps, _ in parts))
    dealt = iter([pool[i] for i in rng.permutation(len(pool))])
    return [' , '.join(itertools.islice(dealt, len(steps))) + behind for steps, behind in parts]


CARRIER = Carrier('tiny_sums', prompts, reject_reason, token_ids, random_rows, shuffled_rows)
