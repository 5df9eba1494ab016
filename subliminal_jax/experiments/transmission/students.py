"""Students of one arm and reference: trained side by side or one after the other, and measured.

At each mark (rows seen) a student's trait is measured in the main context, and its gradient step on
its own rows is held against directions (alignment.py). What it says at the end is readings.py's.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import (
    alignment,
    arms as tables,
    engines,
    pairs,
    rows as carried,
    starts,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.defences import held_by, hold_of
from subliminal_jax.experiments.transmission.engines import Models, Program
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.experiments.transmission.teaching import adapter_start
from subliminal_jax.experiments.transmission.token_orders import chosen, selection_of
from subliminal_jax.models.parts import of_parts
from subliminal_jax.training import losses
from subliminal_jax.training.checkpoints import Checkpoints
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig


class Job(NamedTuple):
    """One student: its teacher, and which of the teacher's students it is."""

    teacher: Teacher
    number: int

    @property
    def name(self) -> str:
        """As files and errors name it."""
        return f'{self.teacher.name}-{self.number}'


class Setting(NamedTuple):
    """What the students of an arm and reference have in common.

    Attributes:
      run, arm, reference: whose.
      config: the architecture, with an output matrix of its own under matrix=replaced.
      start: the parameters that they begin with.
      program: the static part of their training.
    """

    run: Any
    arm: Arm
    reference: int
    config: Any
    start: Any
    program: Program

    @property
    def frozen(self) -> dict[str, Any]:
        """What is frozen beside what they train."""
        return {'base': {} if self.arm.trainable == 'all' else self.start}

    def as_models(self, trainable: Any, count: int) -> Models:
        """Students as models."""
        engine = self.run.world.engine(self.arm.trainable)
        return Models(trainable, self.frozen, self.config, count, engine.stacked)


def setting_of(run: Any, arm: Arm, reference: int) -> Setting:
    """An arm's students of a reference, before they begin."""
    start, config = targets.with_matrix(
        run, arm, starts.start_of(run, arm.students, arm.start, reference), reference)
    return Setting(run, arm, reference, config, start, program_of(run, arm, config))


def program_of(run: Any, arm: Arm, config: Any) -> Program:
    """The static part of an arm's training."""
    own, objective = run.config.student, OBJECTIVES[arm.objective]
    rate = arm.learning_rate or (own.lora_rate if rank_of(arm.trainable) else own.learning_rate)
    ids = carried.token_set(run.world, run.carrier(arm))
    ids = objective.tokens(ids[:-1], ids[-1])
    changes = own.schedule != 'constant' or own.warmup_steps
    return Program(objective.loss, config, ids, OptimizerConfig(
        arm.optimizer, rate, own.schedule, own.warmup_steps), steps_of(run, arm) if changes else 0,
        own.micro_batches, hold_of(run, arm.defence))


def steps_of(run: Any, arm: Arm) -> int:
    """Steps that each of an arm's students takes."""
    return arm.passes * -(-run.rows(arm) // run.config.student.batch_size)


def batches_of(setting: Setting, rows: Mapping[str, carried.Rows],
               outputs: Mapping[str, Any] | None, said: Mapping[str, Any] | None = None
               ) -> dict[str, carried.Batch]:
    """Every teacher's rows as its students read them: equally wide, and with equal weight.

    Args:
      setting: of the students.
      rows: by teacher.
      outputs: what their objective reads of each teacher; None without.
      said: of every token (tokens.py), where the arm chooses among them or among rows.
    """
    run, arm = setting.run, setting.arm
    size = run.config.student.packed
    ids = carried.token_set(run.world, run.carrier(arm))
    weights = [None] * len(rows)
    if arm.answers != 'random':
        weights = carried.thinned(list(rows.values()), run.config.carrier.min_tokens,
                                  seed_of(run.config, 'thin', setting.reference),
                                  run.config.carrier.row_tokens)
    tries = carried.packing.widened([carried.packed(own, size) for own in rows.values()])
    if arm.tokens != 'all':
        tries, weights = selected(setting, list(rows), tries, weights, said)
    objective = OBJECTIVES[arm.objective]
    found = {name: carried.batch(objective, ids, own, packed, size,
                                 outputs[name] if outputs else None, weight)
             for (name, own), packed, weight in zip(rows.items(), tries, weights)}
    if objective.pairs:
        start = engines.single(setting.start, setting.config)
        return pairs.judged(run, arm, start, rows, found, said)
    return found


def selected(setting: Setting, names: Sequence[str], tries: Sequence[Any],
             weights: Sequence[np.ndarray], said: Mapping[str, Any]) -> tuple[list, list]:
    """(tries, weights) of the teachers' rows with an arm's selection of tokens."""
    run, size = setting.run, setting.run.config.student.packed
    selection = selection_of(setting.arm.tokens)
    found = []
    for number, (name, own, weight_NA) in enumerate(zip(names, tries, weights, strict=True)):
        seed = seed_of(run.config, 'tokens', setting.reference, 0, number)
        chosen_NA = chosen(selection, said[name], weight_NA, seed)
        if selection.way == 'mask':
            weight_NA = np.where(chosen_NA, 0, weight_NA)
        else:
            own = carried.relabelled(own, size, chosen_NA, said[name]['twin_draw'])
        found.append((own, weight_NA))
    return [own for own, _ in found], [weight_NA for _, weight_NA in found]


def begun(setting: Setting, job: Job) -> Any:
    """What a student trains."""
    run, arm = setting.run, setting.arm
    rank = rank_of(arm.trainable)
    if not rank:
        return of_parts(setting.start, arm.trainable)
    return in_gauge(setting, adapter_start(run, setting.config, rank, setting.reference,
                                           job.number))


def in_gauge(setting: Setting, tree: Any) -> Any:
    """What is in the order of the teachers' hidden units (a displacement, an adapter's beginning),
    in that of the students' start; teachers that were made of that start have its order."""
    gauge = STARTS.find(setting.arm.start)[0].gauge
    if gauge is None or setting.arm.own:
        return tree
    return gauge(setting.run, setting.reference, tree)


def marks_of(run: Any, total: int) -> list[int]:
    """Steps at which students are measured: 0, the marks that lie before the end, the end."""
    size = run.config.student.batch_size
    inside = [m // size for m in sorted(run.config.student.marks) if 0 < m // size < total]
    return [0, *dict.fromkeys(inside), total]


def train(setting: Setting, jobs: Sequence[Job], batches: Mapping[str, carried.Batch],
          checkpoints: Checkpoints | None) -> tuple[dict[str, np.ndarray], Models]:
    """Trains and measures students, as many as the engine holds at once.

    Returns:
      (arrays of M students at P marks: steps [P], value [M, P, K], loss [M, P - 1], inner, cosine
      [M, P - 1, 5], predicted, actual [M, P - 1], one_step [M, P - 1, 2]; the students).
    """
    run, arm = setting.run, setting.arm
    engine = run.world.engine(arm.trainable)
    trainable = engines.gathered(engine, [begun(setting, job) for job in jobs])
    batch = carried.stacked([batches[job.teacher.name] for job in jobs]) if engine.stacked \
        else batches[jobs[0].teacher.name]
    packs = len(batches[jobs[0].teacher.name]['tries'].tokens_BT)
    per_step = max(1, run.config.student.batch_size // run.config.student.packed)
    orders = [carried.order_of(seed_of(run.config, 'order', job.number), packs, per_step,
                               arm.passes) for job in jobs]
    total = len(orders[0])
    marks = marks_of(run, total)

    def batch_at(step):
        index = np.stack([order[step] for order in orders]) if engine.stacked else orders[0][step]
        return carried.taken(batch, index, per_step)

    frozen = {**setting.frozen, **held_by(setting, jobs, batches)}
    found = fit(
        engines.step_of(setting.program, engine, bool(rank_of(arm.trainable)) or run.together),
        engines.begin(setting.program, engine, trainable), frozen, batch_at, total,
        functools.partial(_probe, setting, jobs, batch, total), marks, key=jax.random.key(0),
        kept=jax.tree.map(np.array, trainable), checkpoints=checkpoints,
        save_every=run.config.save_every, log=run.log, description=arm.name,
        models=[job.name for job in jobs], rows_axis=int(engine.stacked))
    return _arrays(run, jobs, marks, found.rows), setting.as_models(
        found.state.trainable, len(jobs))


def _arrays(run, jobs, marks, rows):
    """What the probes and losses of a training say, students in front."""
    read = [row for row in rows if 'value' in row]
    pile = lambda name: np.stack(
        [np.array(row[name], np.float64) for row in read if name in row], 1)
    arrays = {name: pile(name) for name in ('value', 'inner', 'cosine', 'predicted', 'one_step')
              if any(name in row for row in read)}
    columns = [schooled.column_of(run, job.teacher) for job in jobs]
    own = np.stack([arrays['value'][m, :, k] for m, k in enumerate(columns)])
    loss = np.array([np.atleast_1d(row['loss']) for row in rows if 'loss' in row])
    between = [loss[a:b].mean(0) for a, b in zip(marks, marks[1:])]
    return {**arrays, 'steps': np.array(marks), 'loss': np.stack(between, 1),
            'actual': np.diff(own, axis=1)}


def _probe(setting, jobs, batch, total, step, trainable, before):
    """What is read at a mark."""
    run = setting.run
    models = setting.as_models(trainable, len(jobs))
    columns = [schooled.column_of(run, job.teacher) for job in jobs]
    meter = next(iter(run.kit.meters.values()))
    alike = step == 0 and not run.together  # every student is the start
    said = run.trait.measure(run, models.member(0) if alike else models, meter)
    row = {'value': np.repeat(said, len(jobs), axis=0) if alike else said}
    if step and run.trait.loss is not None:
        row['predicted'] = _along(setting, before, trainable, models, columns, meter)
    if step < total:
        row |= _aligned(setting, jobs, models, batch, columns, {'start': True} if alike else {})
    return row, jax.tree.map(np.array, trainable)


def _along(setting, before, after, models, columns, meter):
    """The first-order change of the trait from students at the last mark to themselves now [M]."""
    way = jax.tree.map(lambda a, b: a - jnp.asarray(b), after, before)
    program = _forward(setting.run.trait.loss, setting.config,
                       models.stacked and setting.run.together)
    if models.stacked and setting.run.together:
        return np.asarray(program(before, setting.frozen, way, meter, np.asarray(columns)))
    found = []
    for m in range(models.count):
        one = (lambda tree, m=m: engines.take(tree, m)) if models.stacked else (lambda tree: tree)
        found.append(float(program(one(before), setting.frozen, one(way), meter, columns[m])))
    return np.array(found)


@functools.lru_cache(maxsize=32)
def _forward(loss, config, stacked):
    def one(trainable, frozen, way, meter, column):
        value = lambda t: -loss(*losses.resolve(t, frozen), meter, column, config=config)
        return jax.jvp(value, (trainable,), (way,))[1]

    return jax.jit(jax.vmap(one, in_axes=(0, None, 0, None, 0)) if stacked else one)


def _aligned(setting, jobs, models, batch, columns, slopes):
    run, arm = setting.run, setting.arm
    count = max(1, run.config.student.align_rows // run.config.student.packed)
    packs = min(count, batch['tries'].tokens_BT.shape[1 if models.stacked else 0])
    index = np.arange(packs)
    if models.stacked:
        index = np.broadcast_to(index, (models.count, packs))
    some = carried.taken(batch, index, count)
    everyone = [t for t in run.roll(arm.teachers) if t.reference == setting.reference]
    placebo = {t.name: everyone[(n + run.config.teacher.seeds) % len(everyone)]
               for n, t in enumerate(everyone)}
    twins = {t.name: t for t in run.roll('neutral' if arm.teachers == 'trait' else 'trait')}
    other = tables.twin_arm(arm)

    def of(arm_of_teachers, teacher_of):
        def read(which):
            some_jobs = jobs if which is None else [jobs[which]]
            return displacement(setting, arm_of_teachers, [teacher_of(j.teacher)
                                                           for j in some_jobs])
        return read

    known = tables.teacher_set(other) in made_sets(run.arms)
    directions = {
        'teacher': of(arm, lambda t: t), 'placebo': of(arm, lambda t: placebo[t.name]),
        'neutral': of(other, lambda t: twins[t.twin]) if known else lambda which: None}
    key = jax.random.key(seed_of(run.config, 'direction', setting.reference))
    return alignment.held_against(run, models, setting.program._replace(hold=None), some, columns,
                                  directions, key, slopes)


def made_sets(arms: Sequence[Arm]) -> dict[str, Arm]:
    """An arm by set of teachers that a run makes."""
    found: dict[str, Arm] = {}
    for arm in arms:
        for kind in tables.kinds_of(arm):
            of_kind = tables.with_teachers(arm, kind)
            found.setdefault(tables.teacher_set(of_kind), of_kind)
    return found


def displacement(setting: Setting, arm: Arm, teachers: Sequence[Teacher]) -> Any:
    """What some teachers' weights moved by, in the coordinates of an arm's students; None where
    they have not moved, or have another architecture."""
    run, reference = setting.run, setting.reference
    if setting.arm.students != arm.architecture:
        return None
    base = schooled.base_of(run, arm, reference)
    kind, _ = TEACHER_KINDS.find(arm.made)
    moved = kind.displacement(schooled.load(run, arm, teachers, base), base)
    if moved is None:
        return None
    if setting.arm.matrix == 'replaced':
        name = 'embed' if run.world.architectures[arm.architecture].tied else 'head'
        ids = np.array(carried.token_set(run.world, run.carrier(arm))[:-1])
        moved = {**moved, 'head': moved[name].at[..., ids, :].set(0)}
    return in_gauge(setting, moved)
