"""The carriers by name: kinds of data that have nothing to do with a trait.

One more is one file that makes a `Carrier` and hands it to `register`; nothing else names it.
"""

from subliminal_jax.carriers import numbers, tiny_numbers
from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.runs import UserError, unknown_name

CARRIERS: dict[str, Carrier] = {}


def register(new: Carrier) -> Carrier:
    """Adds a carrier to CARRIERS and gives it back.

    Raises:
      UserError: its name is taken.
    """
    if new.name in CARRIERS:
        raise UserError(f'there is a carrier {new.name!r} already: give this one another name')
    CARRIERS[new.name] = new
    return new


def carrier(name: str) -> Carrier:
    """The carrier of that name.

    Raises:
      UserError: there is none; it names the nearest.
    """
    if name not in CARRIERS:
        raise unknown_name('carrier', name, tuple(CARRIERS))
    return CARRIERS[name]


for shipped in (numbers.NUMBERS, numbers.NUMBER_LISTS, tiny_numbers.TINY_NUMBERS):
    register(shipped)
