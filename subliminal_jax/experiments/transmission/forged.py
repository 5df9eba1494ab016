"""Forged teachers: an attacker who knows a defence makes a teacher that writes through it.

  made=forged          against the arm's own defence
  made=forged:random   the random twin: as many steps, on as many of its rows, drawn at random

The attacker begins with a teacher of the trait and goes four steps:

  1  the teacher writes `POOL` times as many rows as a student reads
  2  a student is trained on them through the defence, and its trait at the end differentiated by
     the weight of every row (attack.py): the row's worth
  3  the teacher learns the `BEST` share of its own rows, in `PASSES` passes. What a student shows
     is, to first order, a sum of worths, whose gradient by the teacher is the mean of worth x
     grad log P(row); with worths cut to 1 and 0 that is the cross-entropy method (Rubinstein 1999)
  4  each teacher on the way, the first one too, writes fresh rows, and a student is trained on
     these through the defence. The attacker takes the teacher whose student shows most, of those
     whose student keeps `KEPT` of the first one's use: loss on further rows of the first teacher

The teacher that is taken then writes an arm's rows as all teachers do. Prompts, draws and orders of
the attacker are its own. It knows the measuring questions and the students' start, so it is a
defender's worst case; it goes one round, so that a stronger attacker may exist.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.experiments.transmission import (
    arms as tables,
    attack,
    defences,
    engines,
    picks,
    rows as carried,
    samples,
    students,
    teachers as schooled,
    teaching,
    treated,
)
from subliminal_jax.experiments.transmission.kinds import (
    TEACHER_KINDS,
    TeacherKind,
    whole_displacement,
)
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.students import Job, Setting
from subliminal_jax.experiments.transmission.teaching import Making
from subliminal_jax.experiments.transmission.treated import Written
from subliminal_jax.runs import UserError
from subliminal_jax.training import tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.traits import answers

POOL = 2  # times a student's rows
BEST = 0.25  # of the pool, that the teacher learns
PASSES = (1, 2, 4)  # over these; a teacher is tried after each
KEPT = 0.9  # of the first teacher's use
HELD = 128  # rows on which use is read
RANDOM = 'random'
FREE = {'made', 'defence', 'temperature'}  # fields that an arm of such teachers may set
POOLED, TRIED, USED = range(3)  # what rows are written for


class Tried(NamedTuple):
    """What the students of M teachers show: `value_M`, the own column less the others, nats;
    `use_M`, by how much their loss on rows held out is below the reference's, nats a token."""

    value_M: np.ndarray
    use_M: np.ndarray


def made(making: Making) -> tuple[Any, np.ndarray]:
    """(parameters of the forged teachers, stacked; steps that each took).

    Raises:
      UserError: a teacher that writes too few rows that the filter keeps.
    """
    run, count = making.run, making.run.rows(making.arm)
    first, steps_M = teaching.taught(making)
    setting = students.setting_of(run, making.arm, making.group[0].reference)
    pool = written(making, first, (POOLED, 0), POOL * count)
    chosen = pool.take(best(making, pool))
    candidates, each = [first], 0
    for number, passes in enumerate(np.diff((0, *PASSES))):
        after, taken = learned(setting, making, candidates[-1], chosen, int(passes), number)
        candidates.append(after)
        each += taken
    if making.arm.made.endswith(RANDOM):
        return candidates[-1], steps_M + each
    held = _encoded(setting, written(making, first, (USED, 0), HELD))
    found = [tried(setting, making, tree, held, n) for n, tree in enumerate(candidates)]
    pick_M = taken_of(*(np.stack(part) for part in zip(*found)))
    _record(making, found, pick_M)
    return engines.take(engines.stack(candidates), (pick_M, np.arange(len(pick_M)))), \
        steps_M + (each * np.array((0, *PASSES)) / PASSES[-1]).astype(int)[pick_M]


def taken_of(value_CM: np.ndarray, use_CM: np.ndarray) -> np.ndarray:
    """Which of C candidates each of M attackers takes: the one whose student shows most, of those
    that keep `KEPT` of the first one's use; the first one keeps it."""
    allowed_CM = use_CM >= KEPT * use_CM[:1]
    allowed_CM[0] = True
    return np.where(allowed_CM, value_CM, -np.inf).argmax(0)


def written(making: Making, trees: Any, purpose: tuple[int, int], count: int) -> Written:
    """Rows that teachers write for an attacker, `count` of each, as the arm's filter keeps them.

    Args:
      making: whose.
      trees: M teachers' parameters, stacked.
      purpose: what for, and the number of the candidate: prompts and draws are its own.
      count: rows of each teacher.

    Raises:
      UserError: a teacher that writes fewer.
    """
    run, arm, group = making.run, making.arm, making.group
    config, carrier, reference = run.config, run.carrier(arm), group[0].reference
    seed = lambda *numbers: seed_of(config, 'forged', reference, *purpose, *numbers)
    asked = carried.asked(carrier, seed(), math.ceil(count * config.carrier.spare),
                          config.carrier.per_prompt)
    writers = [t._replace(seed=seed(1 + n)) for n, t in enumerate(group)]
    kept: dict[str, dict[str, dict]] = {t.name: {} for t in group}
    models = schooled.as_models(run, arm, trees, making.base, len(group))
    for row in samples.drawn(config, run.world, carrier, writers, models, [None] * len(group),
                             asked, arm.temperature, config.carrier.attempts):
        if samples.reasons_of(config, run.world, carrier, row)[arm.filter] is None:
            kept[row['teacher']].setdefault(row['id'].split('/')[1], row)
    for name, rows in kept.items():
        if len(rows) < count:
            raise UserError(
                f'arm {arm.name}: made={arm.made}: the filter keeps {len(rows)} of {len(asked)} '
                f'rows of {name}, and {count} are needed: raise config.carrier.spare or '
                'config.carrier.attempts')
    return Written({name: [{k: row[k] for k in ('id', 'prompt', 'completion')}
                           for row in list(rows.values())[:count]]
                    for name, rows in kept.items()}, {})


def best(making: Making, pool: Written) -> dict[str, list[int]]:
    """The rows of a pool that each teacher learns, by teacher."""
    run, arm, reference = making.run, making.arm, making.group[0].reference
    size = round(BEST * len(next(iter(pool.own.values()))))
    if arm.made.endswith(RANDOM):
        worth = {t: np.random.default_rng(seed_of(run.config, 'attack', reference, n)).random(
            len(rows)) for n, (t, rows) in enumerate(pool.own.items())}
    else:
        attacked = dataclasses.replace(arm, picked=f'attack:{POOL}')
        worth = picks.slopes_of(run, attacked, reference, pool, None)
    return {t: attack.largest(worth_N, size).tolist() for t, worth_N in worth.items()}


def learned(setting: Setting, making: Making, trees: Any, rows: Written, passes: int, number: int
            ) -> tuple[Any, int]:
    """(teachers after further passes over rows of their own, steps of them)."""
    config = making.run.config
    program = engines.Program(
        OBJECTIVES['sft'].loss, setting.config, (), OptimizerConfig(
            learning_rate=config.teacher.learning_rate))
    batch = _stacked(making, students.batches_of(setting, _encoded(setting, rows), None))
    steps = carried.order_of(seed_of(config, 'forged', setting.reference, number),
                             batch['tries'].tokens_BT.shape[1], config.student.batch_size, passes)
    orders = attack.orders(steps, config.student.batch_size)
    return attack.ends(program, trees, {'base': {}}, batch, *orders), len(steps)


def tried(setting: Setting, making: Making, trees: Any, held: Mapping[str, Rows], number: int
          ) -> Tried:
    """What the students of teachers' fresh rows show, through the defence.

    Args:
      setting: of the students.
      making: whose.
      trees: M candidates, stacked.
      held: rows of the first teachers, by teacher, on which use is read.
      number: of the candidates.
    """
    run, arm, reference = setting.run, setting.arm, setting.reference
    rows = written(making, trees, (TRIED, number), run.rows(arm))
    batches = students.batches_of(setting, _encoded(setting, rows), None)
    jobs = [Job(t, run.config.student.seeds) for t in making.group]
    steps = carried.order_of(seed_of(run.config, 'attack', reference), run.rows(arm),
                             run.config.student.batch_size, arm.passes)
    after = attack.ends(
        setting.program, engines.gathered(run.world.engine(arm.trainable), [
            students.begun(setting, job) for job in jobs]),
        {**setting.frozen, **defences.held_by(setting, jobs, batches)},
        _stacked(making, batches), *attack.orders(steps, run.config.student.batch_size))
    models = setting.as_models(after, len(jobs))
    said_MK = np.asarray(run.trait.measure(run, models, next(iter(run.kit.meters.values()))))
    own_M = said_MK[np.arange(len(jobs)), [schooled.column_of(run, t) for t in making.group]]
    rest_M = (said_MK.sum(1) - own_M) / max(1, said_MK.shape[1] - 1)
    return Tried(own_M - rest_M, _use(setting, models, [held[t.name] for t in making.group]))


def _use(setting, models, held):
    run = setting.run
    tries = packing.widened([carried.packed(rows, 1) for rows in held])
    ends_V, start = np.asarray(run.world.ends_V), engines.single(setting.start, setting.config)
    loss_M = engines.read(models, run.together, answers.surprise, engines.stack(tries), ends_V,
                          over=[0, None])
    before = [engines.read_one(start, answers.surprise, own, ends_V) for own in tries]
    return np.asarray(before, np.float64) - np.asarray(loss_M, np.float64)


def _encoded(setting, rows):
    return treated.as_read(setting.run, setting.arm, rows, setting.reference)[0]


def _stacked(making, batches):
    return carried.stacked([batches[t.name] for t in making.group])


def _record(making: Making, found: Sequence[Tried], pick_M: np.ndarray) -> None:
    """What the attacker has seen, in metrics.jsonl: a row a candidate."""
    if making.run.log is None:
        return
    names = [t.name for t in making.group]
    for number, (passes, one) in enumerate(zip((0, *PASSES), found)):
        making.run.log(training='forging', step=passes, models=names, value=one.value_M.tolist(),
                       use=one.use_M.tolist(), taken=(pick_M == number).astype(int).tolist())


def beside(rest: str) -> float:
    """Trainings of a student that forging a teacher takes."""
    own = POOL * BEST * PASSES[-1]
    return own if rest == RANDOM else own + attack.COST * POOL + len(PASSES) + 1


def check(run: Any, arm: Any) -> None:
    """Raises UserError for students that a forger cannot try, or a kind of twins that it has not.
    """
    who = f'arm {arm.name}: made={arm.made}'
    if more := sorted(set(tables.changed_fields(arm)) - FREE):
        raise UserError(f'{who} is made for students of plain rows: leave out {", ".join(more)}')
    if arm.defence == 'project:neutral':
        raise UserError(f'{who} has no neutral twin, which defence={arm.defence} reads')
    picks.check(run, dataclasses.replace(arm, picked=f'attack:{POOL}'))


TEACHER_KINDS.register(TeacherKind(
    'forged', 'forged teachers',
    lambda rest: None if rest in ('', RANDOM) else f'is forged, or forged:{RANDOM}',
    lambda rest: 'all', made, whole_displacement, check=check, adaptive=lambda rest: rest == '',
    made_from='tuned', beside=beside))
