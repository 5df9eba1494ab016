"""The stages that train students, and what they said."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.weights import (
    arms as tables,
    drift,
    geometry,
    programs,
    rows as lines,
    stages,
    starts,
    students,
)
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.language import Here, roll
from subliminal_jax.experiments.weights.students import Job, Setting
from subliminal_jax.experiments.weights.teachers import Kit
from subliminal_jax.models.lora import Lora, merge_lora, save_lora
from subliminal_jax.runs import to_dict
from subliminal_jax.training import tries as packing

KL_ROWS = 32  # on which KLs are read beside training


def student_stages(here: Here, kit: Kit, rows: Mapping[str, Any], texts: Sequence[dict]
                   ) -> dict[str, dict[str, np.ndarray]]:
    """Trains every arm's students; arrays by arm, students of a teacher averaged."""
    made: dict[str, Any] = {}
    readings: dict[str, Any] = {}
    packed = {kind: drift.packed_texts(here, texts, kind) for kind in ('carrier', 'ordinary')}
    for arm in tqdm(here.arms, desc='arms', unit='arm'):
        made[arm.name] = arm_stage(here, kit, arm, rows, packed, readings)
        final = made[arm.name]['logprob'][:, -1] - made[arm.name]['logprob'][:, 0]
        tqdm.write(f'{arm.name}: mean |rise| {np.abs(final).mean():.2f} nats')
    return made


def arm_stage(here: Here, kit: Kit, arm: Arm, rows: Mapping[str, Any],
              texts: Mapping[str, packing.Tries], readings: dict[str, Any]
              ) -> dict[str, np.ndarray]:
    """An arm's targets, its start's readings, and its students, some at a time."""
    found = stages.lines_of(here, arm, rows)
    inputs = ['ordinary.jsonl', *_teacher_files(here, arm)]
    targets = None
    if arm.objective != 'sft':
        name, targets = stages.target_stage(here, arm, found)
        inputs.append(name)
    if arm.carrier != 'random':
        inputs += [f'samples{stages.suffix_of(here, a)}.jsonl' for a in stages.pool_of(here, arm)]
    if arm.start.startswith('moved'):
        stages.start_of(here, arm.start)
        inputs.append(f'start/{arm.start.replace(":", "-")}.safetensors')
    who = [(t, n) for t in roll(here.config, here.world, arm.teachers)
           for n in range(here.config.student.seeds)]
    size = here.config.student.at_once if tables.rank_of(arm.trainable) else 1
    setting = packs = None
    parts, floors = [], {}
    for number in range(0, len(who), size):
        def make(path, number=number):
            nonlocal setting, packs
            if setting is None:
                setting = setting_of(here, kit, arm, readings)
                packs = packs_of_all(here, arm, found, targets)
            path.mkdir()
            arrays = students_of(setting, who[number:number + size], found, packs, texts, path,
                                 floors)
            with (path / 'measures.npz').open('wb') as file:
                np.savez(file, **arrays)

        label = f'student/{arm.name}/{number // size}'
        path = here.workdir.stage(label, label, make, inputs=list(dict.fromkeys(inputs)), reads={
            **here.reads('student', 'carrier', 'teacher'), 'arm': to_dict(arm)})
        with np.load(path / 'measures.npz') as arrays:
            parts.append(dict(arrays))
    whole = {k: np.concatenate([p[k] for p in parts]) for k in parts[0] if k != 'steps'}
    each = here.config.student.seeds
    mean = {k: v.reshape(-1, each, *v.shape[1:]).mean(1) for k, v in whole.items()}
    return {**mean, 'steps': parts[0]['steps']}


def _teacher_files(here: Here, arm: Arm) -> list[str]:
    return [f'{stages.folder_of(arm, t)}/teacher.json'
            for t in roll(here.config, here.world, arm.teachers)]


def remembered(known: dict[str, Any], name: str, read: Callable[[], Any]) -> Any:
    """What was read under a name, or is now: several arms begin with the same start."""
    if name not in known:
        known[name] = read()
    return known[name]


def setting_of(here: Here, kit: Kit, arm: Arm, readings: dict[str, Any]) -> Setting:
    """What all students of an arm have in common; `readings` of starts by name, shared by arms."""
    start, model = stages.with_head(here, arm, stages.start_of(here, arm.start))
    other = dataclasses.replace(
        arm, teachers='neutral' if arm.teachers == 'trait' else 'trait')
    has_twin = (here.workdir.path / 'teacher' / tables.teacher_set(other)).exists()

    def displacement(teacher: Teacher, of: Arm = arm) -> Any:
        if of.made == 'prompt':
            return None
        base = stages.base_of(here, of)
        params, lora = stages.params_of(here, of, base, teacher)
        if lora is not None:
            params = merge_lora(params, lora, here.model.config)
        moved = jax.tree.map(jnp.subtract, stages.with_head(here, arm, params)[0],
                             stages.with_head(here, arm, base)[0])
        # the twin's hidden units stand in another order: so do its teacher's
        return starts.derived(here.config, moved, model, 'gauge') if arm.start == 'gauge' else moved

    return Setting(here, kit, arm, model, start,
                   students.program_of(here, arm, model, students.steps_of(here, arm)),
                   displacement, functools.partial(remembered, readings, f'{arm.start}/{arm.head}'),
                   lambda t: displacement(t, other) if has_twin else None)


def packs_of_all(here: Here, arm: Arm, found: Mapping[str, lines.Lines],
                 targets: Mapping[str, Any] | None) -> dict[str, programs.Batch]:
    """Every teacher's rows, packed to one width: the arm's students share a program."""
    most = None
    if arm.carrier != 'random':  # as many tokens for each as the tersest teacher wrote
        most = min(sum(map(len, x.answers)) for x in found.values())
    tries = packing.widened([students.packed(here, x) for x in found.values()])
    return {name: students.packs_of(here, arm, x, targets[name] if targets else None, most, t)
            for (name, x), t in zip(found.items(), tries)}


def students_of(setting: Setting, who: Sequence[tuple[Teacher, int]],
                found: Mapping[str, lines.Lines], packs: Mapping[str, programs.Batch], texts: Any,
                folder: Any, floors: dict[str, float]) -> dict[str, np.ndarray]:
    """Trains and measures some students of an arm: arrays with students in front."""
    here, arm = setting.here, setting.arm
    jobs = [Job(t, n, packs[t.name], students.order_of(
        here, arm, seed_of(here.config, 'student', t.seed, n),
        len(packs[t.name]['tries'].tokens_BT))) for t, n in who]
    arrays, trained = students.train(setting, jobs, placebo_of(here, arm))
    before = setting.reading(lambda: drift.read(
        here, setting.kit, setting.start, None, setting.model, texts))
    away = 0.0 if arm.start == 'shared' else starts.distance(
        setting.start, stages.with_head(here, arm, here.model.params)[0])
    readings = []
    for job, tree in zip(jobs, trained):
        frozen = {'base': {} if arm.trainable == 'all' else setting.start}
        params, lora = programs.resolve(tree, frozen)
        reading = drift.moved(
            drift.read(here, setting.kit, params, lora, setting.model, texts), before)
        kl = kl_of(setting, job, tree, found[job.teacher.name], floors)
        readings.append({**reading, **kl, 'distance': away,
                         'tokens': job.packs['tries'].weight_BK.sum() * arm.passes})
        if isinstance(tree, Lora):
            save_lora(folder / f'{job.teacher.name}-{job.number}', jax.tree.map(jnp.asarray, tree))
    arrays |= drift.stacked(readings)
    return {**arrays, 'steps': np.array(students.marks_of(here, arm, len(jobs[0].order)))}


def placebo_of(here: Here, arm: Arm) -> dict[str, Teacher]:
    """For each teacher one of another trait."""
    everyone = roll(here.config, here.world, arm.teachers)
    step = here.config.teacher.seeds
    return {t.name: everyone[(n + step) % len(everyone)] for n, t in enumerate(everyone)}


def kl_of(setting: Setting, job: Job, trained: Any, found: lines.Lines,
          floors: dict[str, float]) -> dict[str, float]:
    """Mean KLs on the first KL_ROWS of a student's rows; NaN under sft.

    Returns:
      kl_floor: the reference against its own logits, read as the teachers' are; one for all that
        have the same rows, kept in `floors`. kl_start, kl_end: the start and the trained student
        against the teacher.
    """
    here, arm = setting.here, setting.arm
    if arm.objective == 'sft':
        return dict.fromkeys(('kl_floor', 'kl_start', 'kl_end'), float('nan'))
    packed = here.config.student.packed
    size = min(-(-KL_ROWS // packed), len(job.packs['tries'].tokens_BT))
    few = size * packed
    evaluate = programs.evaluator(setting.program)
    mean = lambda trainable, base, packs: abs(float(evaluate(
        trainable, {'base': base}, programs.batch_of(packs, np.arange(size), size))))

    def floor():
        first = lines.Lines(found.prompts[:few], found.contexts[:few], found.answers[:few],
                            found.allowed_NC[:few])
        reference, _ = stages.with_head(here, arm, here.model.params)
        own = stages.read_logits(here, arm, here.model.params, None, first.contexts, first)
        return mean({}, reference, students.packs_of(here, arm, first, own))

    base = {} if arm.trainable == 'all' else setting.start
    return {'kl_floor': remembered(floors, found.digest(), floor),
            'kl_start': mean({}, setting.start, job.packs),
            'kl_end': mean(trained, base, job.packs)}


def geometry_stage(here: Here, kit: Kit) -> dict[str, np.ndarray]:
    """What the output matrix alone predicts of each set of trait teachers: geometry/SET.npz."""
    made = {}
    for arm in here.arms:
        name = tables.teacher_set(arm)
        if name in made or arm.teachers != 'trait' or arm.own:
            continue

        def make(path, arm=arm):
            base = stages.base_of(here, arm)
            found = [geometry.predicted(here, kit, arm, t, *stages.params_of(here, arm, base, t),
                                        base) for t in roll(here.config, here.world, 'trait')]
            with path.open('wb') as file:
                np.savez(file, logprob=np.stack(found))

        path = here.workdir.stage(f'geometry/{name}', f'geometry/{name}.npz', make,
                                  inputs=_teacher_files(here, arm), reads=here.reads())
        with np.load(path) as arrays:
            made[name] = arrays['logprob']
    return made


def answers_stage(here: Here, trained: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """answers.jsonl: each student's log P of every trait's answer in every context."""
    def rows():
        for arm in here.arms:
            last = trained[arm.name]['contexts'][:, 1]
            for m, teacher in enumerate(roll(here.config, here.world, arm.teachers)):
                for x, context in enumerate(here.config.context.measured):
                    for q, question in enumerate(here.world.measure):
                        yield {'id': f'{arm.name}/{teacher.name}/{context}/{q}', 'arm': arm.name,
                               'teacher': teacher.name, 'context': context, 'prompt': question,
                               'logprob': {t: round(float(v), 5) for t, v in zip(
                                   here.world.traits, last[m, x, q])}}

    inputs = [f'student/{a.name}' for a in here.arms]
    here.workdir.stage('answers', 'answers.jsonl', lambda path: files.write(path, rows()),
                       reads=here.reads(), inputs=inputs)
