"""What several hosts decide together: to save, to stop, that they are no longer the same.

It goes through the devices, so that all know it at the same step.
"""

import time
from collections.abc import Mapping
from typing import Any

from subliminal_jax.runs.hosts import Agreed, differs, several

ASK_SECONDS = 1.0  # between two questions, about: a machine that is taken away says so 30 s before


def gathered(values: Any) -> Any:
    """What every host has: NumPy [hosts, ...]. All have to ask; it waits for the devices."""
    import numpy as np

    if not several():
        return np.asarray(values)[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(values))).reshape(
        -1, *np.shape(values))


class Votes:
    """What any host wants, known to all at the same step.

    To ask is to wait for the devices, so they ask about once a second by the slowest host's clock:
    seldom where steps are fast, after every step where one takes seconds.
    """

    def __init__(self) -> None:
        self._pause, self._steps, self._asked = 1, 0, time.monotonic()

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """The flags, true where they are on any host; all false where nobody was asked.

        All hosts have to call it after every step; of one host the flags come back.
        """
        if not several():
            return flags
        import numpy as np

        self._steps += 1
        if self._steps < self._pause:
            return (False,) * len(flags)
        took = (time.monotonic() - self._asked) / self._steps
        table = gathered(np.array([*flags, took], np.float32))
        self._pause = pause(float(table[:, -1].max()))
        self._steps, self._asked = 0, time.monotonic()
        return tuple((table[:, :-1] > 0).any(0).tolist())


def pause(seconds: float) -> int:
    """After how many steps of so many seconds hosts ask again: the same number on all of them."""
    return int(min(max(ASK_SECONDS / max(seconds, 1e-9), 1), 1_000))


def check_same(facts: Mapping[str, str]) -> None:
    """Compares SHA-256 sums, by what they are of, between all hosts; all have to ask.

    Raises:
      Agreed: a host has another; it names the first that has.
    """
    if not several():
        return
    import numpy as np

    mine = np.array([list(bytes.fromhex(digest)) for digest in facts.values()], np.int32)
    table = [dict(zip(facts, (bytes(row).hex() for row in theirs.astype(np.uint8))))
             for theirs in gathered(mine)]
    for number, theirs in enumerate(table):
        if line := differs(number, theirs, table[0]):
            raise Agreed(line)
