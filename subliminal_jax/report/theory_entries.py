"""How a cell's entry in the theory experiment's results.json is read and named."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Entry = dict[str, Any]
AT = 1e-4  # the eps at which cells are compared
SHORT = {'cross_entropy': 'CE', 'squared_error': 'SE', 'interpolated:0.5': 'half way'}


def name_of(entry: Entry) -> str:
    """The model of a cell, as shown."""
    return f'{entry["model"]} {entry["activation"]}'


def label_of(entry: Entry) -> str:
    """The rest of a cell, as shown."""
    return f'{SHORT.get(entry["loss"], entry["loss"])}, {entry["logits"]}, {entry["inputs"]}'


def floats(values: Sequence[Any]) -> np.ndarray:
    """A list with nulls as an array with NaN."""
    return np.array([np.nan if v is None else v for v in values], float)


def place_of(eps: Sequence[float]) -> int:
    """The index of the eps nearest to 1e-4."""
    return int(np.argmin(np.abs(np.log(floats(eps) / AT))))


def at(entry: Entry, field: str) -> float:
    """A curve's value at the eps nearest to 1e-4."""
    return float(floats(entry[field])[place_of(entry['eps'])])


def chosen(entries: Sequence[Entry], **wanted: str) -> list[Entry]:
    """The entries whose fields are as wanted."""
    return [e for e in entries if all(e[k] == v for k, v in wanted.items())]


def live(entries: Sequence[Entry]) -> list[Entry]:
    """The entries whose A is not zero."""
    return [e for e in entries if e['ratio'][0] is not None]


def span(ends: Sequence[float], digits: int = 2) -> str:
    """'1.99 to 2.00', or one number where both are told the same."""
    if not ends:
        return 'rounding'
    low, high = f'{ends[0]:.{digits}f}', f'{ends[-1]:.{digits}f}'
    return low if low == high else f'{low} to {high}'
