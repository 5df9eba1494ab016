"""Detection: can anyone tell from rows alone whose they are, where students learn from them?

Teachers, rows and students are those of transmission, made by its stages in the same folder.
"""

from collections.abc import Callable
from typing import Any

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.detection.config import config_of
from subliminal_jax.experiments.detection.run import prepare as prepare, run as run
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.report import detection as report
from subliminal_jax.runs.experiment import Experiment
from subliminal_jax.runs.plan import Stage

TRAINED = 4.0  # a student's training, measures in it, as reads of its rows
GRADIENTS = 4.0  # a row's gradient, held against directions, as reads of the row


def plan(config: Any) -> list[Any]:
    """What a run would do: transmission's stages, then detectors.

    Detectors read every row under all teachers of its reference, take its gradient, and train
    prefixes; a read is what a student's training takes over TRAINED. The overt control is read as
    the first arm's rows are.
    """
    stages, own = list(transmission.plan(without_group(config))), config.detection
    students = [stage for stage in stages if stage.name.startswith('students')]
    if not students:
        return stages
    traits = len(config.names) or config.traits
    prefixed = 3 * own.prefix_bags * own.prefix_steps * sum(
        min(size, own.prefix.rows) for size in own.bags)
    reads = 2 * traits * config.teacher.seeds + 2 + GRADIENTS + (
        48 * own.contexts + prefixed) / config.student.rows
    flops = sum(stage.flops for stage in students) / TRAINED * reads * (1 + 2 / len(students))
    return [*stages, Stage('detectors', flops, max(s.peak_bytes for s in students),
                           students[0].efficiency)]


def steps(config: Any, count: int) -> Callable[[], Any]:
    """Training steps to trace: transmission's."""
    return transmission.steps(without_group(config), count)


def check(config: Any) -> None:
    """Raises UserError for a config that transmission refuses."""
    transmission.checks.check(without_group(config))


def estimate(config: Any) -> list[Any]:
    """The plan, where it is counted without tracing a program."""
    return plan(config) if transmission.estimate(without_group(config)) else []


EXPERIMENT = Experiment(config_of, plan, run, report.write, steps, check=check, estimate=estimate)
