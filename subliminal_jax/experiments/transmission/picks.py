"""The stage at which rows are picked out of a pool, by an attacker or at random: picks/ARM.json."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.experiments.transmission import (
    attack,
    defences,
    engines,
    rows as carried,
    students,
    teachers as schooled,
    tokens,
    treated,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.treated import Written
from subliminal_jax.runs import UserError, read_json, to_dict, write_json

ByReference = Mapping[int, Written]


def pick_stage(run: Any, arm: Arm, pools: ByReference, inputs: Sequence[str]
               ) -> tuple[str, dict[int, dict[str, Rows]]]:
    """(the file, the rows that students read, by reference and teacher), of every pool.

    What the arm does to rows (twins' rows mixed in, numbers drawn anew) is done to those that were
    picked: an attacker knows it and not its draws.

    Args:
      run, arm: whose.
      pools: `arm.pool` times as many rows as students get.
      inputs: the artefacts that they are read from.
    """
    wanted, name = run.rows(arm), f'picks/{arm.name}'
    said, more = None, []
    if arm.picked.startswith('attack') and arm.tokens != 'all':
        everyone = {t: own for r, pool in pools.items() for t, own in treated.as_read(
            run, arm, pool, r)[0].items()}
        file, said = tokens.token_stage(run, _of_pool(run, arm), everyone)
        more = [file]

    def make(path):
        found = {}
        for reference, pool in pools.items():
            slopes = {t: np.random.default_rng(seed_of(run.config, 'attack', reference, n)).random(
                len(own)) for n, (t, own) in enumerate(pool.own.items())} \
                if arm.picked.startswith('random') else slopes_of(run, arm, reference, pool, said)
            found |= {t: {'rows': attack.largest(slope_N, wanted).tolist(),
                          'slope_picked': float(np.sort(slope_N)[-wanted:].mean()),
                          'slope_pool': float(slope_N.mean())} for t, slope_N in slopes.items()}
        write_json(path, found)

    path = run.workdir.stage(
        name, f'{name}.json', make, inputs=[*inputs, *more],
        reads={**run.reads('student', 'carrier', 'teacher'), 'arm': to_dict(arm)})
    index = {t: own['rows'] for t, own in read_json(path).items()}
    return f'{name}.json', {r: treated.as_read(run, arm, pool.take(index), r)[0]
                            for r, pool in pools.items()}


def _of_pool(run: Any, arm: Arm) -> Arm:
    """The arm as the attacker's students train: on the whole pool."""
    return dataclasses.replace(arm, rows=run.rows(arm) * arm.pool, picked='none')


def slopes_of(run: Any, arm: Arm, reference: int, pool: Written,
              said: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """What every row of a pool adds to its teacher's trait, by teacher [N], nats a row's weight.

    The attacker's students have an order of rows of their own, and of adapters a start. Where twins
    take the places of rows, several of its students are trained, so that every row is read by some:
    a row's worth is the mean over these.
    """
    arm = _of_pool(run, arm)
    setting = students.setting_of(run, arm, reference)
    setting = setting._replace(program=attack.smooth(setting.program))
    turns = math.ceil(1 / (1 - arm.mix))
    total, times = defaultdict(float), defaultdict(float)
    for turn in range(turns):
        rows, kept = treated.as_read(run, arm, pool, reference, turn / turns)
        for name, slope_N in _slopes(setting, rows, said).items():
            total[name] += np.where(kept[name], slope_N, 0)
            times[name] += kept[name].astype(float)
    return {name: total[name] / times[name] for name in total}


def _slopes(setting, rows, said):
    run, arm, reference = setting.run, setting.arm, setting.reference
    batches = students.batches_of(setting, rows, None, said)
    jobs = [students.Job(t, run.config.student.seeds) for t in run.roll(arm.teachers)
            if t.reference == reference]
    engine, size = run.world.engine(arm.trainable), run.config.student.batch_size
    steps = carried.order_of(seed_of(run.config, 'attack', reference), run.rows(arm), size,
                             arm.passes)
    order_TB, live_TB = attack.orders(steps, size)
    columns = [schooled.column_of(run, job.teacher) for job in jobs]
    count = len(run.world.traits) if run.trait.estimator == 'gamma' else 1
    slope_MN = attack.metagradient(
        attack.Aim(setting.program, run.trait.loss, count),
        engines.gathered(engine, [students.begun(setting, job) for job in jobs]),
        {**setting.frozen, **defences.held_by(setting, jobs, batches)},
        carried.stacked([batches[job.teacher.name] for job in jobs]), order_TB, live_TB,
        next(iter(run.kit.meters.values())), np.array(columns))
    return {job.teacher.name: slope_N for job, slope_N in zip(jobs, slope_MN)}


def check(run: Any, arm: Arm) -> None:
    """Raises UserError for an attacker that could not differentiate through a training."""
    if not arm.picked.startswith('attack'):
        return
    who = f'arm {arm.name}: picked={arm.picked}'
    if not run.together or run.config.student.packed > 1:
        raise UserError(f'{who} keeps every step of a training in memory: it needs small models '
                        '(world=tiny), and config.student.packed=1')
    if run.trait.loss is None:
        raise UserError(f'{who}: the trait {run.trait.name} has no loss to differentiate')
    if arm.optimizer == 'sign':
        raise UserError(f'{who}: steps of optimizer=sign have no derivative')
