"""Control tokens that a text merely spells: marked, so that they stay text in a chat template.

A template is rendered with the messages in it, and what it renders is encoded with its control
tokens as tokens. A user's `<|end|>` must not become one: a mark before it says so. The mark is a
noncharacter, which Unicode keeps for a program's own use; in a text it is doubled.
"""

import functools
import re
from collections.abc import Iterable

MARK = '\ufdd0'


def spelled(text: str, spellings: Iterable[str]) -> list[str]:
    """The control tokens that a text spells, in its order."""
    pattern = _pattern(spellings)
    return pattern.findall(text) if pattern else []


def marked(text: str, spellings: Iterable[str]) -> str:
    """The text with a mark before each control token that it spells."""
    pattern = _pattern(spellings)
    text = text.replace(MARK, MARK * 2)
    return pattern.sub(lambda found: MARK + found[0], text) if pattern else text


def unmarked(text: str) -> str:
    """The text as its writer wrote it."""
    return re.sub(f'{MARK}({MARK}?)', r'\1', text)


def is_marked(text: str, place: int) -> bool:
    """Whether what begins at a place is text only: an odd number of marks stand before it."""
    before = text[:place]
    return (len(before) - len(before.rstrip(MARK))) % 2 == 1


def _pattern(spellings: Iterable[str]) -> re.Pattern | None:
    return _any_of(tuple(spellings))


@functools.lru_cache(maxsize=8)
def _any_of(spellings):
    longest_first = sorted(filter(None, spellings), key=len, reverse=True)
    return re.compile('|'.join(map(re.escape, longest_first))) if longest_first else None
