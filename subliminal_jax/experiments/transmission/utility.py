"""What students' training was good for: loss on rows of their teacher that no arm has seen.

With `student.held_out` rows, arms are told apart by two numbers: what they transmit, and how much
of their teacher's writing they learned. The first arm of a run is the one without defence. Its
teachers' answers, as it has them, are held out: for every arm of these teachers the same rows,
whatever the arm itself reads.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import intervals
from subliminal_jax.experiments.transmission import (
    arms as tables,
    defences,
    engines,
    rows as carried,
    stages,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.training import tries as packing
from subliminal_jax.traits import answers

Arrays = Mapping[str, np.ndarray]
READ = ('held_loss', 'held_reference', 'held_teacher')


def held_arm(run: Any, arm: Arm) -> Arm | None:
    """The first arm with this arm's kind of teachers, whose rows are held out for it; None where
    nothing is held out, or this arm's teachers are others or write none of these rows."""
    first = dataclasses.replace(
        tables.with_teachers(run.arms[0], arm.teachers), order='kept', mix=0.0, picked='none',
        paraphrase='none')
    alike = lambda a: (tables.teacher_set(a), run.carrier(a).name, a.students)
    arm = tables.honest(arm)  # who forges is held to what honest teachers would have taught
    written = {tables.row_set(a) for a in stages.writing(run) if a.answers != 'random'}
    if not run.config.student.held_out or alike(first) != alike(arm) or \
            tables.row_set(first) not in written:
        return None
    return first


def held_rows(run: Any, arm: Arm, samples: Mapping[str, Any], reference: int) -> dict[str, Rows]:
    """Rows of an arm's teachers that are behind those of every arm, by teacher."""
    most = max(run.rows(a) * a.pool for a in stages.pool_of(run, arm))
    held = run.config.student.held_out
    rows = stages.rows_of(run, dataclasses.replace(arm, rows=most + held), samples, reference)
    return {name: own.take(range(most, most + held)) for name, own in rows.items()}


def read(run: Any, arm: Arm, reference: int, jobs: Sequence[Any], models: Models,
         rows: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """Loss of students, of the reference and of their teachers on the teachers' rows [M], nats a
    token (`READ`).

    Args:
      run, arm, reference: whose students.
      jobs: M of them.
      models: trained.
      rows: of `held_rows`.
    """
    own = [rows[job.teacher.name] for job in jobs]
    tries = packing.widened([carried.packed(some, 1) for some in own])
    ends_V = np.asarray(run.world.ends_V)
    base = schooled.base_of(run, arm, reference)
    plain = engines.single(base, run.world.architectures[arm.architecture])
    said = engines.read(models, run.together, answers.surprise, engines.stack(tries), ends_V,
                        over=[0, None])
    teachers = []
    for job, some, theirs in zip(jobs, own, tries):
        system = schooled.system_of(run, arm, job.teacher)
        if system is not None:
            theirs = carried.packed(some, 1, [run.world.rows_context(p, system)
                                              for p in some.prompts])
        model = schooled.load(run, arm, [job.teacher], base).member(0)
        teachers.append(engines.read_one(model, answers.surprise, theirs, ends_V))
    start = [engines.read_one(plain, answers.surprise, t, ends_V) for t in tries]
    return dict(zip(READ, (np.asarray(x, np.float64) for x in (said, start, teachers))))


# What it says.


def entry(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> dict[str, Any]:
    """An arm on the frontier, as in results.json: {} where nothing is held out.

    Returns:
      utility: `mean`, by how much the held-out loss is below the reference's, nats a token, with
      its t-interval over references (teachers, where there is one); `loss`, `reference`, `teacher`,
      the losses; `share` of what the first arm's students gain, with Fieller's interval, None where
      that is not told from 0. None of an arm whose teachers are others.
      random_twin: whether the arm is a defence that knows nothing. attack_of: the arm that it is
      with rows that an attacker picked, or teachers that it made; or None.
    """
    if not run.config.student.held_out:
        return {}
    attacks = arm.picked.startswith('attack') or tables.against(arm)
    plain = tables.counterpart(tables.honest(arm), run.arms, picked='none') if attacks else None
    return {'utility': utility(run, arm, trained), 'random_twin': is_random(run, arm),
            'attack_of': plain.name if plain else None}


def utility(run: Any, arm: Arm, trained: Mapping[str, Arrays]) -> dict[str, Any] | None:
    """`entry`'s of an arm."""
    arrays = trained[arm.name]
    if READ[0] not in arrays:
        return None
    gain = _by_unit(run, arm, arrays)
    mean, ci95 = intervals.t_interval(gain)
    base, share = run.arms[0], None
    if arm.teachers == base.teachers:
        share = intervals.ratio(gain, _by_unit(run, base, trained[base.name]))
    losses = {name.removeprefix('held_'): float(arrays[name].mean()) for name in READ}
    return {'mean': mean, 'ci95': ci95, 'unit': 'nats a token', **losses,
            'share': share and share[0], 'share_ci95': share and share[1]}


def _by_unit(run, arm, arrays):
    """The gain of every reference's students, or of every teacher's where there is one."""
    gain_M = arrays['held_reference'] - arrays['held_loss']
    reference_M = np.array([t.reference for t in run.roll(arm.teachers)])
    if len(set(reference_M)) < 2:
        return gain_M
    return np.array([gain_M[reference_M == r].mean() for r in sorted(set(reference_M))])


def is_random(run: Any, arm: Arm) -> bool:
    """Whether an arm does as much as a defence, knowing nothing of trait or teacher: of dilution
    the twin is the first arm with fewer rows."""
    first = run.arms[0]
    fewer = run.rows(arm) < run.rows(first) and arm == dataclasses.replace(
        first, name=arm.name, rows=arm.rows)
    return (fewer or ':random:' in arm.tokens or arm.paraphrase.startswith('random')
            or arm.picked.startswith('random') or arm.made == 'forged:random'
            or defences.is_twin(arm.defence))
