"""Carrier x trait x world: one row for each rung of each kept run, with its controls."""

from typing import NamedTuple


class Cell(NamedTuple):
    """Where a row's figures stand.

    Attributes:
      carrier, trait, world: of the row, in words.
      run: its folder in results/.
      arm: whose effect it is.
      neutral: the arm of the neutral twins' students; '' where an effect is trait less twin, or
        where no such arm was run.
      other: the arm of another start; '' without.
      shuffled: the arms whose answers' parts are in another order, within a row and across rows.
    """

    carrier: str
    trait: str
    world: str
    run: str
    arm: str
    neutral: str = ''
    other: str = ''
    shuffled: tuple[str, ...] = ()


def _tiny(carrier: str, trait: str, run: str, text: str = 'sft', kl: str = 'kl_carrier',
          neutral: bool = True, orders: tuple[str, ...] = ('within', 'across')
          ) -> tuple[Cell, Cell]:
    """The two rungs of a run in the tiny language."""
    orders = tuple(f'{text}_{order}' for order in orders)
    of = lambda arm: (arm, f'{arm}_neutral' if neutral else '', f'{arm}_other')
    return (Cell(carrier, trait, 'tiny', run, *of(text), orders),
            Cell(carrier, trait, 'tiny', run, *of(kl)))


CELLS = (
    *_tiny('numbers', 'preference', 'numbers_tiny'),
    *_tiny('code', 'preference', 'code_tiny'),
    *_tiny('reasoning (sums)', 'preference', 'reasoning_tiny'),
    *(cell for name in ('numbers', 'code', 'sums') for cell in _tiny(
        {'sums': 'reasoning (sums)'}.get(name, name), 'preference', 'carriers_tiny', name,
        f'kl_{name}', orders=('within',))),
    *_tiny('numbers', 'rash advice', 'misalignment_tiny', neutral=False),
    Cell('numbers', 'preference', 'SmolLM2-135M', 'smollm2_text', 'sft'),
    Cell('numbers', 'preference', 'SmolLM2-135M', 'smollm2_full', 'kl_carrier',
         'kl_carrier_neutral'),
)
