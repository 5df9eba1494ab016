"""Programs compiled for a topology (topologies.py), without its devices.

A compilation takes seconds to minutes. What it says (memory and the compiled program's text) is
kept in the user's cache, by the lowered program, the topology and the compilers' versions.

Times are a roofline (Williams et al. 2009, doi 10.1145/1498765.1498785): no program is faster than
its arithmetic at the device's peak, its bytes at the memory's bandwidth or what it sends at the
links'; the slowest of the three binds. Real programs take longer.
"""

import gzip
import json
import re
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

from subliminal_jax.runs import hlo, plan
from subliminal_jax.runs.app import cache_dir
from subliminal_jax.runs.errors import UserError
from subliminal_jax.runs.files import sha256_of, written_aside
from subliminal_jax.runs.topologies import Topology, libraries

MEMORY = ('argument', 'output', 'temp', 'alias')


class Program(NamedTuple):
    """A program of a run.

    Attributes:
      name: as people read it.
      trace: arguments -> what is to be lowered, such as `jitted.trace`.
      arguments: shapes with shardings on the topology's devices.
      unit: what one call of it is: a step, a batch, an epoch.
      helps: settings that make it smaller.
      beside: bytes that a run holds on a device while it runs, beyond its own.
      loops: turns of a loop whose number is data, such as that over sampled tokens.
      calls: units of one call, such as an epoch's steps.
      count: how many units a run takes; 0: not known before it runs.
      same: what else tells programs of equal shapes apart.
    """

    name: str
    trace: Callable[..., Any]
    arguments: tuple[Any, ...]
    unit: str
    helps: tuple[str, ...] = ()
    beside: float = 0.0
    loops: int = 1
    calls: int = 1
    count: int = 0
    same: Any = None


class Compiled(NamedTuple):
    """What a compiler made of a program.

    Attributes:
      text: the compiled program, HLO as the compiler prints it; '' where it ran out of memory.
      memory: bytes a device of its arguments, outputs, temporaries, and of outputs that take an
        argument's place.
      asked: bytes a device that it asked for where it ran out of memory, else 0.
      seconds: that compiling took; as it was when it was compiled.
    """

    text: str
    memory: dict[str, int]
    asked: float
    seconds: float

    @property
    def bytes(self) -> float:
        """Bytes a device that it needs."""
        held = self.memory['argument'] + self.memory['output'] + self.memory['temp']
        return self.asked or float(held - self.memory['alias'])


def compiled(program: Program, topology: Topology) -> Compiled:
    """Compiles a program, or reads what that said before.

    Raises:
      UserError: the compiler cannot compile it, and memory is not why.
    """
    lowered = program.trace(*program.arguments).lower()
    key = sha256_of([lowered.as_text(), topology.name, sorted(topology.options.items(), key=str),
                     versions(topology)])
    path = cache_dir() / 'ahead' / f'{key[:32]}.json.gz'
    if path.exists():
        return Compiled(**json.loads(gzip.decompress(path.read_bytes())))
    found = _compile(program, lowered, topology)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_bytes(gzip.compress(json.dumps(found._asdict()).encode()))
    except OSError:
        pass  # a folder that cannot be written leaves it without a cache
    return found


def _compile(program, lowered, topology):
    import jax

    begun = time.perf_counter()
    try:
        made = lowered.compile(compiler_options=topology.options or None)
    except jax.errors.JaxRuntimeError as error:
        asked = asked_for(str(error))
        if asked is None:
            first = str(error).strip().splitlines()[0]
            raise UserError(f'{program.name}: the compiler of {topology.name} fails: {first[:300]}'
                            ) from None
        return Compiled('', dict.fromkeys(MEMORY, 0), asked, time.perf_counter() - begun)
    memory = made.memory_analysis()
    sizes = {name: int(getattr(memory, f'{name}_size_in_bytes')) for name in MEMORY}
    return Compiled(made.as_text(), sizes, 0.0, time.perf_counter() - begun)


SIZES = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_ASKED = (re.compile(r'total memory required[^(]*\(([\d.]+)([KMGT]?)B?\)'),
          re.compile(r'Used ([\d.]+)([KMGT]?)B? of'))


def asked_for(message: str) -> float | None:
    """Bytes that a compiler's error says it needed; None where it is of something else."""
    if 'RESOURCE_EXHAUSTED' not in message and 'out of memory' not in message.lower():
        return None
    for pattern in _ASKED:
        if found := pattern.search(message):
            return float(found[1]) * SIZES[found[2]]
    return float('inf')


def versions(topology: Topology) -> dict[str, str]:
    """Versions of what compiles."""
    names = ('libtpu',) if topology.platform == 'tpu' else ('jax_cuda12_plugin', 'jax_cuda12_pjrt',
                                                            'nvidia_cuda_nvcc_cu12')
    folder = [str(libraries())]
    found = {d.metadata['Name'].lower().replace('-', '_'): d.version
             for d in metadata.distributions(path=folder)}
    return {'jaxlib': metadata.version('jaxlib'), **{n: found.get(n, '') for n in names}}


class Bound(NamedTuple):
    """A program on a topology.

    Attributes:
      name, unit, count, helps: of the program.
      bytes: a device, with what the run holds beside it.
      available: bytes that a device has.
      flops: a device and unit, by type.
      moved, sent: bytes a device and unit, to and from its memory and to its neighbours.
      collectives: of a unit, by kind.
      seconds: of a unit, by what would bind: compute, memory, network.
      compiling: seconds.
    """

    name: str
    unit: str
    count: int
    helps: tuple[str, ...]
    bytes: float
    available: float
    flops: dict[str, float]
    moved: float
    sent: float
    collectives: dict[str, float]
    seconds: dict[str, float]
    compiling: float

    @property
    def fits(self) -> bool:
        """Whether a device has as much."""
        return self.bytes <= self.available

    @property
    def roofline(self) -> float:
        """Seconds of a unit, at least."""
        return max(self.seconds.values(), default=0.0)

    @property
    def binds(self) -> str:
        """What it waits for."""
        return max(self.seconds, key=self.seconds.__getitem__) if self.roofline else ''


def bounds(program: Program, found: Compiled, topology: Topology) -> list[Bound]:
    """A program's bound; of one with a loop over sampled tokens also those of what comes before it
    and of one token."""
    available, needed = float(topology.card.memory_bytes), found.bytes + program.beside
    if not found.text:
        return [Bound(program.name, program.unit, program.count, program.helps, needed, available,
                      {}, 0.0, 0.0, {}, {}, found.seconds)]
    cost = hlo.costs(found.text)

    def bound(name, unit, work, parts=1, count=0):
        seconds = _seconds(work, topology, parts)
        each = lambda values: {kind: value / parts for kind, value in sorted(values.items())}
        return Bound(name, unit, count, program.helps, needed, available, each(work.flops),
                     work.moved / parts, work.sent / parts, each(work.collectives), seconds,
                     found.seconds)

    whole = bound(program.name, program.unit, cost.whole(program.loops), program.calls,
                  program.count)
    if not cost.turn.moved:
        return [whole]
    return [whole, bound(f'{program.name}: prefill', program.unit, cost.once),
            bound(f'{program.name}: decode', 'token', cost.turn)]


def _seconds(work, topology, parts):
    card = topology.card
    slowest = min(card.flops.values())
    compute = sum(value / card.flops.get(kind, slowest) for kind, value in work.flops.items())
    return {'compute': compute / parts, 'memory': work.moved / card.bandwidth / parts,
            'network': work.sent / card.network / parts}


def pace(found: list[Bound], topology: Topology) -> plan.Pace:
    """How fast a run's stages would go, at most."""
    count = len(topology.devices)
    return plan.Pace(
        topology.card.flops['bfloat16'] * count,
        {b.name: (sum(b.flops.values()) * count / b.roofline, b.bytes) for b in found
         if b.roofline and b.flops},
        f"the bfloat16 peak of {topology.name}; minutes by each stage's program's roofline: a run "
        'takes longer')


def render(found: list[Bound], topology: Topology) -> str:
    """The bounds of a topology as a table."""
    card, count = topology.card, len(topology.devices)
    lines = [f'{topology.name}: {count} x {card.title}, {card.memory_bytes / 1e9:.1f} GB each, '
             f'{topology.hosts} host{"s" * (topology.hosts > 1)}; compiled, not run',
             f'{"program":38s} {"GB a device":>12s} {"TFLOP":>9s} {"GB moved":>9s} {"GB sent":>8s} '
             f'{"ms, at least":>12s} a {"":6s} binds']
    for b in found:
        if not b.seconds:
            lines.append(f'{b.name[:38]:38s} {b.bytes / 1e9:12.2f} DOES NOT FIT')
            continue
        sign = '' if b.fits else ' DOES NOT FIT'
        lines.append(
            f'{b.name[:38]:38s} {b.bytes / 1e9:12.2f} {sum(b.flops.values()) / 1e12:9.3f} '
            f'{b.moved / 1e9:9.2f} {b.sent / 1e9:8.2f} {b.roofline * 1e3:12.2f} a {b.unit:6s} '
            f'{b.binds}{sign}')
        if b.collectives:
            lines.append('    ' + ', '.join(f'{value:g} {kind}' for kind, value
                                            in b.collectives.items()))
        if b.count:
            lines.append(f'    {b.count} of them: {b.count * b.roofline / 3600:.2f} h at least')
    return '\n'.join(lines)


def check_fits(found: list[Bound], topology: Topology) -> None:
    """Raises UserError for the program that needs most beyond what a device has."""
    over = [b for b in found if not b.fits]
    if not over:
        return
    worst = max(over, key=lambda b: b.bytes)
    others = len({b.name.partition(':')[0] for b in over}) - 1
    helps = ', '.join([*worst.helps, 'a topology of more devices'])
    beside = f' (and {others} more)' if others else ''
    raise UserError(
        f'{worst.name}{beside} needs {worst.bytes / 1e9:.1f} GB on a device of {topology.name}, '
        f'which has {worst.available / 1e9:.1f}: {(worst.bytes - worst.available) / 1e9:.1f} GB '
        f'too many; what helps: {helps}')


def entry(found: list[Bound]) -> dict[str, Any]:
    """Bounds by program, as they are kept."""
    return {b.name: {
        'unit': b.unit, 'fits': b.fits, 'gigabytes': b.bytes / 1e9,
        'available': b.available / 1e9, 'teraflops': {k: v / 1e12 for k, v in b.flops.items()},
        'moved': b.moved / 1e9, 'sent': b.sent / 1e9, 'collectives': b.collectives,
        'milliseconds': {k: v * 1e3 for k, v in b.seconds.items()},
        'roofline': b.roofline * 1e3, 'binds': b.binds, 'count': b.count,
        'hours': b.count * b.roofline / 3600, 'compiling': b.compiling} for b in found}
