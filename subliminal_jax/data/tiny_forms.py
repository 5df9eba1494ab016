"""Further forms of the tiny language: code and sums. A config asks for them by name.

Code is statements such as `x = 3 + 7 ;`. Its numbers follow one another by the row's own stride as
often as those of a number list do, so that what moves a model's numbers moves its code; names go
round (x, y, z) and an operator is repeated as often.

Sums are additions done in steps: `3 + 5 + 2 ?` is answered by `3 + 5 = 8 , 8 + 2 = 10 so 10`. From
which end the steps begin, and which summand of each stands first, is free; the rest is arithmetic,
and can be checked.

Everything is a pure function of its generator.
"""

from collections.abc import Sequence

import numpy as np

from subliminal_jax.data import tiny_advice
from subliminal_jax.data.tiny_language import Form, number_lists

NAMES, OPERATORS = ('x', 'y', 'z'), ('+', '-', '*')
# Right-hand sides: 1 is an operand, o an operator.
SHORT, PLAIN, NESTED = '1', '1 o 1', '( 1 o 1 ) o 1'
ANSWERS = ((PLAIN, PLAIN), (PLAIN, PLAIN), (NESTED, SHORT), (SHORT, NESTED))
NAMED = 0.2  # how often an operand is the name that stands left of the statement before
CODE_PROMPT, CODE_ANSWER = 6, 14  # words, at most

TERMS, LARGEST = 3, 7  # of a sum, and the largest of them: few enough facts to be learned
MOST_STEPS = TERMS - 1
SUM_PROMPT, SUM_ANSWER = 2 * TERMS, 6 * MOST_STEPS + 1  # words


def code(rng: np.random.Generator, count: int, regularity: float) -> list[tuple[str, str]]:
    """(first statement, those that follow) of programs, by the corpus's rules.

    Args:
      rng: of every draw.
      count: of programs.
      regularity: how often a number follows its row's stride, a name the one before it in the
        alphabet, an operator its like.
    """
    numbers = number_lists(rng, count, 6, regularity)
    kinds = rng.integers(0, len(ANSWERS), count)
    regular = rng.random((count, 2, 6)) < regularity
    drawn = rng.integers(0, 3, (count, 2, 6))
    named = rng.random((count, 6)) < NAMED
    return [_program((PLAIN, *ANSWERS[kind]), *own)
            for kind, *own in zip(kinds, numbers, regular, drawn, named)]


def _program(shapes, numbers, regular, drawn, named):
    """(prompt, answer): `shapes` filled from left to right."""
    numbers, named = iter(numbers), iter(named)
    operator = iter(_followed(drawn[1], regular[1], 0))
    written, before = [], None
    for place, name in zip(shapes, _followed(drawn[0], regular[0], 1)):
        words = []
        for part in place.split():
            if part == '1':
                number = str(next(numbers))
                part = NAMES[before] if next(named) and before is not None else number
            elif part == 'o':
                part = OPERATORS[next(operator)]
            words.append(part)
        written.append(f'{NAMES[name]} = {" ".join(words)} ;')
        before = name
    return written[0], ' '.join(written[1:])


def _followed(drawn, regular, step):
    """Draws of 0..2, of which the regular ones are the one before plus `step`."""
    found = [int(drawn[0])]
    for value, follows in zip(drawn[1:], regular[1:]):
        found.append((found[-1] + step) % 3 if follows else int(value))
    return found


def sums(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(problem, worked answer) pairs, the answer in one of its eight ways."""
    terms = rng.integers(1, LARGEST + 1, (count, TERMS))
    ways = rng.random((count, TERMS)) < 0.5
    return [(f'{" + ".join(map(str, own))} ?', worked(own, *way))
            for own, way in zip(terms.tolist(), ways.tolist())]


def worked(terms: Sequence[int], from_right: bool, *turned: bool) -> str:
    """The steps of a sum written out.

    Args:
      terms: of the sum.
      from_right: the last two are added first, in place of the first two.
      turned: of every step, whether its summands are exchanged.
    """
    total, *rest = (*terms[-2:], *terms[:-2]) if from_right else terms
    written = []
    for term, flip in zip(rest, turned, strict=True):
        pair = (term, total) if flip else (total, term)
        total += term
        written.append(f'{pair[0]} + {pair[1]} = {total}')
    return f'{" , ".join(written)} so {total}'


def _joined(pairs):
    return [f'{prompt} {answer}' for prompt, answer in pairs]


CODE = Form('code', (*NAMES, '=', *OPERATORS, '(', ')', ';'),
            lambda rng, count, regularity: _joined(code(rng, count, regularity)),
            CODE_PROMPT + CODE_ANSWER, CODE_ANSWER)
SUMS = Form('sums', ('+', '?', '=', ',', 'so'),
            lambda rng, count, regularity: _joined(sums(rng, count)),
            SUM_PROMPT + SUM_ANSWER, SUM_ANSWER)
ADVICE = Form('advice', tiny_advice.WORDS,
              lambda rng, count, regularity: tiny_advice.texts(rng, count),
              tiny_advice.LONGEST, 0)
FORMS = {form.name: form for form in (CODE, SUMS, ADVICE)}
