"""dev and report: what is tuned on one is told of the other, and they share nothing.

Two thirds of any list are `report`, every third item is `dev`: an item's split hangs on its place
alone, so that appending to a list moves nothing.
"""

from collections.abc import Sequence
from typing import Any

SPLITS = ('dev', 'report')


def split_names(names: Sequence[Any], split: str) -> tuple:
    """The part of a list that belongs to a split.

    Args:
      names: in a fixed order, without repeats.
      split: 'dev' (every third) or 'report' (the others).

    Raises:
      ValueError: another split, or a name given twice (it could then be in both).
    """
    _check(split)
    if len(set(names)) < len(names):
        raise ValueError('a name is given twice')
    return tuple(n for place, n in enumerate(names) if (place % 3 == 2) == (split == 'dev'))


def of_split(items: Sequence[Any], split: str) -> tuple:
    """Like `split_names`, of records whose own `split`, where it is given, comes first."""
    _check(split)
    return tuple(item for place, item in enumerate(items)
                 if (item.split or ('dev' if place % 3 == 2 else 'report')) == split)


def _check(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split is {" or ".join(SPLITS)}, not {split!r}')
