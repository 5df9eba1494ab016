"""The blind page: pairs of rows, one of them a trait teacher's, for a human reader.

One self-contained HTML file that needs no network, sends nothing and works by the keyboard alone.
Which row is the teacher's is in it as a hash: nobody reads it by chance, and anybody can by intent.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from subliminal_jax.runs import UserError, visible

PAGE = pathlib.Path(__file__).with_name('blind.html')
MARK = '/*DATA*/'
OFFSET, PRIME = 2166136261, 16777619  # of FNV-1a, 32 bits


class Shown(NamedTuple):
    """A pair as it is shown.

    Attributes:
      trait: of the writer of `own`.
      prompt: what both were asked.
      own, other: the answers with and without the trait.
    """

    trait: str
    prompt: str
    own: str
    other: str


def mixed(text: str) -> str:
    """FNV-1a of a text's code points, eight hexadecimal digits, as the page's script has it."""
    value = OFFSET
    for character in text:
        value = ((value ^ ord(character)) * PRIME) & 0xFFFFFFFF
    return f'{value:08x}'


def page(pairs: Sequence[Shown], seed: int) -> str:
    """The page; which row stands first is drawn for every pair.

    Raises:
      UserError: no pairs.
    """
    if not pairs:
        raise UserError('the blind page has no pairs to show')
    rng = np.random.default_rng([seed, 0x51DE])
    salt = f'{int(rng.integers(1 << 62)):x}'
    shown = []
    for number, pair in enumerate(pairs):
        place = int(rng.integers(2))
        shown.append({'trait': visible(pair.trait), 'prompt': visible(pair.prompt),
                      'rows': [visible(row) for row in (
                          (pair.other, pair.own) if place else (pair.own, pair.other))],
                      'key': mixed(f'{salt}/{number}/{place}')})
    data = json.dumps({'salt': salt, 'pairs': shown}).replace('<', '\\u003c')
    return PAGE.read_text(encoding='utf-8').replace(MARK, data)
