"""Accelerators that programs can be compiled for without having them.

A topology is CARD:SHAPE: `v5e:2x4` is eight TPU v5e chips, `h100:8` eight H100 of one host. A card
is two files at most in runs/hardware: public figures (NAME.json), and for a GPU the description
that its compiler reads (NAME.txtpb). The compilers are the vendors' own (requirements-aot.txt);
they lie in a folder of their own, so that a plain `import jax` never sees them.
"""

import contextlib
import importlib
import json
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError

HARDWARE = pathlib.Path(__file__).parent / 'hardware'
INSTALL = 'launch/setup.sh --with aot'
EXAMPLES = 'v5e:2x4, v5e:4x4, v6e:2x4, v4:2x2x1, h100:1, h100:8'


class Card(NamedTuple):
    """One device, in its maker's figures.

    Attributes:
      title: for people.
      platform: tpu or cuda.
      memory_bytes: that programs can use.
      bandwidth: of its memory, bytes/s.
      network: what it sends to its neighbours at most, all links together, bytes/s.
      flops: by type of the operands, FLOP/s; float32 at full precision: six bfloat16 products each
        on a TPU, outside of the tensor cores on a GPU.
      host: devices of one host, as the compiler counts them.
      chip_config: a TPU's, as its compiler calls it.
      source: of the figures.
    """

    title: str
    platform: str
    memory_bytes: int
    bandwidth: float
    network: float
    flops: dict[str, float]
    host: tuple[int, ...]
    chip_config: str
    source: str


class Topology(NamedTuple):
    """Devices that exist for the compiler alone.

    Attributes:
      name: as asked for.
      card: what each is.
      devices: in the compiler's order.
      hosts: how many processes drive them.
      options: of every compilation.
    """

    name: str
    card: Card
    devices: tuple[Any, ...]
    hosts: int
    options: dict[str, Any]

    @property
    def platform(self) -> str:
        """As JAX calls it: gpu or tpu."""
        return 'gpu' if self.card.platform == 'cuda' else self.card.platform

    def mesh(self, sizes: Sequence[int], names: Sequence[str]) -> jax.sharding.Mesh:
        """The devices as a mesh.

        Raises:
          UserError: its sizes do not take every device once.
        """
        if math.prod(sizes) != len(self.devices):
            asked = ', '.join(f'{name}={size}' for name, size in zip(names, sizes))
            raise UserError(f'a mesh of {asked} takes {math.prod(sizes)} devices, and {self.name} '
                            f'has {len(self.devices)}')
        from jax.experimental import mesh_utils

        grid = mesh_utils.create_device_mesh(tuple(sizes), list(self.devices))
        return jax.sharding.Mesh(grid, tuple(names),
                                 axis_types=(jax.sharding.AxisType.Auto,) * len(names))


def cards() -> tuple[str, ...]:
    """Names of the cards that are known."""
    return tuple(sorted(path.stem for path in HARDWARE.glob('*.json')))


def card(name: str) -> Card:
    """A card by its name.

    Raises:
      UserError: an unknown one.
    """
    if name not in cards():
        raise unknown_name('accelerator', name, cards())
    found = json.loads((HARDWARE / f'{name}.json').read_text())
    return Card(**{**found, 'host': tuple(found['host'])})


def libraries() -> pathlib.Path | None:
    """The folder of the vendors' compilers, or None where it is not installed."""
    folder = pathlib.Path(os.environ.get('SUBLIMINAL_JAX_AOT') or pathlib.Path(sys.prefix) / 'aot')
    return folder if folder.is_dir() else None


def missing() -> str:
    """Why nothing can be compiled for accelerators here, or ''."""
    return '' if libraries() else ("the accelerators' compilers are not installed: "
                                   f'run {INSTALL}')


def topology(name: str) -> Topology:
    """The devices of a topology.

    Raises:
      UserError: an unknown card or shape, or no compiler for it here.
    """
    kind, _, shape = name.partition(':')
    found = card(kind)
    if not shape or not all(part.isdigit() and int(part) for part in shape.split('x')):
        raise UserError(f'--topology={name}: write CARD:SHAPE, such as {EXAMPLES}')
    if why := missing():
        raise UserError(why)
    jax.devices()  # what this process computes on is settled before a plugin is there
    folder = str(libraries())
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    with _unheard() as said:
        try:
            make = _tpu if found.platform == 'tpu' else _cuda
            devices, options = make(kind, shape, found)
        except UserError:
            raise
        except Exception as error:  # whatever the library raises
            words = ' '.join(str(error).split()) or said()
            if 'INVALID_ARGUMENT' not in words:
                raise UserError(f'--topology={name}: its compiler does not start: {words[:300]}'
                                ) from None
            raise UserError(f"--topology={name}: the compiler does not know it ({words[:200]}); "
                            f'it knows such as {EXAMPLES}') from None
    return Topology(name, found, tuple(devices), len({d.process_index for d in devices}), options)


def _tpu(kind, shape, found):
    from jax.experimental import topologies

    # There is no TPU to ask, and none that another process could hold.
    os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
    os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    sizes = [int(part) for part in shape.split('x')]
    sizes += [1] * (3 - len(sizes))
    host = [min(a, b) for a, b in zip(sizes, found.host)]
    described = topologies.get_topology_desc(
        platform='tpu', topology_name=f'{kind}:{shape}', chip_config_name=found.chip_config,
        chips_per_host_bounds=tuple(host))
    return described.devices, {}


def _cuda(kind, shape, found):
    count, most = int(shape) if shape.isdigit() else 0, math.prod(found.host)
    if not 1 <= count <= most or most % count:
        raise UserError(f'--topology={kind}:{shape}: a host has {most} of them; write '
                        f'{kind}:1, {kind}:2, {kind}:4 or {kind}:{most}')
    import jax_plugins.xla_cuda12 as plugin
    from jax._src import xla_bridge
    from jax.experimental import topologies

    os.environ.setdefault('JAX_SKIP_CUDA_CONSTRAINTS_CHECK', '1')  # there is no driver to ask
    if 'cuda' not in xla_bridge._topology_factories:
        plugin.initialize()
    described = topologies.get_topology_desc(
        platform='cuda', topology_name='', topology=f'1x1x{count}',
        target_config=(HARDWARE / f'{kind}.txtpb').read_text())
    return described.devices, {
        'xla_gpu_autotune_level': 0,  # nothing can be timed: products are cuBLAS's
        'xla_gpu_enable_triton_gemm': False,
        'xla_gpu_cuda_data_dir': str(libraries() / 'nvidia' / 'cuda_nvcc')}


@contextlib.contextmanager
def _unheard() -> Iterator[Any]:
    """Keeps what libraries write to standard error while they look for devices that are not there;
    the value reads it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: (file.seek(0), file.read().decode(errors='replace').strip())[1]
        finally:
            os.dup2(kept, 2)
            os.close(kept)
