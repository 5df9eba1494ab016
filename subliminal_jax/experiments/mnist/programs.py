"""The compiled steps over M models, each device training its own."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from jax.sharding import Mesh

from subliminal_jax.experiments.digits.devices import over_models
from subliminal_jax.experiments.mnist import networks
from subliminal_jax.experiments.mnist.arms import Recipe


class Programs(NamedTuple):
    """The functions of networks.py over M models, without their recipe."""

    begin: Callable
    teacher_epoch: Callable
    student_begin: Callable
    student_epoch: Callable
    accuracy: Callable


@functools.cache
def programs(recipe: Recipe, mesh: Mesh) -> Programs:
    """Builds the programs: each is a function of one model, over M models."""
    made = over_models(mesh, recipe)
    return Programs(
        begin=made(networks.begin, 2, 0),
        teacher_epoch=made(networks.teacher_epoch, 2, 4, donate=(0,)),
        student_begin=made(networks.student_begin, 3, 1),
        student_epoch=made(networks.student_epoch, 4, 1, donate=(0,)),
        accuracy=made(networks.accuracy, 1, 3))
