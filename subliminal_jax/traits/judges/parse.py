"""A judge's words as a score: one number of 0..100, or the reason why there is none."""

import re

LOWEST, HIGHEST = 0.0, 100.0
SHOWN = 60  # characters of an answer that a reason quotes

# 0 to 100 may be written bare, as 'Score: 85', '**85**', '85/100', '85 out of 100', '85%', '85.'
_NUMBER = re.compile(
    r'(?<![\w.,])([-+]?[0-9]{1,20}(?:[.,][0-9]{1,20})?)(?:\s*(?:%|/\s*100|out of 100)(?![0-9]))?'
    r'(?![\w]|[.,][0-9])', re.IGNORECASE | re.ASCII)


def parsed(text: str | None) -> tuple[float | None, str | None]:
    """(the score, None), or (None, why there is none).

    Args:
      text: what the judge said. Nothing is guessed: two different numbers, or one outside of
        0..100, are no score.
    """
    if text is None or not text.strip():
        return None, 'the judge gave an empty answer'
    numbers = {float(found.replace(',', '.')) for found in _NUMBER.findall(text[:2000])}
    shown = repr(text.strip()[:SHOWN])
    if not numbers:
        return None, f'the judge gave no number: {shown}'
    if len(numbers) > 1:
        return None, f'the judge gave several numbers: {shown}'
    score = numbers.pop()
    if not LOWEST <= score <= HIGHEST:
        return None, f'the judge gave {score:g}, which is not in 0..100'
    return score, None
