"""dev and report: what is tuned on one is told of the other, and they share nothing.

Two thirds of any list are `report`, every third item is `dev`: an item's split hangs on its place
alone, so that appending to a list moves nothing.
"""

from collections.abc import Sequence
from typing import Any

SPLITS = ('dev', 'report')


def of_split(items: Sequence[Any], split: str) -> tuple:
    """The part of a list that belongs to a split.

    Args:
      items: records in a fixed order; an item's own `split`, where it is given, comes first.
      split: 'dev' (every third) or 'report' (the others).

    Raises:
      ValueError: another split.
    """
    _check(split)
    return tuple(item for place, item in enumerate(items)
                 if (item.split or ('dev' if place % 3 == 2 else 'report')) == split)


def _check(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split is {" or ".join(SPLITS)}, not {split!r}')
