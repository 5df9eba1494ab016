"""Kinds of unrelated data, side by side: a new one is one file and one registration."""

from subliminal_jax.carriers import numbers, tiny_numbers
from subliminal_jax.carriers.carrier import Carrier as Carrier
from subliminal_jax.runs import UserError, unknown_name

CARRIERS: dict[str, Carrier] = {}


def register(carrier: Carrier) -> Carrier:
    """Adds a carrier under its name and returns it.

    Raises:
      UserError: the name is taken.
    """
    if carrier.name in CARRIERS:
        raise UserError(f'there is a carrier called {carrier.name!r} already')
    CARRIERS[carrier.name] = carrier
    return carrier


def carrier(name: str) -> Carrier:
    """The carrier of that name.

    Raises:
      UserError: there is none; it names the nearest.
    """
    if name not in CARRIERS:
        raise unknown_name('carrier', name, tuple(CARRIERS))
    return CARRIERS[name]


for _known in (numbers.CARRIER, numbers.NUMBER_LISTS, numbers.NUMBER_TURN, tiny_numbers.CARRIER):
    register(_known)
