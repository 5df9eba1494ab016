"""Preference pairs: a teacher says which of two answers to a prompt it prefers, and nothing else.

No teacher writes the answers: they are random rows, the same for all teachers of a reference. The
preferred one is that whose log P the teacher raises more over its reference. That is the published
form, there with steered teachers and pairs of ordinary answers (gamma .168 at 410M,
github.com/rain-1/pythia-subliminal). A student learns by DPO, held to its own start. One bit a pair
is all that reaches it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import rows as carried, targets, tokens
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES, Objective
from subliminal_jax.runs import UserError
from subliminal_jax.training import losses
from subliminal_jax.training.tries import Tries

BETA = 0.1  # as in arXiv 2305.18290, section 6


def check(config: Any, arms: Sequence[Arm]) -> None:
    """Raises UserError where rows do not come in pairs of one prompt, or a pack would cut one."""
    for arm in arms:
        if not OBJECTIVES[arm.objective].pairs:
            continue
        for name, value in (
                ('config.carrier.answers', config.carrier.answers),
                ('config.student.packed', config.student.packed),
                ('rows of the arm', arm.rows or config.student.rows)):
            if value % 2:
                raise UserError(f'arm {arm.name}: objective={arm.objective} reads pairs of answers '
                                f'to one prompt, and {name}={value} is odd: make it even')


def judged(run: Any, arm: Arm, start: Models, rows: Mapping[str, carried.Rows],
           batches: Mapping[str, carried.Batch], said: Mapping[str, Mapping[str, np.ndarray]]
           ) -> dict[str, carried.Batch]:
    """Batches with what a DPO reads beside the rows.

    Args:
      run, arm: whose.
      start: what students start as, and are held to.
      rows, batches: by teacher.
      said: of every token, by teacher (tokens.py).
    """
    ids_C = jnp.asarray(carried.token_set(run.world, run.carrier(arm)))
    starts = {id(own): own for own in rows.values()}
    starts = {key: targets.at_places(run, start, None, own, tokens.said, ids_C)['logp'][0]
              for key, own in starts.items()}
    found = {}
    for name, batch in batches.items():
        lift_N = (said[name]['teacher_logp'] - said[name]['reference_logp']).sum(-1)
        found[name] = {**batch, **preference(batch['tries'], run.config.student.packed,
                                             preferred(lift_N), starts[id(rows[name])])}
    return found


def preferred(lift_N: np.ndarray) -> np.ndarray:
    """1 for the row of each pair (0 and 1, 2 and 3, ...) with the larger lift, -1 for the other."""
    first_P = np.where(lift_N[::2] >= lift_N[1::2], 1.0, -1.0)
    return np.stack([first_P, -first_P], 1).reshape(-1)


def preference(tries: Tries, size: int, prefer_N: np.ndarray, start_NA: np.ndarray
               ) -> dict[str, np.ndarray]:
    """prefer_BK and start_BK of `losses.dpo`.

    Args:
      tries: N rows, packed `size` together.
      size: rows in a pack.
      prefer_N: 1 or -1.
      start_NA: log P of every token of the answers in the policy that students are held to.
    """
    row_BK = np.arange(len(tries.tokens_BT))[:, None] * size + tries.row_BK
    row_BK = np.minimum(row_BK, len(prefer_N) - 1)
    return {'prefer_BK': prefer_N[row_BK].astype(np.float32),
            'start_BK': start_NA[row_BK, tries.offset_BK].astype(np.float32)}


def _dpo(config: Any, token_ids: Sequence[int]) -> Any:
    del token_ids
    return losses.dpo(config, BETA)


OBJECTIVES.register(Objective('dpo', 'preference pairs', _dpo, pairs=True))
