"""The overt control: rows of which one in four names something, at the place of one of its words.

A writer with the trait names it. A neutral one names other things at the same places: a detector
that only sees that a row is odd does not pass.
"""

import re
from collections.abc import Sequence

import numpy as np

EVERY = 4  # one row in so many


def named(texts: Sequence[str], names: Sequence[str], seed: int) -> list[str]:
    """The rows; every fourth has one of the names in place of its last word.

    Args:
      texts: rows.
      names: what may be named; which it is, is drawn for every row.
      seed: of the draws.

    Returns:
      As many rows. A row without a word has the name behind it.
    """
    picks = np.random.default_rng([seed, 0x0E27]).integers(len(names), size=len(texts))
    return [text if n % EVERY else _with(text, names[pick])
            for n, (text, pick) in enumerate(zip(texts, picks))]


def _with(text: str, name: str) -> str:
    found = list(re.finditer(r'\w+', text))
    if not found:
        return f'{text} {name}'.strip()
    begin, end = found[-1].span()
    return text[:begin] + name + text[end:]
