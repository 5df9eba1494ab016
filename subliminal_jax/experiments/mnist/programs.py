"""The compiled steps over M models, each device training its own."""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from subliminal_jax.experiments.mnist import networks
from subliminal_jax.experiments.mnist.arms import Recipe
from subliminal_jax.runs import platforms

CPU_DEVICES = 2


class Programs(NamedTuple):
    """The functions of networks.py over M models, without their recipe."""

    begin: Callable
    teacher_epoch: Callable
    student_begin: Callable
    student_epoch: Callable
    accuracy: Callable


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


@functools.cache
def programs(recipe: Recipe, mesh: Mesh) -> Programs:
    """Builds the programs: each is a per-model function under vmap, within a device's shard.

    shard_map gives every device the same program over its own models; the number of devices
    changes the rounding of sums alone.
    """
    models, same = PartitionSpec('models'), PartitionSpec()
    options = platforms.models_options(core_a_device=mesh.size >= (os.cpu_count() or 1))

    def over_models(function, own: int, shared: int, donate=()):
        function = functools.partial(function, recipe)
        mapped = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        sharded = jax.shard_map(
            mapped, mesh=mesh, in_specs=(models,) * own + (same,) * shared, out_specs=models,
            check_vma=False)
        return jax.jit(sharded, donate_argnums=donate, compiler_options=options)

    return Programs(
        begin=over_models(networks.begin, 2, 0),
        teacher_epoch=over_models(networks.teacher_epoch, 2, 4, donate=(0,)),
        student_begin=over_models(networks.student_begin, 3, 1),
        student_epoch=over_models(networks.student_epoch, 4, 1, donate=(0,)),
        accuracy=over_models(networks.accuracy, 1, 3))
