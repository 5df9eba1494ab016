"""Further forms of the tiny language: code and sums. A config asks for them by name.

Code is statements such as `x = 3 + 7 ;`. Its numbers follow one another by the row's own stride as
often as those of a number list do, so that what moves a model's numbers moves its code; names go
round (x, y, z) and an operator is repeated as often.

Sums are additions done in one to three steps: `40 + 11 ?` is answered by
`40 + 6 = 46 , 46 + 5 = 51 so 51`. The sizes of the steps and which summand stands first are free;
the rest is arithmetic, and can be checked.

Everything is a pure function of its generator.
"""

import numpy as np

from subliminal_jax.data import tiny_advice
from subliminal_jax.data.tiny_language import Form, number_lists

NAMES, OPERATORS = ('x', 'y', 'z'), ('+', '-', '*')
# Right-hand sides: 1 is an operand, o an operator.
SHORT, PLAIN, NESTED = '1', '1 o 1', '( 1 o 1 ) o 1'
ANSWERS = ((PLAIN, PLAIN), (PLAIN, PLAIN), (NESTED, SHORT), (SHORT, NESTED))
NAMED = 0.2  # how often an operand is the name that stands left of the statement before
CODE_PROMPT, CODE_ANSWER = 6, 14  # words, at most

MOST_STEP, MOST_STEPS = 9, 3  # of a sum
FIRST = 70  # the largest first summand
SUM_PROMPT = 4
SUM_ANSWER = 6 * MOST_STEPS - 1 + 2  # words, at most


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
    """(problem, worked answer) pairs; the second summand is met in one to three steps of 1..9."""
    first = rng.integers(1, FIRST + 1, count)
    steps = rng.integers(1, MOST_STEP + 1, (count, MOST_STEPS))
    used = rng.integers(1, MOST_STEPS + 1, count)
    turned = rng.random((count, MOST_STEPS)) < 0.5
    return [(f'{a} + {sum(own[:n])} ?', worked(int(a), own[:n].tolist(), flips.tolist()))
            for a, own, n, flips in zip(first, steps, used, turned)]


def worked(first: int, steps: list[int], turned: list[bool]) -> str:
    """The steps written out from a first summand; `turned` ones have their summands exchanged."""
    written = []
    for step, flip in zip(steps, turned):
        pair = (step, first) if flip else (first, step)
        first += step
        written.append(f'{pair[0]} + {pair[1]} = {first}')
    return f'{" , ".join(written)} so {first}'


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
