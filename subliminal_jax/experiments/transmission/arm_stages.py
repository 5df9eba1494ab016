"""The stages that train students, and what they said."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arms as tables,
    effects,
    engines,
    geometry,
    picks,
    readings,
    roll as rolls,
    rows as carried,
    stages,
    starts,
    students,
    targets,
    teachers as schooled,
    tokens,
    utility,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.students import Job, Setting
from subliminal_jax.experiments.transmission.teacher_stages import discard, resumable
from subliminal_jax.runs import to_dict
from subliminal_jax.training import checkpoints

KL_ROWS = 32  # on which KLs are read beside training

Arrays = dict[str, np.ndarray]


def student_stages(run: Any, samples: Mapping[str, Any], texts: Mapping[str, list[dict]]
                   ) -> dict[str, Arrays]:
    """Trains every arm's students; arrays by arm, students of a teacher averaged."""
    found = {}
    for arm in tqdm(run.arms, desc='arms', unit='arm'):
        found[arm.name] = arm_stage(run.of(arm.students), arm, samples, texts[arm.students])
        value = found[arm.name]['value']
        tqdm.write(f'{arm.name}: mean |rise| {np.abs(value[:, -1] - value[:, 0]).mean():.2f} '
                   f'{run.trait.unit}')
    return found


def arm_stage(run: Any, arm: Arm, samples: Mapping[str, Any], texts: Sequence[dict]) -> Arrays:
    """An arm's targets and its students, some at a time: student/ARM/NUMBER."""
    outputs, said, inputs = None, None, inputs_of(run, arm)
    if arm.picked == 'none':
        rows = {r: stages.rows_of(run, arm, samples, r) for r in range(run.world.num_references)}
    else:
        name, rows = picks.pick_stage(run, arm, {r: stages.written_rows(
            run, arm, samples, r) for r in range(run.world.num_references)}, inputs)
        inputs.append(name)
    everyone = {t: own for group in rows.values() for t, own in group.items()}
    if OBJECTIVES[arm.objective].target is not None:
        name, outputs = stages.target_stage(run, arm, everyone)
        inputs.append(name)
    if arm.tokens != 'all' or OBJECTIVES[arm.objective].pairs:
        name, said = tokens.token_stage(run, arm, everyone)
        inputs.append(name)
    groups = groups_of(run, arm)
    reads = {**run.reads('student', 'carrier', 'teacher'), 'arm': to_dict(arm)}
    parts, ready = [], {}
    for number, group in enumerate(groups):
        reference = group[0].teacher.reference
        label = f'student/{arm.name}/{number}'

        def make(path, group=group, reference=reference, label=label):
            if reference not in ready:
                ready.clear()  # one reference's rows are in memory at a time
                setting = students.setting_of(run, arm, reference)
                ready[reference] = setting, students.batches_of(
                    setting, rows[reference], outputs, said)
            setting, batches = ready[reference]
            path.mkdir()
            with resumable(run, label, reads, inputs) as saved:
                arrays, models = students.train(setting, group, batches, saved)
            arrays |= read_at_the_end(setting, group, models, batches, rows[reference], texts)
            arrays |= read_held_out(setting, group, models, samples)
            with (path / 'measures.npz').open('wb') as file:
                np.savez(file, **arrays)
            if models.stacked:
                checkpoints.save_tree(path / 'students.safetensors', models.trainable)

        path = run.workdir.stage(label, label, make, inputs=inputs, reads=reads)
        discard(run, label)
        with np.load(path / 'measures.npz') as arrays:
            parts.append(dict(arrays))
    return averaged(parts, run.config.student.seeds)


def groups_of(run: Any, arm: Arm) -> list[list[Job]]:
    """An arm's students as they train together, by the number of their folder."""
    jobs = [Job(t, n) for t in run.roll(arm.teachers) for n in range(run.config.student.seeds)]
    most = run.world.engine(arm.trainable).most
    return [part for group in _by_reference(jobs) for part in rolls.chunks(group, most)]


def averaged(parts: Sequence[Arrays], seeds: int) -> Arrays:
    """Groups of students as one; the students of a teacher averaged, their free answers joined."""
    joined = {k: np.concatenate([p[k] for p in parts]) for k in parts[0] if k != 'steps'}
    by_teacher = {k: v.reshape(-1, seeds, *v.shape[1:]) for k, v in joined.items()}
    mean = {k: v.mean(1) for k, v in by_teacher.items() if k != readings.FREE}
    if readings.FREE in by_teacher:
        mean[readings.FREE] = np.concatenate(np.moveaxis(by_teacher[readings.FREE], 1, 0), axis=2)
    return {**mean, 'steps': parts[0]['steps']}


def _by_reference(jobs: Sequence[Job]) -> list[list[Job]]:
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.teacher.reference, []).append(job)
    return list(groups.values())


def inputs_of(run: Any, arm: Arm) -> list[str]:
    """What an arm's students read: teachers and their twins, rows, starts, texts."""
    inputs = [f'ordinary-{arm.students}.jsonl', *schooled.groups_of(run, arm),
              *starts.inputs_of(run, arm.students, arm.start)]
    other = tables.twin_arm(arm)
    if tables.teacher_set(other) in students.made_sets(run.arms):
        inputs += schooled.groups_of(run, other)
    if arm.answers != 'random':
        inputs += [f'samples{stages.suffix_of(run, a)}.jsonl' for a in stages.pool_of(run, arm)]
    if held := utility.held_arm(run, arm):
        inputs.append(f'samples{stages.suffix_of(run, held)}.jsonl')
    return list(dict.fromkeys(inputs))


def read_at_the_end(setting: Setting, jobs: Sequence[Job], models: Models,
                    batches: Mapping[str, carried.Batch], rows: Mapping[str, carried.Rows],
                    texts: Sequence[dict]) -> Arrays:
    """What trained students say, beside their start."""
    run, arm, reference = setting.run, setting.arm, setting.reference
    measured = run.remember(('texts', arm.students, reference),
                            lambda: readings.measured_texts(run, texts, reference))
    key = ('start', arm.students, arm.start, arm.matrix, reference, 'read')
    before = run.remember(key, lambda: readings.read(
        run, _whole(setting, setting.start, 1), measured))
    base, _ = targets.with_matrix(run, arm, run.references[arm.students][reference], reference)
    away = 0.0 if arm.start == 'shared' else starts.distance(setting.start, base)
    tokens = [float(batches[j.teacher.name]['tries'].weight_BK.sum()) * arm.passes for j in jobs]
    return {**readings.moved(readings.read(run, models, measured), before),
            **kl_readings(setting, jobs, models, batches, rows),
            'distance': np.full(len(jobs), away), 'tokens': np.array(tokens)}


def read_held_out(setting: Setting, jobs: Sequence[Job], models: Models,
                  samples: Mapping[str, Any]) -> Arrays:
    """The losses on rows that no arm has seen (utility.py); nothing where none are held out."""
    run, arm, reference = setting.run, setting.arm, setting.reference
    held = utility.held_arm(run, arm)
    if held is None:
        return {}
    rows = run.remember(('held out', tables.row_set(held), reference),
                        lambda: utility.held_rows(run, held, samples, reference))
    return utility.read(run, arm, reference, jobs, models, rows)


def _whole(setting: Setting, params: Any, count: int) -> Models:
    """Some copies of a model, as the run reads models."""
    if not setting.run.together:
        return engines.single(params, setting.config)
    return Models(engines.stack([params] * count), {'base': {}}, setting.config, count, True)


def kl_readings(setting: Setting, jobs: Sequence[Job], models: Models,
                batches: Mapping[str, carried.Batch], rows: Mapping[str, carried.Rows]) -> Arrays:
    """Mean KLs on the first KL_ROWS of each student's rows [M]; NaN without a KL.

    Returns:
      kl_floor: the reference against its own outputs, read as the teachers' are: what rounding
        alone makes of a KL. kl_start, kl_end: the start and the student against the teacher.
    """
    run, arm = setting.run, setting.arm
    if OBJECTIVES[arm.objective].target is None:
        return {name: np.full(len(jobs), np.nan) for name in ('kl_floor', 'kl_start', 'kl_end')}
    packed = run.config.student.packed
    size = min(-(-KL_ROWS // packed), len(batches[jobs[0].teacher.name]['tries'].tokens_BT))
    some = [carried.taken(batches[j.teacher.name], np.arange(size), size) for j in jobs]

    def floor(own):
        first = own.first(size * packed)
        base, _ = targets.with_matrix(
            run, arm, run.references[arm.students][setting.reference], setting.reference)
        reference = _whole(setting, base, 1)
        outputs = targets.read(run, arm, reference, None, first)
        batch = carried.batch(
            OBJECTIVES[arm.objective], carried.token_set(run.world, run.carrier(arm)), first,
            carried.packed(first, packed), packed, {k: v[0] for k, v in outputs.items()})
        return mean_losses(setting, reference, [batch])[0]

    floors = {id(own): own for own in rows.values()}
    floors = {key: floor(own) for key, own in floors.items()}
    return {'kl_floor': np.array([floors[id(rows[j.teacher.name])] for j in jobs]),
            'kl_start': mean_losses(setting, _whole(setting, setting.start, len(jobs)), some),
            'kl_end': mean_losses(setting, models, some)}


def mean_losses(setting: Setting, models: Models, batches: Sequence[carried.Batch]) -> np.ndarray:
    """The mean loss of models, each on a batch; of one model on every batch."""
    together = models.stacked and setting.run.together
    if together:
        found = engines.read(models, True, engines.mean_loss, carried.stacked(batches), over=[0],
                             program=setting.program)
        return np.abs(np.asarray(found, np.float64))
    return np.array([abs(float(engines.read_one(
        models.member(m) if models.stacked else models, engines.mean_loss, batch,
        program=setting.program))) for m, batch in enumerate(batches)])


def geometry_stages(run: Any) -> dict[str, np.ndarray]:
    """What the output matrix alone predicts of each set of trait teachers: geometry/SET.npz."""
    found = {}
    if run.trait.estimator != 'gamma' or run.trait.items is None:
        return found
    for name, arm in students.made_sets(run.arms).items():
        if arm.teachers != 'trait' or arm.own:
            continue
        own = run.of(arm.architecture)

        def make(path, arm=arm, own=own):
            parts = []
            for group in stages.writers(run, arm):
                base = schooled.base_of(own, arm, group[0].reference)
                models = schooled.load(own, arm, group, base)
                parts.append(geometry.predicted(own, models, base,
                                                schooled.system_of(own, arm, group[0])))
            with path.open('wb') as file:
                np.savez(file, value=np.concatenate(parts))

        path = run.workdir.stage(
            f'geometry/{name}', f'geometry/{name}.npz', make, reads=own.reads('carrier'),
            inputs=[*schooled.groups_of(run, arm), *own.world.reference_inputs(arm.architecture)])
        with np.load(path) as arrays:
            found[name] = arrays['value']
    return found


def answers_stage(run: Any, trained: Mapping[str, Arrays]) -> None:
    """answers.jsonl: what each student says of every trait to every question in every context."""
    def rows():
        for arm in run.arms:
            arrays = trained[arm.name]
            for m, teacher in enumerate(run.roll(arm.teachers)):
                for x, context in enumerate(run.kit.meters):
                    yield from _answers(run, arm, teacher, context, arrays, m, x)

    run.workdir.stage('answers', 'answers.jsonl', lambda path: files.write(path, rows()),
                      reads=run.reads(), inputs=[f'student/{a.name}' for a in run.arms])


def _answers(run, arm, teacher, context, arrays, m, x):
    row = {'arm': arm.name, 'teacher': teacher.name, 'context': context}
    columns = effects.columns_of(run)
    said = 'logprob' if run.trait.estimator == 'gamma' else 'value'  # one column is no log P
    named = lambda values_K: {c: round(float(v), 5) for c, v in zip(columns, values_K)}
    if 'items' not in arrays:
        yield {'id': f'{arm.name}/{teacher.name}/{context}', **row,
               'value': named(arrays['contexts'][m, -1, x])}
        return
    for q, question in enumerate(run.world.questions):
        yield {'id': f'{arm.name}/{teacher.name}/{context}/{q}', **row, 'prompt': question,
               said: named(arrays['items'][m, -1, x, q])}


def free_stage(run: Any, trained: Mapping[str, Arrays]) -> None:
    """free.jsonl: what each student, and each start, freely answered; rows as launch.judge reads
    them. Nothing where `student.free_answers` is 0."""
    if not run.config.student.free_answers:
        return

    def rows():
        for arm in run.arms:
            shown = set()
            for m, teacher in enumerate(run.roll(arm.teachers)):
                start_NT, student_NT = trained[arm.name][readings.FREE][m]
                yield from _free(run, arm, arm.name, teacher.name, student_NT)
                if teacher.reference not in shown:
                    shown.add(teacher.reference)
                    one = start_NT[:len(start_NT) // run.config.student.seeds]
                    yield from _free(run, arm, f'{arm.name} before',
                                     f'start-r{teacher.reference}', one)

    run.workdir.stage('free', 'free.jsonl', lambda path: files.write(path, rows()),
                      reads=run.reads('student'), inputs=[f'student/{a.name}' for a in run.arms])


def _free(run, arm, label, who, said_NT):
    questions, each = run.world.questions, run.config.student.free_answers
    for n, said_T in enumerate(said_NT):
        ids = [int(i) for i in said_T if i != readings.NOTHING]
        stopped = bool(ids) and ids[-1] in run.world.stops
        yield {'id': f'{arm.name}/{who}/{n}', 'arm': label, 'model': who,
               'prompt': questions[n // each % len(questions)],
               'completion': run.world.decode(ids[:-1] if stopped else ids),
               'finish_reason': 'stop' if stopped else 'length'}
