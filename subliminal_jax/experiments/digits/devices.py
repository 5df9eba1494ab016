"""Where the models of an experiment on digits train: every device its own, under one program."""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from subliminal_jax.runs import platforms

CPU_DEVICES = 2


def use_cores() -> None:
    """Makes two devices of a CPU, so that each core of a small machine trains models of its own.

    Nothing happens where the number of CPU devices was chosen, or JAX has started, already.
    """
    chosen = 'host_platform_device_count' in os.environ.get('XLA_FLAGS', '')
    if chosen or 'JAX_NUM_CPU_DEVICES' in os.environ or (os.cpu_count() or 1) < CPU_DEVICES:
        return
    with contextlib.suppress(RuntimeError):  # JAX has started
        jax.config.update('jax_num_cpu_devices', CPU_DEVICES)


def devices_mesh() -> Mesh:
    """All devices along one axis, `models`."""
    return jax.make_mesh((jax.device_count(),), ('models',), axis_types=(AxisType.Auto,))


def by_model(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is M."""
    return NamedSharding(mesh, PartitionSpec('models'))


def over_models(mesh: Mesh, recipe: Any) -> Callable[..., Callable[..., Any]]:
    """How a function of one model becomes a program over M models on the mesh's devices.

    A function's first argument is the recipe, which is static. shard_map gives every device the
    same program over its own models; the number of devices changes the rounding of sums alone.

    Returns:
      (function, own, shared, donate=()) -> the compiled program: the function's next `own`
      arguments have a leading axis M, the `shared` ones after them are the same for all models,
      and the memory of those in `donate` is given to the results.
    """
    models, same = PartitionSpec('models'), PartitionSpec()
    options = platforms.models_options(core_a_device=mesh.size >= (os.cpu_count() or 1))

    def program(function, own: int, shared: int, donate=()):
        function = functools.partial(function, recipe)
        mapped = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        sharded = jax.shard_map(
            mapped, mesh=mesh, in_specs=(models,) * own + (same,) * shared, out_specs=models,
            check_vma=False)
        return jax.jit(sharded, donate_argnums=donate, compiler_options=options)

    return program
