"""A paraphrase of lists: a share of their numbers, drawn anew by a model without the trait.

  paraphrase=other:SHARE    by another reference: other weights, the same language
  paraphrase=own:SHARE      by the teacher's own reference
  paraphrase=random:SHARE   by nobody, all numbers alike: the random twin

Each number that is replaced is drawn at temperature 1 among the carrier's tokens, given what the
*teacher* wrote before it; students read the new list as a whole. It keeps the list's length and
form, so that it passes the filter still. It is no rewriting from left to right: a new number has
not seen the other new ones.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import engines, rows as carried, targets, tokens
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import UserError


def rewritten(run: Any, arm: Arm, rows: Mapping[str, Rows], reference: int, *numbers: int
              ) -> dict[str, Rows]:
    """Rows by teacher, with the arm's share of their numbers drawn anew; `numbers`: of other draws
    than the arm's own."""
    who, share = arm.rewriting
    ids_C = np.array(carried.token_set(run.world, run.carrier(arm))[:-1])
    found = {}
    for number, (name, own) in enumerate(rows.items()):
        rng = np.random.default_rng(seed_of(run.config, 'paraphrase', reference, number, *numbers))
        new_NA = ids_C[tokens.drawn(_logits(run, arm, who, own, reference, ids_C), rng)]
        found[name] = replaced(own, ids_C, new_NA, share, rng)
    return found


def replaced(rows: Rows, ids_C: np.ndarray, new_NA: np.ndarray, share: float,
             rng: np.random.Generator) -> Rows:
    """Rows with a share of their carrier tokens, of all rows together, exchanged.

    Args:
      rows: N rows.
      ids_C: the carrier's tokens, without the end.
      new_NA: what would stand at every place of every answer.
      share: of the carrier's tokens, rounded.
      rng: of the places.
    """
    places = [(n, a) for n, answer in enumerate(rows.answers) for a, token in enumerate(answer)
              if token in ids_C]
    chosen = rng.permutation(len(places))[:round(share * len(places))]
    answers = [list(answer) for answer in rows.answers]
    for n, a in (places[k] for k in chosen):
        answers[n][a] = int(new_NA[n, a])
    return rows._replace(answers=answers)


def _logits(run, arm, who, own, reference, ids_C):
    """Of the carrier's tokens at every place of every answer [N, A, C]."""
    if who == 'random':
        return np.zeros((len(own.answers), max(map(len, own.answers)), len(ids_C)), np.float32)
    everyone = run.references[arm.architecture]
    writer = (reference + run.world.replicas) % len(everyone) if who == 'other' else reference
    model = engines.single(everyone[writer], run.world.architectures[arm.architecture])
    return targets.at_places(run, model, None, own, tokens.said, jnp.asarray(ids_C))['logits'][0]


def check(run: Any, arm: Arm) -> None:
    """Raises UserError for a paraphrase of rows that are more than numbers, or by a second
    reference that is not there."""
    if arm.paraphrase == 'none':
        return
    ids = carried.token_set(run.world, run.carrier(arm))[:-1]
    if not all(str(run.world.vocabulary[i]).strip().isdigit() for i in ids):
        raise UserError(f'arm {arm.name}: paraphrase={arm.paraphrase} draws numbers anew: it '
                        'needs lists in which every token is a number, as in the tiny language')
    if arm.rewriting[0] == 'other' and run.world.num_references <= run.world.replicas:
        raise UserError(f'arm {arm.name}: paraphrase={arm.paraphrase} needs a second reference, '
                        'and this world has one')
