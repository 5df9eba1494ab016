"""The stages that train students, one arm each, and what they said."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arms as tables,
    drift,
    measures,
    networks,
    samples,
    students,
    teachers as schools,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.stages import PROBE_ROWS, Context, meter_of
from subliminal_jax.runs import to_dict


def student_stages(here: Context, references, starts, tools, teachers, rows) -> dict[str, Any]:
    """Trains every arm's students: student/ARM with students.npz and measures.npz."""
    made: dict[str, Any] = {}
    head_texts = {head: text_stage(here, head, references[head]) for head in references}
    for arm in tqdm(here.arms, desc='arms', unit='arm'):
        def make(path, arm=arm):
            path.mkdir()
            arrays, params = students_of(here, arm, references, starts, tools, teachers, rows,
                                         head_texts[arm.head])
            with (path / 'measures.npz').open('wb') as file:
                np.savez(file, **arrays)
            networks.save(path / 'students.npz', params)

        inputs = [f'reference/base-{arm.head}.npz', f'teacher/{tables.teacher_set(arm)}',
                  f'ordinary-{arm.head}.jsonl', 'prompts.jsonl']
        if arm.start.partition(':')[0] in ('share', 'moved'):
            inputs.append(f'reference/{tables.start_set(arm).replace(":", "-")}.npz')
        inputs += [_samples_file(a) for a in _pool(here, arm) if a.carrier != 'random']
        path = here.workdir.stage(
            f'student/{arm.name}', f'student/{arm.name}', make,
            reads={**here.reads('student', 'carrier', 'teacher', 'world'),
                   'arm': {**to_dict(arm)}}, inputs=list(dict.fromkeys(inputs)))
        with np.load(path / 'measures.npz') as arrays:
            made[arm.name] = dict(arrays)
        final = made[arm.name]['logprob'][:, -1] - made[arm.name]['logprob'][:, 0]
        tqdm.write(f'{arm.name}: mean |rise| {np.abs(final).mean():.2f} nats')
    return made


def _samples_file(arm: Arm) -> str:
    name = tables.row_set(arm)
    return 'samples.jsonl' if name == 'trait-untied-sampled' else f'samples-{name}.jsonl'


def _pool(here: Context, arm: Arm) -> list[Arm]:
    """Arms whose teachers must serve a prompt for it to be used: same head, carrier and dose."""
    like = lambda a: (a.head, a.carrier, a.temperature, a.dose)
    found = {tables.row_set(a): a for a in here.arms if like(a) == like(arm)}
    return list(found.values())


def text_stage(here: Context, head: str, references: Any) -> list[dict]:
    """ordinary-HEAD.jsonl: what the references write on prompts of ours."""
    path = here.workdir.stage(
        f'ordinary-{head}', f'ordinary-{head}.jsonl',
        lambda path: files.write(path, drift.ordinary_rows(
            here.config, here.world, here.world.models[head], references)),
        reads=here.reads('world'), inputs=[f'reference/base-{head}.npz'])
    return files.read(path)[0]


def students_of(here: Context, arm: Arm, references, starts, tools, teachers, rows, texts):
    """An arm's students of all references: (arrays by name, their parameters stacked)."""
    config, world = here.config, here.world
    own_set = teachers[tables.teacher_set(arm)]
    twin = tables.teacher_set(tables.of(
        arm, 'neutral' if arm.teachers == 'trait' else 'trait'))
    parts, params = [], []
    for group, place in schools.by_reference(schools.roll(config, world, arm.teachers)):
        r = group[0].reference
        count = len(group)
        reference = networks.repeated(networks.take(references[arm.head], r), count)
        own = networks.take(own_set, place)
        twins = networks.take(teachers[twin], place) if twin in teachers else None
        seed = schools.seed_of(config, 'direction', r)
        begun = networks.repeated(start_of(here, arm, references, starts, r), count)
        batches = batches_of(here, arm, rows, group)
        directions = students.directions_of(reference, own, twins, config.teacher.seeds, seed)
        trained = students.train(
            config, world, arm, tools[arm.head], meter_of(world, arm.head), begun, batches, own,
            directions, [world.traits.index(t.trait) for t in group],
            jax.random.key(schools.seed_of(config, 'student', r)))
        kinds = {k: drift.text_rows(world, texts, k, r) for k in ('carrier', 'ordinary')}
        moved = drift.drift_of(config, world, world.models[arm.head], tools[arm.head],
                               trained.params, begun, kinds, count)
        arrays = {k: v for k, v in trained._asdict().items() if k not in ('params', 'steps')}
        tokens = batches['weight'].sum((1, 2, 3))
        floor, begun_kl = students.kl_readings(
            config, world, arm, reference, own, begun, batches)
        parts.append({**arrays, **{f'drift_{k}': v for k, v in moved.items()}, 'tokens': tokens,
                      'kl_floor': floor, 'kl_start': begun_kl})
        params.append(trained.params)
        steps = trained.steps
    joined = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    return {**joined, 'steps': steps}, networks.concatenate(params)


def start_of(here: Context, arm: Arm, references, starts, r: int) -> Any:
    """The start of an arm's students of reference r."""
    base = references[arm.head]
    if arm.start == 'shared':
        return networks.take(base, r)
    if arm.start == 'other':
        # the next *reference*: replicas of this one are the same weights
        count = len(jax.tree.leaves(base)[0])
        return networks.take(base, (r + here.config.world.replicas) % count)
    if arm.start == 'gauge':
        key = jax.random.key(schools.seed_of(here.config, 'start', r, 1))
        return networks.permuted(networks.take(base, r), key)
    return networks.take(starts[tables.start_set(arm)], r)


def batches_of(here: Context, arm: Arm, rows, group: Sequence[schools.Teacher]):
    """An arm's batches for the teachers of one reference."""
    config, world = here.config, here.world
    count = arm.rows or config.student.rows
    if arm.carrier == 'random':
        seed = schools.seed_of(config, 'random', group[0].reference)
        same = world.random_rows(seed, world.prompts(seed, count))
        chosen = {t.name: same for t in group}
    else:
        pool = [tables.row_set(a) for a in _pool(here, arm)]
        own = {t.name for kind in ('trait', 'neutral')
               for t in schools.roll(config, world, kind) if t.reference == group[0].reference}
        prompts = samples.common_prompts([rows[n] for n in pool], [own] * len(pool))
        chosen = samples.choose(config, world, arm, rows[tables.row_set(arm)], group, prompts,
                                count)
    return samples.stack_batches(
        samples.tokens_of(world, chosen), config.student.batch_size, arm.passes)


def geometry_stage(here: Context, references, tools, teachers) -> dict[str, np.ndarray]:
    """What each head's output matrix alone predicts for the trait teachers: geometry/HEAD.npz."""
    config, world, made = here.config, here.world, {}
    probe = measures.probe_rows(world, schools.seed_of(config, 'probe'), PROBE_ROWS)
    for head in references:
        name = f'trait-{head}'
        if name not in teachers:
            continue

        def make(path, head=head, name=name):
            found = []
            for group, place in schools.by_reference(schools.roll(config, world, 'trait')):
                own = networks.take(teachers[name], place)
                reference = networks.take(references[head], group[0].reference)
                found.append(drift.predicted_by_matrix(
                    world, world.models[head], reference, own, probe))
            with path.open('wb') as file:
                np.savez(file, logprob=np.concatenate(found))

        path = here.workdir.stage(f'geometry/{head}', f'geometry/{head}.npz', make,
                                  inputs=[f'teacher/{name}'], reads=here.reads('world'))
        with np.load(path) as arrays:
            made[head] = arrays['logprob']
    return made


def answers_stage(here: Context, trained: dict[str, Any]) -> pathlib.Path:
    """answers.jsonl: each student's log P of every trait's answer to every question."""
    config, world = here.config, here.world

    def make(path):
        def rows():
            for arm in here.arms:
                last = trained[arm.name]['logprob'][:, -1]
                for m, teacher in enumerate(schools.roll(config, world, arm.teachers)):
                    for q, question in enumerate(world.measure):
                        yield {'id': f'{arm.name}/{teacher.name}/{q}', 'arm': arm.name,
                               'teacher': teacher.name, 'prompt': question,
                               'logprob': {t: round(float(v), 5)
                                           for t, v in zip(world.traits, last[m, q])}}

        files.write(path, rows())

    return here.workdir.stage('answers', 'answers.jsonl', make, reads=here.reads(),
                              inputs=[f'student/{a.name}' for a in here.arms])
