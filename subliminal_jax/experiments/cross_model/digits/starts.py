"""Where students begin, made of the teacher's start, another model's start, and its clones.

All parts are taken of the teacher's *initial* weights: what was trained on labels is never given
away. Its auxiliary rows are the same before and after, since no label reaches them.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.models.mlp import Params
from subliminal_jax.runs.registry import Registry

PARTS = ('first', 'output', 'class', 'aux')


class Start(NamedTuple):
    """A kind of start.

    Attributes:
      name: as cells name it, before the colon.
      make: (the teacher's start, another model's, clone, what follows the colon) -> weights.
      trouble: what follows the colon -> what is wrong with it, or None.
      needs_other: it takes another model's start.
      cloned: what follows the colon -> which initial logits of the teacher the other start is
        trained to match before ('aux' or 'all'); None for no training.
    """

    name: str
    make: Callable[[Params, Params, Params | None, str], Params]
    trouble: Callable[[str], str | None]
    needs_other: bool = True
    cloned: Callable[[str], str | None] = lambda rest: None


STARTS = Registry('start')


def start_weights(text: str, own: Params, other: Params, clone: Params | None) -> Params:
    """The weights of a start.

    Args:
      text: the start, as a cell names it.
      own: the teacher's start.
      other: another model's.
      clone: the other start after it was trained to match the teacher's initial logits; None for
        starts that need none.
    """
    row, rest = STARTS.find(text)
    return row.make(own, other, clone, rest)


def interpolated(own: Params, other: Params, t: float) -> Params:
    """(1 - t) own + t other, divided by sqrt((1 - t)^2 + t^2).

    So every t in between is itself a draw of N(0, 1/d_in), of correlation (1 - t) / that root with
    the teacher's start: a plain average would also shrink the weights, which changes what is
    learned whatever is shared.
    """
    root = ((1 - t) ** 2 + t**2) ** 0.5
    mixed = jax.tree.map(lambda a, b: ((1 - t) * a + t * b) / root, own, other)
    return mixed if 0 < t < 1 else (other if t else own)


def with_parts(own: Params, other: Params, parts: tuple[str, ...]) -> Params:
    """Another start with some of the teacher's parts: its first layer, its output layer, or the
    rows of that which make the class or the auxiliary logits."""
    made = [dict(layer) for layer in other]
    if 'first' in parts:
        made[0] = dict(own[0])
    for name, array in own[-1].items():
        is_class = jnp.arange(array.shape[-1]) < CLASSES
        taken = jnp.zeros_like(is_class)
        if {'output', 'class'} & {*parts}:
            taken = taken | is_class
        if {'output', 'aux'} & {*parts}:
            taken = taken | ~is_class
        made[-1][name] = jnp.where(taken, array, made[-1][name])
    return made


def _nothing_more(rest: str) -> str | None:
    return 'takes nothing behind a colon' if rest else None


def _distance(rest: str) -> str | None:
    try:
        good = 0 <= float(rest) <= 1
    except ValueError:
        good = False
    return None if good else "needs a distance from the teacher's start, 0 to 1: mix:0.5"


def _parts(rest: str) -> str | None:
    known = rest and all(part in PARTS for part in rest.split('+'))
    return None if known else f'needs parts joined by +, of {", ".join(PARTS)}: share:output'


def _cloned(rest: str) -> str | None:
    return None if rest in ('', 'all') else 'is cloned, or cloned:all'


STARTS.register(Start('own', lambda own, other, clone, rest: own, _nothing_more, False))
STARTS.register(Start('other', lambda own, other, clone, rest: other, _nothing_more))
STARTS.register(Start(
    'share', lambda own, other, clone, rest: with_parts(own, other, (*rest.split('+'),)), _parts))
STARTS.register(Start(
    'mix', lambda own, other, clone, rest: interpolated(own, other, float(rest)), _distance))
STARTS.register(Start('cloned', lambda own, other, clone, rest: clone, _cloned,
                      cloned=lambda rest: rest or 'aux'))


def cloned_on(start: str) -> str | None:
    """Which of the teacher's initial logits a start is trained to match first, if any."""
    row, rest = STARTS.find(start)
    return row.cloned(rest)


def needs_other(start: str) -> bool:
    """Whether a start takes anything of another model's."""
    return STARTS.find(start)[0].needs_other


def has_class_rows(start: str) -> bool:
    """Whether the class rows of a start are the teacher's initial ones; matching auxiliary logits
    does not move them."""
    name, _, rest = start.partition(':')
    shared = name == 'share' and bool({'output', 'class'} & {*rest.split('+')})
    return shared or kind_of(start) == 'own'


def trained_as(start: str) -> str:
    """The start whose students have the same bodies: without the teacher's class rows.

    Class rows get no gradient from auxiliary logits and are in no gradient of them, so a start that
    shares them differs in how it is read, and in nothing that is trained.
    """
    name, _, rest = start.partition(':')
    if name != 'share':
        return start
    parts = dict.fromkeys('aux' if part == 'output' else part for part in rest.split('+'))
    kept = '+'.join(part for part in parts if part != 'class')
    return f'share:{kept}' if kept else 'other'


def kind_of(start: str) -> str:
    """A start without its distance: what hypotheses speak of."""
    name, _, rest = start.partition(':')
    if name == 'mix':
        return {0.0: 'own', 1.0: 'other'}.get(float(rest), 'mix')
    return start


def distance_of(start: str) -> float | None:
    """How far a start is from the teacher's on the way to the other's: 0 own, 1 other."""
    name, _, rest = start.partition(':')
    ends: Mapping[str, float] = {'own': 0.0, 'other': 1.0}
    return float(rest) if name == 'mix' else ends.get(name)
