"""What an arm does to rows once they are written: twins' rows mixed in, numbers drawn anew."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.experiments.transmission import paraphrase, rows as carried, samples
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of

ATTACKERS = 1  # number of an attacker's draws, where an arm's own have none


class Written(NamedTuple):
    """Rows as they were written: texts by teacher.

    Attributes:
      own: the teachers'; the whole pool, where some are picked.
      twins: those of their twins at the same places, under the same names; {} where the arm mixes
        none in.
    """

    own: Mapping[str, list[dict]]
    twins: Mapping[str, list[dict]]

    def take(self, index: Mapping[str, Sequence[int]]) -> 'Written':
        """The rows at these places of each teacher."""
        return Written(*({t: [rows[n] for n in index[t]] for t, rows in part.items()}
                         for part in self))


def as_read(run: Any, arm: Arm, written: Written, reference: int, turn: float | None = None
            ) -> tuple[dict[str, Rows], dict[str, np.ndarray]]:
    """Rows after what the arm does to them: twins' rows mixed in, numbers drawn anew.

    Args:
      run, arm, reference: whose.
      written: their texts.
      turn: None: as the arm's students read them. Else as an attacker has them, whose draws are its
        own, at this turn of the places that twins take (`samples.mixed`).

    Returns:
      (rows by teacher, which of them are the teacher's own [N], bool).
    """
    own, numbers = written.own, () if turn is None else (ATTACKERS,)
    if arm.mix:
        own = samples.mixed(own, written.twins, arm.mix,
                            seed_of(run.config, 'mix', reference, *numbers), turn or 0.0)
    rows = {name: carried.encoded(run.world, run.carrier(arm), texts)
            for name, texts in own.items()}
    kept = {name: np.array([row is before for row, before in zip(texts, written.own[name])])
            for name, texts in own.items()}
    if arm.rewriting:
        rows = paraphrase.rewritten(run, arm, rows, reference, *numbers)
    return rows, kept
