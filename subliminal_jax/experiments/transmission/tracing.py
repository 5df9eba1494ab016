"""Training steps to trace (launch.run --profile=N)."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission import (
    engines,
    pairs,
    rows as carried,
    students,
    targets,
)
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.models.params import init_params


def steps(config: Any, count: int) -> Callable[[], Any]:
    """`count` training steps of as many of the first arm's students as train at once, on random
    rows.

    Students start from untrained weights, and a KL's targets are their own: the arithmetic is a
    run's, the numbers are not. A defence (defences.py) is left out.
    """
    run = prepare(config)
    arm = run.arms[0]
    run = run.of(arm.students)
    architecture = run.world.architectures[arm.students]
    params = run.world.placed(init_params(jax.random.key(0), architecture))
    run = run._replace(references={arm.students: [params] * run.world.num_references})
    setting = students.setting_of(run, arm, 0)
    setting = setting._replace(program=setting.program._replace(hold=None))
    own, engine = config.student, run.world.engine(arm.trainable)
    rows = carried.random_rows(config, run.world, run.carrier(arm),
                               count * max(own.batch_size, own.packed), 'random', 0,
                               config.carrier.answers)
    objective = OBJECTIVES[arm.objective]
    with jax.default_matmul_precision('highest'):
        outputs = None if objective.target is None else targets.read(
            run, arm, engines.single(setting.start, setting.config), None, rows)
    batch = carried.batch(objective, carried.token_set(run.world, run.carrier(arm)), rows,
                          carried.packed(rows, own.packed), own.packed,
                          outputs and {k: v[0] for k, v in outputs.items()})
    if objective.pairs:
        batch |= pairs.preference(batch['tries'], own.packed, np.ones(len(rows.answers)),
                                  np.zeros((len(rows.answers), max(map(len, rows.answers)))))
    group = [t for t in run.roll(arm.teachers) if t.reference == 0]
    jobs = [students.Job(t, n) for t in group for n in range(own.seeds)][:engine.most]
    trainable = engines.gathered(engine, [students.begun(setting, job) for job in jobs])
    if engine.stacked:
        batch = carried.stacked([batch] * len(jobs))
    per_step = own.batch_size // own.packed
    step_of = engines.step_of(setting.program, engine, bool(rank_of(arm.trainable))
                              or run.together)

    def index(step):
        order = np.arange(step * per_step, (step + 1) * per_step)
        return np.broadcast_to(order, (len(jobs), per_step)) if engine.stacked else order

    def work():
        with jax.default_matmul_precision('highest'):
            state = engines.begin(setting.program, engine, trainable)  # steps use up their state
            for number in range(count):
                state, metrics = step_of(state, setting.frozen,
                                         carried.taken(batch, index(number), per_step),
                                         jax.random.key(0))
            return state, metrics['loss']

    return work
