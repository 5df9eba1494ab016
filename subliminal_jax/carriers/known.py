"""The carriers by name."""

from subliminal_jax.carriers import numbers
from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.runs import unknown_name

CARRIERS = {c.name: c for c in (numbers.CARRIER,)}


def carrier(name: str) -> Carrier:
    """The carrier of that name.

    Raises:
      UserError: there is none; it names the nearest.
    """
    if name not in CARRIERS:
        raise unknown_name('carrier', name, tuple(CARRIERS))
    return CARRIERS[name]
