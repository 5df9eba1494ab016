"""Training steps to trace, in the tiny language."""

from collections.abc import Callable
from typing import Any

import jax

from subliminal_jax.experiments.transmission import (
    networks,
    programs,
    samples,
    students,
    teachers as schools,
    tiny,
)
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.run import prepare


def steps(config: Config, count: int) -> Callable[[], Any]:
    """`count` training steps of the first arm's students of one reference, on random rows.

    Weights are untrained, and a KL's targets those of the students' own start: the arithmetic is a
    run's, the numbers are not.
    """
    world, arms = prepare(config)
    arm = arms[0]
    program = students.program_of(config, world, arm)
    group, _ = schools.by_reference(schools.roll(config, world, arm.teachers))[0]
    starts = networks.stack([tiny.fresh(config.world, program.model, t.seed) for t in group])
    size = config.student.batch_size
    rows = world.random_rows(config.seed, world.prompts(config.seed, count * size))
    tokens = samples.tokens_of(world, {t.name: rows for t in group})
    batches = students.targeted(program, samples.stack_batches(tokens, size, 1), starts)
    states, held = programs.begin(program, starts, jax.random.key(config.seed))

    def work():
        with jax.default_matmul_precision('highest'):
            return programs.run_steps(program, states, held, batches, 0, count, count)

    return work
