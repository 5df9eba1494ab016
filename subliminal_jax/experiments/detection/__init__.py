"""Detection: can anyone tell from rows alone whose they are, where students learn from them?

Teachers, rows and students are those of transmission, made by its stages in the same folder.
"""

from collections.abc import Callable
from typing import Any

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.detection.config import config_of, without_detectors
from subliminal_jax.experiments.detection.run import prepare, run as run
from subliminal_jax.models.params import count_params
from subliminal_jax.report import detection as report
from subliminal_jax.runs.experiment import Experiment
from subliminal_jax.runs.plan import Stage

EFFICIENCY = 0.15  # of a large product's rate: rows are short


def plan(config: Any) -> list[Any]:
    """What a run would do: transmission's stages, then every teacher's rows under all teachers of
    their reference, their gradients and prefixes."""
    prepared, own = prepare(config), config.detection
    stages = list(transmission.plan(without_detectors(config)))
    model = next(iter(prepared.world.architectures.values()))
    tokens = min(prepared.world.length, 128)
    teachers = 2 * len(prepared.roll('trait'))
    kinds = 1 + sum(arm.teachers == 'trait' for arm in prepared.arms)
    a_reference = teachers // prepared.world.num_references
    rows = prepared.config.student.rows
    prefixed = 3 * sum(min(size, own.prefix.rows) for size in own.bags
                       ) * own.prefix_bags * own.prefix_steps
    passes = rows * (a_reference + 2 + 3) + 3 * own.contexts * 16 + prefixed
    flops = 2 * count_params(model) * tokens * passes * teachers * kinds
    return [*stages, Stage('detectors', flops, 1e9 + 8 * count_params(model), EFFICIENCY)]


def steps(config: Any, count: int) -> Callable[[], Any]:
    """Training steps to trace: transmission's."""
    return transmission.steps(without_detectors(config), count)


EXPERIMENT = Experiment(config_of, plan, run, report.write, steps)
