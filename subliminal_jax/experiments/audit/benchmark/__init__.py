"""The audit's benchmark: audits of rows whose origin is known, scored against what transmits."""

from typing import Any

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.audit.benchmark.config import config_of
from subliminal_jax.experiments.audit.benchmark.run import check as check, run as run
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.report import audit_benchmark as report
from subliminal_jax.runs.experiment import Experiment
from subliminal_jax.runs.plan import Stage

STARTS = 2  # shared and other
SLOPES = 0.8  # of a student's training, measures and alignment in it


def plan(config: Any) -> list[Stage]:
    """What a run would do: transmission's stages, then audits: each trains as many rows as a
    student of an arm does, from two starts, beside control students that most of them share."""
    plain = without_group(config)
    stages, settings = list(transmission.plan(plain)), config.benchmark
    students = [s for s in stages if s.name.startswith('students')]
    if not students:
        return stages
    teachers = config.language.references * config.traits * config.teacher.seeds
    each = max(s.flops for s in students) / teachers
    groups = len(config.arms) + settings.foreign + settings.overt + settings.neutral
    count = teachers * groups + settings.clean * config.language.references + settings.blind
    return [*stages, Stage(f'{count} audits', count * each * 1.5 * (STARTS + SLOPES),
                           students[0].peak_bytes, students[0].efficiency)]


def estimate(config: Any) -> list[Any]:
    """The plan, which is counted without tracing a program."""
    return plan(config)


EXPERIMENT = Experiment(config_of, plan, run, report.write, check=check, estimate=estimate)
