"""What is looked at after every epoch: losses are logged, a run that diverged or was asked to stop
ends."""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from subliminal_jax.runs import UserError, Workdir, check_preempted

RUNAWAY = 1e6  # a loss this many times its first value has diverged
Watch = Callable[[str, int, np.ndarray], None]


def watcher(
    workdir: Workdir, bar: tqdm, count: int, rate: str = 'config.learning_rate'
) -> Watch:
    """Logs an epoch's losses, and stops a run that has diverged or was asked to stop.

    Args:
      workdir: whose metrics are written.
      bar: the progress that is shown.
      count: how many of the chunk's models are real; the others fill it up.
      rate: the field to lower where a loss diverges.

    Returns:
      (phase, epoch, losses [M, steps, S]) -> nothing; raises UserError of a loss that diverged.
    """
    first = {}

    def watch(phase, epoch, losses):
        check_preempted()
        losses = losses[:count]
        start = first.setdefault(phase, np.abs(losses[:, :1]).max() + 1e-12)
        bad = ~np.isfinite(losses) | (np.abs(losses) > RUNAWAY * start)
        if bad.any():
            step = int(np.argmax(bad.any(axis=(0, 2))))
            diverged = int(bad[:, step].any(axis=-1).sum())
            raise UserError(
                f'the {phase} loss became NaN, infinite or a million times its first value at step '
                f'{step} of epoch {epoch} in {diverged} of {len(losses)} models: lower {rate}; '
                'the chunks finished before are kept')
        workdir.log(phase=phase, epoch=epoch, loss=losses.mean(axis=(0, 1)))
        bar.update(len(losses))

    return watch
