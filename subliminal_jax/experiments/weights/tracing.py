"""Training steps to trace, on real weights."""

from collections.abc import Callable
from typing import Any

import jax

from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.weights import (
    language,
    programs,
    rows as lines,
    stages,
    students,
)
from subliminal_jax.experiments.weights.arms import rank_of
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.experiments.weights.students import Setting


def steps(config: Config, count: int) -> Callable[[], Any]:
    """`count` training steps of as many of the first arm's students as train at once, on random
    rows.

    Students start from the reference, and a KL's targets are its own: the arithmetic is a run's,
    the numbers are not.
    """
    here = language.prepare(config, None, language.load(config))
    arm, own = here.arms[0], config.student
    start, model = stages.with_head(here, arm, here.model.params)
    found = lines.encoded(here, lines.random_rows(here, count * max(own.batch_size, own.packed)))
    program = students.program_of(here, arm, model, students.steps_of(here, arm))
    with jax.default_matmul_precision('highest'):
        targets = None if arm.objective == 'sft' else stages.read_logits(
            here, arm, here.model.params, None, found.contexts, found)
    packs = students.packs_of(here, arm, found, targets)
    order = students.order_of(here, arm, config.seed, len(packs['tries'].tokens_BT))[:count]
    stacked = rank_of(arm.trainable) > 0
    teachers = language.roll(config, here.world, arm.teachers)
    size = min(own.at_once, len(teachers) * own.seeds) if stacked else 1
    setting = Setting(here, kit=None, arm=arm, model=model, start=start, program=program,
                      displacement=None, reading=None, twin=None)
    states, frozen = zip(*(students.begun(setting, number) for number in range(size)))
    trainable = networks.stack(states) if stacked else states[0]

    def work():
        with jax.default_matmul_precision('highest'):
            state = programs.begin(program, trainable, stacked)  # steps consume their state
            for index in order:
                batch = programs.batch_of(packs, index, len(order[0]))
                batch = programs.stack([batch] * size) if stacked else batch
                state, loss = programs.trainer(program, stacked)(state, frozen[0], batch)
            return state, loss

    return work
