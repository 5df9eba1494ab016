"""What the stages share, and the stages up to the teachers' rows."""

import functools
import json
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arms as tables,
    measures,
    networks,
    samples,
    teachers as schools,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.runs import UserError, Workdir, to_dict, write_json
from subliminal_jax.traits import trait_set as sets

PROBE_ROWS = 64  # random carrier rows on which doses are measured; prompts that a probe answers


class Context(NamedTuple):
    """What the stages share: the run, its world, its arms."""

    config: Config
    workdir: Workdir
    world: World
    arms: list[Arm]

    def reads(self, *groups: str) -> dict[str, Any]:
        """The config fields that a stage depends on."""
        plain = to_dict(self.config)
        return {g: plain[g] for g in ('seed', 'split', 'traits', 'trait_set', *groups)}


def tools_of(world: World, head: str) -> measures.Instruments:
    """The compiled measures of a kind of head."""
    ids = tuple(i for t in world.traits for s in world.candidates[t] for i in world.answer(s))
    return _tools(meter_of(world, head), ids)


@functools.lru_cache(maxsize=8)
def _tools(meter: 'Meter', ids: tuple[int, ...]) -> measures.Instruments:
    return measures.instruments(meter(), ids)


class Meter(NamedTuple):
    """A hashable way to a meter, so that compiled checks are kept by it."""

    key: str
    make: Any

    def __call__(self):
        return self.make()

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return self.key == other.key


def meter_of(world: World, head: str) -> Meter:
    """The way to the meter of a kind of head."""
    key = f'{world.name}/{head}/{world.models[head]}/{world.traits}/{world.measure}'
    return Meter(key, functools.partial(measures.meter, world, head))


def context_stage(here: Context) -> None:
    """contexts.json: every kind of context as the model reads it, and what follows it."""
    world = here.world
    row, = world.random_rows(0, world.prompts(0, 1))
    asked = {'teaching': (world.teach[0], world.candidates[world.traits[0]][0]),
             'measuring': (world.measure[0], world.candidates[world.traits[0]][0]),
             'carrier': (row['prompt'], row['completion'])}
    name = here.config.trait_set
    read = {f'the trait set {name}': sets.digest(sets.load_trait_set(name))} if name else {}
    here.workdir.stage('contexts', 'contexts.json', lambda path: write_json(path, {
        kind: {'context': world.decode(world.context(text)), 'answer': answer,
               'end': world.decode([world.end_id])}
        for kind, (text, answer) in asked.items()}), reads=here.reads(), inputs=read)


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
    """prompts.jsonl, then samples, filtered and rejects of every row set.

    Teachers whose logits alone are used answer a few prompts too, to see whether they still can;
    those answers are checked, and are no row set.
    """
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
            inputs=['prompts.jsonl', f'teacher/{tables.teacher_set(arm)}',
                    *files.named(config.carrier.samples.split(','))])
        judged = samples.judge(config, world, source)
        for artefact, kept in (('filtered', True), ('rejects', False)):
            here.workdir.stage(
                f'{artefact}{suffix}', f'{artefact}{suffix}.jsonl',
                functools.partial(samples.write_verdicts, judged, kept),
                reads=here.reads('carrier'), inputs=[source.name])
        made[name] = samples.gather(judged)
        check_writing(config, made[name])
    drawn = {tables.teacher_set(a) for a in here.arms if a.carrier != 'random'}
    for arm in here.arms:
        if tables.teacher_set(arm) not in drawn and not config.carrier.samples:
            drawn.add(tables.teacher_set(arm))
            _probe_stage(here, arm, teachers[tables.teacher_set(arm)], prompts[:PROBE_ROWS])
    return made


def _probe_stage(here, arm, params, prompts):
    """probe-SET.jsonl: what an arm's teachers write on a few prompts, checked."""
    config, world, name = here.config, here.world, tables.teacher_set(arm)
    path = here.workdir.stage(
        f'probe-{name}', f'probe-{name}.jsonl',
        lambda path: samples.draw(
            config, world, world.models[arm.head], schools.roll(config, world, arm.teachers),
            params, prompts, 1.0, path),
        reads=here.reads('carrier'), inputs=['prompts.jsonl', f'teacher/{name}'])
    check_writing(config, samples.gather(samples.judge(config, world, path)))


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
