"""What a run would cost, before it is started: `--dry_run`, and refused where it cannot end."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from subliminal_jax.runs.errors import UserError

LONGEST = 365 * 24 * 3600.0  # seconds of a run that is started
SURELY = 1e11  # FLOP/s: what takes less than LONGEST at it is not measured against this machine
ROUGH = 1.5  # an estimate of memory may be so many times too high


class Stage(NamedTuple):
    """A stage's cost.

    Attributes:
      name: as people should read it.
      flops: arithmetic, 2 a multiply-add.
      peak_bytes: the most memory held at once.
      efficiency: the share of a large matrix product's rate that the stage reaches.
      program: the beginning of the name of the program that does most of it (runs/ahead.py).
    """

    name: str
    flops: float
    peak_bytes: float
    efficiency: float = 1.0
    program: str = ''


def measured_rate() -> float:
    """FLOP/s of a float32 matrix product on the default device, best of three (half a second)."""
    import time

    import jax
    import jax.numpy as jnp

    size = 2048
    product = jax.jit(lambda a: a @ a)
    a = jnp.ones((size, size), jnp.float32)
    best = float('inf')
    for _ in range(4):
        begun = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


class Pace(NamedTuple):
    """How fast stages go on a topology: no faster than their programs' rooflines.

    Attributes:
      rate: FLOP/s of all its devices at their bfloat16 peak.
      programs: FLOP/s of all devices and bytes a device, by the name of a program.
      source: of these, in words.
    """

    rate: float
    programs: dict[str, tuple[float, float]]
    source: str

    def of(self, stages: Sequence[Stage]) -> list[Stage]:
        """Stages at the pace of their programs; one without, at that of the first."""
        return [self._one(stage) for stage in stages]

    def _one(self, stage):
        named = [found for name, found in self.programs.items()
                 if stage.program and name.startswith(stage.program)]
        rate, held = named[0] if named else next(iter(self.programs.values()))
        return stage._replace(efficiency=rate / self.rate, peak_bytes=held)


def render(stages: Sequence[Stage], rate: float,
           source: str = 'measured here with one matrix product') -> str:
    """The stages as a table; times assume the given rate (FLOP/s) and are estimates."""
    lines = [f'{"stage":40s} {"TFLOP":>10s} {"peak GB":>8s} {"minutes":>8s}']
    for stage in stages:
        minutes = stage.flops / stage.efficiency / rate / 60
        lines.append(f'{stage.name[:40]:40s} {stage.flops / 1e12:10.2f} '
                     f'{stage.peak_bytes / 1e9:8.2f} {minutes:8.1f}')
    total = sum(s.flops for s in stages)
    minutes = sum(s.flops / s.efficiency for s in stages) / rate / 60
    peak = max(s.peak_bytes for s in stages)
    lines.append(f'{"total":40s} {total / 1e12:10.2f} {peak / 1e9:8.2f} {minutes:8.1f}')
    lines.append(f'times at {rate / 1e9:.0f} GFLOP/s, {source}')
    return '\n'.join(lines)


def check(stages: Sequence[Stage]) -> None:
    """Refuses a run that cannot end on this machine, before anything is made.

    Raises:
      UserError: it would take over a year, or, on a CPU, far more memory than there is.
    """
    if not stages:
        return
    largest = max(stages, key=lambda stage: stage.peak_bytes)
    free = available_memory()
    # JAX is asked last: whoever asks it fixes its devices, which an experiment may still choose
    if free is not None and largest.peak_bytes > ROUGH * free and _on_host():
        raise UserError(
            f'this run needs about {largest.peak_bytes / 1e9:.3g} GB of memory at once '
            f'({largest.name}), and {free / 1e9:.3g} GB are free: make it smaller (--dry_run shows '
            'every stage)')
    work = sum(s.flops / s.efficiency for s in stages)
    if work > SURELY * LONGEST and (seconds := work / measured_rate()) > LONGEST:
        raise UserError(
            f'this run would take about {seconds / (24 * 3600):.3g} days here, and one of over '
            f'{LONGEST / (24 * 3600):.0f} is not started: make it smaller (--dry_run shows every '
            'stage)')


def _on_host() -> bool:
    import jax

    return jax.default_backend() == 'cpu'


def available_memory() -> int | None:
    """Bytes of host memory that a program may still take, or None where that is unknown.

    A container's own limit (control groups, version 2) counts too.
    """
    try:
        with open('/proc/meminfo', encoding='ascii') as file:
            free = next(int(line.split()[1]) * 1024 for line in file
                        if line.startswith('MemAvailable:'))
    except (OSError, ValueError, StopIteration):
        try:
            free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        except (OSError, ValueError):
            return None
    try:
        limit, used = (int(pathlib.Path(f'/sys/fs/cgroup/memory.{name}').read_text())
                       for name in ('max', 'current'))
    except (OSError, ValueError):  # no limit is spelled "max"
        return free
    return min(free, max(limit - used, 0))
