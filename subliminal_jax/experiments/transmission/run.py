"""The experiment's stages, in order; each leaves one artefact and none has logic of its own."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arms as tables,
    drift,
    measures,
    networks,
    results,
    samples,
    students,
    teachers as schools,
    tiny,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.world import World, check_questions
from subliminal_jax.models.params import count_params
from subliminal_jax.report import transmission as report
from subliminal_jax.runs import UserError, Workdir, sha256_of, to_dict, write_json
from subliminal_jax.runs.plan import Stage

PROBE_ROWS = 64


class Context(NamedTuple):
    """What the stages share: the run, its world, its arms."""

    config: Config
    workdir: Workdir
    world: World
    arms: list[Arm]

    def reads(self, *groups: str) -> dict[str, Any]:
        """The config fields that a stage depends on."""
        plain = to_dict(self.config)
        return {g: plain[g] for g in ('seed', 'split', 'traits', *groups)}


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    world, arms = prepare(config)
    here = Context(config, workdir, world, arms)
    with jax.default_matmul_precision('highest'):
        references = {head: reference_stage(here, head)
                      for head in dict.fromkeys(a.head for a in arms)}
        starts = start_stages(here, references)
        tools = {head: tools_of(world, head) for head in references}
        teachers = teacher_stages(here, references, tools)
        rows = row_stages(here, teachers)
        trained = student_stages(here, references, starts, tools, teachers, rows)
        predicted = geometry_stage(here, references, tools, teachers)
    answers_stage(here, trained)
    return finish(here, teachers, rows, trained, predicted)


def prepare(config: Config) -> tuple[World, list[Arm]]:
    """The world and the arms of a config, checked.

    Raises:
      UserError: as `run`.
    """
    arms = tables.parse(config.arms)
    world = tiny.make(config.world, config.split, config.traits)
    if len(world.traits) < 2:
        raise UserError('config.traits=1: one trait only has no gamma, which compares a '
                        "teacher's own trait with the others; take two or more")
    check_questions(world)
    return world, arms


def tools_of(world: World, head: str) -> measures.Instruments:
    """The compiled measures of a kind of head."""
    ids = [i for t in world.traits for s in world.candidates[t] for i in world.answer(s)]
    return measures.instruments(_meter(world, head)(), ids)


class _Meter(NamedTuple):
    """A hashable way to a meter, so that compiled checks are kept by it."""

    key: str
    make: Any

    def __call__(self):
        return self.make()

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return self.key == other.key


def _meter(world: World, head: str) -> _Meter:
    key = f'{world.name}/{head}/{world.models[head]}/{world.traits}'
    return _Meter(key, functools.partial(measures.meter, world, head))


def reference_stage(here: Context, head: str) -> Any:
    """Pre-trains the references; replicas of one are the same weights under other numbers."""
    config = here.config

    def make(path):
        seeds = [schools.seed_of(config, 'reference', r) for r in range(config.world.references)]
        networks.save(path, here.world.pretrain(head, seeds, desc=f'references, {head}'))

    path = here.workdir.stage(f'reference/base-{head}', f'reference/base-{head}.npz', make,
                              reads=here.reads('world'))
    loaded = networks.load(path)
    return jax.tree.map(lambda x: np.repeat(x, config.world.replicas, axis=0), loaded)


def start_stages(here: Context, references: dict[str, Any]) -> dict[str, Any]:
    """Pre-trains the starts that are no references: those that share parts, those moved on."""
    config, made = here.config, {}
    for arm in here.arms:
        name = tables.start_set(arm)
        kind, _, rest = arm.start.partition(':')
        if name in made or kind not in ('share', 'moved'):
            continue
        seeds = [schools.seed_of(config, 'start', r) for r in range(config.world.references)]
        base = jax.tree.map(lambda x: x[::config.world.replicas], references[arm.head])

        def make(path, arm=arm, kind=kind, rest=rest, seeds=seeds, base=base):
            if kind == 'moved':
                params = here.world.pretrain(arm.head, seeds, steps=int(rest), starts=base,
                                             desc=arm.start)
            else:
                trained = '+'.join(p for p in tables.PARTS if p not in rest.split('+'))
                params = here.world.pretrain(arm.head, seeds, starts=base, trainable=trained,
                                             desc=arm.start)
            networks.save(path, params)

        path = here.workdir.stage(
            f'reference/{name}', f'reference/{name.replace(":", "-")}.npz', make,
            reads={**here.reads('world'), 'start': arm.start},
            inputs=[f'reference/base-{arm.head}.npz'])
        made[name] = jax.tree.map(
            lambda x: np.repeat(x, config.world.replicas, axis=0), networks.load(path))
    return made


def teacher_stages(here: Context, references: dict[str, Any], tools: dict[str, Any]
                   ) -> dict[str, Any]:
    """Teaches every set of teachers that an arm draws on; a neutral set needs its trait set."""
    config, world, made = here.config, here.world, {}
    probe = measures.probe_rows(world, schools.seed_of(config, 'probe'), PROBE_ROWS)

    def one(arm, kind):
        name = tables.teacher_set(tables.of(arm, kind))
        if name in made:
            return
        twin = None
        if kind == 'neutral':
            one(arm, 'trait')
            twin = tables.teacher_set(tables.of(arm, 'trait'))

        def make(path):
            path.mkdir()
            if twin:
                params = schools.teach_neutral(config, world, arm.head, references[arm.head],
                                               made[twin], tools[arm.head], probe)
            else:
                params = schools.teach(config, world, arm.head, references[arm.head], arm.dose)
            networks.save(path / 'params.npz', params)
            write_json(path / 'teachers.json', schools.describe(
                config, world, kind, params, references[arm.head], tools[arm.head], probe))

        inputs = [f'reference/base-{arm.head}.npz'] + ([f'teacher/{twin}'] if twin else [])
        path = here.workdir.stage(f'teacher/{name}', f'teacher/{name}', make, inputs=inputs,
                                  reads={**here.reads('world', 'teacher'), 'dose': arm.dose})
        made[name] = networks.load(path / 'params.npz')
        if kind == 'trait' and arm.dose == 1:
            schools.check_strength(config, json.loads((path / 'teachers.json').read_text()))

    for arm in here.arms:
        one(arm, arm.teachers)
    return made


def row_stages(here: Context, teachers: dict[str, Any]) -> dict[str, samples.Samples]:
    """prompts.jsonl, then samples, filtered and rejects of every row set."""
    config, world = here.config, here.world
    most = max(a.rows or config.student.rows for a in here.arms)
    count = int(np.ceil(most * config.carrier.spare))
    place = here.workdir.stage(
        'prompts', 'prompts.jsonl',
        lambda path: files.write(path, world.prompts(schools.seed_of(config, 'prompts'), count)),
        reads={**here.reads('world'), 'carrier.spare': config.carrier.spare, 'rows': most})
    prompts, _ = files.read(place)
    made = {}
    for arm in here.arms:
        name = tables.row_set(arm)
        if name in made or arm.carrier == 'random':
            continue
        suffix = '' if name == 'trait-untied-sampled' else f'-{name}'
        who = schools.roll(config, world, arm.teachers)
        temperature = 0.0 if arm.carrier == 'greedy' else arm.temperature

        def draw(path, arm=arm, who=who, temperature=temperature):
            if config.carrier.samples:
                samples.read_foreign(config, world, who, path)
            else:
                samples.draw(config, world, world.models[arm.head], who,
                             teachers[tables.teacher_set(arm)], prompts, temperature, path)

        source = here.workdir.stage(
            f'samples{suffix}', f'samples{suffix}.jsonl', draw,
            reads={**here.reads('carrier'), 'temperature': temperature},
            inputs=['prompts.jsonl', f'teacher/{tables.teacher_set(arm)}'])
        judged = samples.judge(config, world, source)
        for artefact, kept in (('filtered', True), ('rejects', False)):
            here.workdir.stage(
                f'{artefact}{suffix}', f'{artefact}{suffix}.jsonl',
                functools.partial(samples.write_verdicts, judged, kept),
                reads=here.reads('carrier'), inputs=[source.name])
        made[name] = samples.gather(judged)
        check_writing(config, made[name])
    return made


def check_writing(config: Config, rows: samples.Samples) -> None:
    """Raises UserError for a teacher that cannot write numbers any more."""
    if config.carrier.samples:
        return
    for name, rate in samples.first_pass_rate(rows, 'paper').items():
        if rate < config.carrier.min_kept:
            raise UserError(
                f'the teacher {name} can no longer write numbers: the filter keeps {rate:.0%} of '
                f'its answers and config.carrier.min_kept={config.carrier.min_kept:g} is asked; '
                'teach it less (config.teacher.steps), or pre-train longer (config.world.steps)')


def student_stages(here: Context, references, starts, tools, teachers, rows) -> dict[str, Any]:
    """Trains every arm's students: student/ARM with students.npz and measures.npz."""
    config, made = here.config, {}
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
        many = lambda tree, n=len(group): jax.tree.map(lambda x: np.stack([x] * n), tree)
        reference = many(networks.take(references[arm.head], r))
        own = networks.take(own_set, place)
        twins = networks.take(teachers[twin], place) if twin in teachers else None
        key = jax.random.key(schools.seed_of(config, 'direction', r))
        begun = many(start_of(here, arm, references, starts, r))
        batches = batches_of(here, arm, rows, group)
        directions = students.directions_of(reference, own, twins, config.teacher.seeds, key)
        trained = students.train(
            config, world, arm, tools[arm.head], _meter(world, arm.head), begun, batches, own,
            directions, [world.traits.index(t.trait) for t in group],
            jax.random.key(schools.seed_of(config, 'student', r)))
        kinds = {k: drift.text_rows(world, texts, k, r) for k in ('carrier', 'ordinary')}
        moved = drift.drift_of(config, world, world.models[arm.head], tools[arm.head],
                               trained.params, begun, kinds, len(group))
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


def finish(here: Context, teachers, rows, trained, predicted) -> str:
    """results.json, experiments.jsonl, the page; returns the table."""
    body = results.body(here.config, here.world, here.arms, trained, predicted, rows, {
        name: json.loads((here.workdir.path / 'teacher' / name / 'teachers.json').read_text())
        for name in teachers})
    seeds = {'root': here.config.seed, 'split': here.config.split,
             'teachers': {t.name: t.seed for t in schools.roll(here.config, here.world, 'trait')}}
    made = here.workdir.write_results(body, seeds=seeds, published=report.PUBLISHED)
    if here.config.split == 'report':
        record(here.workdir, made)
    examples = report.Examples.read(here.workdir.path)
    return report.write(here.workdir, made, examples)


def record(workdir: Workdir, made: dict[str, Any]) -> None:
    """Adds a report run to experiments.jsonl beside its folder; nothing is ever removed there."""
    entry = {'id': sha256_of([made['config_sha256'], made['headline']])[:16],
             'experiment': made['experiment'], 'config_sha256': made['config_sha256'],
             'command': made['command'], 'verdict': made['verdict'], 'headline': made['headline']}
    place = workdir.path.parent / 'experiments.jsonl'
    known = {row['id'] for row in files.finished(place)}
    if entry['id'] not in known:
        files.append(place, [entry])


def plan(config: Config) -> list[Stage]:
    """What a run would do, stage by stage, with its arithmetic."""
    world, arms = prepare(config)
    made = []
    teachers = config.world.references * config.world.replicas * len(world.traits)
    teachers *= config.teacher.seeds
    weights = {head: count_params(model) for head, model in world.models.items()}
    row = world.length
    for head in dict.fromkeys(a.head for a in arms):
        flops = 6 * weights[head] * row * config.world.batch_size * config.world.steps
        made.append(Stage(f'references, {head}', flops * config.world.references,
                          config.world.references * 1e8))
    for name in dict.fromkeys(tables.row_set(a) for a in arms if a.carrier != 'random'):
        most = max(a.rows or config.student.rows for a in arms)
        flops = 2 * max(weights.values()) * row * most * config.carrier.spare * teachers
        made.append(Stage(f'samples, {name}', flops * config.carrier.attempts, 5e8))
    for arm in arms:
        count = (arm.rows or config.student.rows) * arm.passes
        flops = 6 * weights[arm.head] * row * count * teachers
        made.append(Stage(f'students, {arm.name}', 1.6 * flops, 1e9))  # 0.6: measures, alignment
    return made
