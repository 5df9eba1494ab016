"""Kinds of unrelated data, side by side: a new one is one file and one registration."""

from subliminal_jax.carriers import code, numbers, reasoning, tiny_code, tiny_numbers, tiny_sums
from subliminal_jax.carriers.carrier import Carrier as Carrier
from subliminal_jax.runs.registry import Registry

CARRIERS = Registry('carrier')
register, carrier = CARRIERS.register, CARRIERS.row

for _known in (numbers.CARRIER, numbers.NUMBER_LISTS, numbers.NUMBER_TURN, tiny_numbers.CARRIER,
               tiny_code.CARRIER, tiny_sums.CARRIER, code.CARRIER, reasoning.CARRIER):
    register(_known)
