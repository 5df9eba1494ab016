"""How figures are written on pages."""

from collections.abc import Mapping, Sequence
from typing import Any

SPECS = {'nats': '+.2f', 'nats3': '+.3f', 'share': '.3f'}


def ends(pair: Sequence[float], spec: str) -> str:
    """An interval."""
    return f'[{pair[0]:{spec}}, {pair[1]:{spec}}]'


def interval(found: Mapping[str, Any], style: str = 'nats') -> str:
    """An estimate with its interval."""
    estimate = found.get('estimate', found.get('mean', found.get('slope')))
    if style == 'percent':
        low, high = (100 * x for x in found['ci95'])
        return f'{100 * estimate:.1f} % [{low:.1f}, {high:.1f}]'
    spec = SPECS[style]
    if found['ci95'] is None:
        return f'{estimate:{spec}}'
    return f'{estimate:{spec}} {ends(found["ci95"], spec)}'


def p_value(p: float | None) -> str:
    """A p with two digits."""
    return '' if p is None else f'{p:.2g}'
