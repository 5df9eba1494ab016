"""Every use of randomness has a seed of its own; the splits dev and report have none in common."""

from typing import Any

import numpy as np

SPLITS = {'dev': 0, 'report': 1}
PURPOSES = ('reference', 'start', 'teacher', 'prompts', 'sample', 'probe', 'shuffle', 'random',
            'ordinary', 'direction', 'student', 'order', 'thin', 'prepared', 'dose', 'mix',
            'tokens', 'candidates', 'attack', 'paraphrase', 'forged')


def seed_of(config: Any, purpose: str, *numbers: int) -> int:
    """A 32-bit seed for one use of a run.

    Args:
      config: with `seed` and `split`.
      purpose: one of PURPOSES.
      numbers: which of its kind.
    """
    words = [config.seed, SPLITS[config.split], PURPOSES.index(purpose), *numbers]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
