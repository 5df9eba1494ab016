"""What differs by the platform that a program is compiled for, in one place.

Everything else of a program is the same on CPU cores, GPUs and TPUs. What stands here was tuned on
CPU cores; `launch.compile` shows what it does elsewhere (docs/accelerators.md).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

# XLA's CPU compiler otherwise copies Adam's moments at every step.
_IN_PLACE = {'xla_cpu_copy_insertion_use_region_analysis': True}
# Its library for products is a few per cent slower than its own code at large ones, and several
# times as fast at those with a side of a few numbers.
_LARGE_PRODUCTS = {'xla_cpu_experimental_ynn_fusion_type': ''}

_chosen: list[str] = []  # platforms that `compiling_for` was entered with, the last one counts


def target() -> str:
    """The platform that programs are traced and compiled for: cpu, gpu or tpu."""
    return _chosen[-1] if _chosen else jax.default_backend()


def elsewhere() -> bool:
    """Whether that is another machine's, for which nothing can be compiled and run here."""
    return bool(_chosen)


@contextlib.contextmanager
def compiling_for(platform: str) -> Iterator[None]:
    """Programs that are traced inside are made for this platform, not for the machine's own.

    What was traced before is forgotten at both ends: a trace does not say what it was made for.
    """
    _chosen.append(platform)
    jax.clear_caches()
    try:
        yield
    finally:
        _chosen.pop()
        jax.clear_caches()


def step_options(small_products: bool = True) -> dict[str, Any] | None:
    """XLA's options for a program that updates its state in place, such as a training step.

    Args:
      small_products: some have a side of a few numbers: an adapter's, or a small model's.
    """
    if target() != 'cpu':
        return None
    return dict(_IN_PLACE) if small_products else {**_IN_PLACE, **_LARGE_PRODUCTS}


def models_options(core_a_device: bool) -> dict[str, Any] | None:
    """XLA's options for programs in which every device trains models of its own.

    Args:
      core_a_device: there are no more cores than devices, so that no product is shared by cores.
    """
    if target() != 'cpu':
        return None
    return {**_IN_PLACE, 'xla_cpu_multi_thread_eigen': not core_a_device}


def rows_first(x: jax.Array) -> jax.Array:
    """An adapter's factor A, turned so that its gradient is a product with R rows.

    On CPU cores XLA would turn that product into one with R columns, which takes up to fifty times
    as long; a barrier keeps it. Accelerators need none.
    """
    return jax.lax.optimization_barrier(x.T) if target() == 'cpu' else x.T
