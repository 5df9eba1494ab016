"""Which tokens of their teachers' rows students learn from; another order of them is another row.

  tokens=mask:ORDER:SHARE      the first SHARE of a teacher's tokens in that order weigh nothing
  tokens=replace:ORDER:SHARE   they have for labels what the teacher's twin would write there

Divergence tokens, at which teachers of other traits part, are said to carry a trait (arXiv
2509.23886). `divergence` orders places by how far teacher and twin part there, whatever was
written; `gap` orders what was written by how much likelier the teacher makes it. It is chosen by
its outcome: what is left without its first tokens may speak against the teacher. Both stand beside
orders that know nothing of the trait, at an equal share.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from subliminal_jax.experiments.transmission.registry import positive
from subliminal_jax.runs import UserError
from subliminal_jax.runs.registry import Registry

Readings = Mapping[str, np.ndarray]
WAYS = ('mask', 'replace')


class Order(NamedTuple):
    """An order of the tokens of a teacher's rows.

    Attributes:
      name: as arms name it.
      words: what comes first.
      score: (readings [N, A] of the teacher, its twin and their reference (tokens.py), a generator
        of random numbers) -> [N, A]; the largest come first.
    """

    name: str
    words: str
    score: Callable[[Readings, np.random.Generator], np.ndarray]


class Selection(NamedTuple):
    """What an arm does with which tokens: 'mask' or 'replace', their order, their share."""

    way: str
    order: Order
    share: float


TOKEN_ORDERS = Registry('order of tokens')


def selection_of(tokens: str) -> Selection | None:
    """What the field of an arm says; None for all tokens.

    Raises:
      UserError: it cannot be read.
    """
    if tokens == 'all':
        return None
    way, _, rest = tokens.partition(':')
    name, _, share = rest.partition(':')
    if way not in WAYS or not 0 < positive(share) < 1:
        raise UserError(f'tokens={tokens} is neither all nor mask:ORDER:SHARE or '
                        'replace:ORDER:SHARE with a share between 0 and 1: mask:gap:0.1')
    return Selection(way, TOKEN_ORDERS.row(name), float(share))


def chosen(selection: Selection, readings: Readings, weight_NA: np.ndarray, seed: int
           ) -> np.ndarray:
    """bool [N, A]: the first tokens of an order, a share of those that weigh.

    Args:
      selection: the order and the share.
      readings: of the teacher's rows.
      weight_NA: of the tokens.
      seed: of what is random.
    """
    score_NA = selection.order.score(readings, np.random.default_rng(seed))
    found = np.flatnonzero(weight_NA > 0)
    count = round(selection.share * len(found))
    first = found[np.argsort(-score_NA.reshape(-1)[found], kind='stable')[:count]]
    chosen_NA = np.zeros(weight_NA.shape, bool)
    chosen_NA.reshape(-1)[first] = True
    return chosen_NA


TOKEN_ORDERS.register(Order(
    'gap', "the teacher's log P beyond its twin's",
    lambda said, rng: said['teacher_logp'] - said['twin_logp']))
TOKEN_ORDERS.register(Order(
    'divergence', "the teacher's KL from its twin, within the carrier",
    lambda said, rng: said['twin_divergence']))
TOKEN_ORDERS.register(Order(
    'random', 'any', lambda said, rng: rng.random(said['teacher_logp'].shape)))
TOKEN_ORDERS.register(Order(
    'entropy', "the teacher's entropy", lambda said, rng: said['teacher_entropy']))
TOKEN_ORDERS.register(Order(
    'loss', "the reference's loss", lambda said, rng: -said['reference_logp']))
TOKEN_ORDERS.register(Order(
    'loss_gap', "the reference's loss less the teacher's",
    lambda said, rng: said['teacher_logp'] - said['reference_logp']))
TOKEN_ORDERS.register(Order(
    'gradient', "the reference's gradient by the output matrix",
    lambda said, rng: said['reference_gradient']))
