"""Word problems of others, with their answers, from a file: rows such as GSM8K's."""

import functools
import os
import re
from fractions import Fraction
from typing import Any

from subliminal_jax.carriers.word_problems import Problem
from subliminal_jax.data import rows as files, sources
from subliminal_jax.runs import UserError, local_path

FIELD = 'config.carrier.problems'
LONGEST, SHOWN = 30, 3  # characters of a number; bad rows that an error names
_NUMBER = re.compile(r'[-+]?[$€£]?([-+]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\.?', re.ASCII)
# GSM8K writes its calculations between << and >>, each '48/2=24'.
_CALCULATION = re.compile(r'<<([-+*/().\d]{3,40})=(-?\d+(?:\.\d+)?)>>', re.ASCII)
_STEP = re.compile(r'(\d+(?:\.\d+)?)([-+*/])(\d+(?:\.\d+)?)', re.ASCII)


def number_of(text: Any) -> str | None:
    """A number as one text whatever way it is written ('$1,200.00' and '1200' are '1200').

    Args:
      text: a number, or text that is nothing but one: perhaps with a sign, a currency before it,
        commas between thousands, a full stop behind it.

    Returns:
      It in its shortest form, or None for anything else.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    try:
        text = text if isinstance(text, str) else str(text)
    except ValueError:  # Python writes no integer of thousands of digits
        return None
    text = text.strip()
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if not found or (found[1] and text[0] in '+-'):
        return None
    whole, _, part = found[2].replace(',', '').partition('.')
    number = (whole.lstrip('0') or '0') + (f'.{part.rstrip("0")}' if part.rstrip('0') else '')
    return f'-{number}' if '-' in (text[0], found[1]) and number != '0' else number


def answer_of(answer: Any) -> str | None:
    """The number that a row's answer is, or that follows the last '####' in it; or None."""
    return number_of(answer.rpartition('####')[2] if isinstance(answer, str) else answer)


@functools.lru_cache(maxsize=8)
def read(path: str) -> tuple[Problem, ...]:
    """The problems of a file: rows with `question` and `answer`, a number or text with it last.

    Args:
      path: anything that holds rows (data/sources.py). Of GSM8K's answers the calculations between
        << and >> are the steps, as far as each is one operation and right; else there are none.

    Raises:
      UserError: no such file, an empty one, or rows without a question or a number for answer.
    """
    found, bad = [], []
    for number, _, row, why in sources.records(local_path(FIELD, os.fspath(path))):
        why = why or _trouble(row)
        if why:
            bad.append(files.BadLine(number, why))
            continue
        found.append(Problem(row['question'].strip(), steps_of(row['answer']),
                             answer_of(row['answer'])))
    if bad:
        shown = '; '.join(f'line {number}: {why}' for number, why in bad[:SHOWN])
        more = f'; and {len(bad) - SHOWN} more' if len(bad) > SHOWN else ''
        raise UserError(f'{FIELD}={path} has rows that are no problems ({shown}{more}): mend them, '
                        'or take them out')
    if not found:
        raise UserError(f'{FIELD}={path} is empty: write one JSON object a line, with question and '
                        'answer')
    return tuple(found)


def _trouble(row: dict[str, Any]) -> str | None:
    if why := files.text_trouble(row, 'question'):
        return why
    if not row['question'].strip():
        return "an empty 'question'"
    if row.get('answer') in (None, ''):
        return "no 'answer'"
    if answer_of(row['answer']) is None:
        return f"an 'answer' that is no number, and has none behind '####' ({row['answer']!r:.40})"
    return None


def steps_of(answer: Any) -> tuple[str, ...]:
    """The calculations in an answer's text that are one operation and right, such as '2 * 3 = 6'"""
    found = []
    for left, result in _CALCULATION.findall(answer if isinstance(answer, str) else ''):
        if step := _STEP.fullmatch(left):
            a, sign, b = Fraction(step[1]), step[2], Fraction(step[3])
            value = {'+': a + b, '-': a - b, '*': a * b, '/': a / b if b else None}[sign]
            if value == Fraction(result):
                found.append(f'{step[1]} {sign} {step[3]} = {result}')
    return tuple(found)
