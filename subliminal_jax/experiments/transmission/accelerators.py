"""What students' training would take on accelerators: calculated from the compiled step."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.transmission import shapes, students
from subliminal_jax.experiments.transmission.outlines import run_of
from subliminal_jax.models.params import TransformerConfig, shardings


class Device(NamedTuple):
    """Hardware to plan for; times assume `share` of the bfloat16 peak that its makers state."""

    name: str
    count: int
    gigabytes: float
    peak: float
    share: float = 0.4


DEVICES = (Device('one 80 GB GPU (A100)', 1, 80, 312e12), Device('TPU v5e-8', 8, 16, 197e12))


def virtual_devices() -> None:
    """Asks for eight devices to compile for, if nothing has been computed yet."""
    with contextlib.suppress(RuntimeError):  # a backend is up: its devices will do
        jax.config.update('jax_num_cpu_devices', max(d.count for d in DEVICES))


def elsewhere(config: Any) -> str:
    """Memory and time of each arm's students on accelerators, as lines of text; nothing where
    layers compute in float32, which is not what one runs there."""
    if config.model.compute != 'bfloat16':
        return ''
    run = run_of(config)
    told = ['On accelerators (calculated from the compiled step, not measured; time of training '
            f'alone, at {DEVICES[0].share:.0%} of the stated bfloat16 peak; checks of alignment '
            'hold several copies of the weights):']
    for arm in run.arms:
        step = shapes.student_step(run, arm)
        steps = (len(run.roll(arm.teachers)) * config.student.seeds * students.steps_of(run, arm))
        for device in DEVICES:
            if device.count > 1 and not step.at_once:
                continue
            needed = step_bytes(step, device.count)
            if needed is None:
                continue
            rate = device.peak * device.count * device.share
            hours = shapes.step_flops(step) * steps / rate / 3600
            checks = shapes.checks_bytes(run, arm, step) / device.count
            fits = max(needed, checks) < device.gigabytes * 1e9
            told.append(f'  {arm.name}, {device.name}: {needed / 1e9:.1f} GB a device in steps, '
                        f'{checks / 1e9:.1f} in checks ({"fits" if fits else "DOES NOT FIT"} '
                        f'{device.gigabytes:g}), {hours:.1f} h for {steps} steps')
    return '\n'.join(told)


def step_bytes(step: shapes.Step, devices: int) -> float | None:
    """Bytes of the compiled step on each of several devices that share the weights; None where that
    many cannot be compiled for."""
    if devices == 1:
        return shapes.step_bytes(step)
    if len(jax.devices()) < devices:
        return None
    function, arguments = shapes.training(step)
    return shapes.compiled_bytes(function, sharded(arguments, step.program.config, devices))


def sharded(arguments: Sequence[Any], model: TransformerConfig, count: int) -> tuple:
    """The arguments with the weights cut over `count` devices, and all else on each of them."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]).reshape(1, count), ('data', 'model'))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
    everywhere = lambda tree: jax.tree.map(lambda x: place(x, whole), tree)
    state, frozen, batch, key = arguments
    base = jax.tree.map(place, frozen['base'], shardings(model, mesh)) if frozen['base'] else {}
    return everywhere(state), {'base': base}, everywhere(batch), everywhere(key)
