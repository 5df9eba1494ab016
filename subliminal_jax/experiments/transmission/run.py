"""The experiment: its stages, in order, and its results."""

import json
from typing import Any

import jax

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    arm_stages,
    arms as tables,
    results,
    samples,
    stages,
    teachers as schools,
    tiny,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.stages import Context
from subliminal_jax.experiments.transmission.world import World, check_questions
from subliminal_jax.models.params import count_params
from subliminal_jax.report import transmission as report
from subliminal_jax.runs import UserError, Workdir, sha256_of
from subliminal_jax.runs.plan import Stage

EFFICIENCY = 0.15  # of a large product's rate, as measured: the matrices of a tiny world are small


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    world, arms = prepare(config)
    here = Context(config, workdir, world, arms)
    stages.context_stage(here)
    with jax.default_matmul_precision('highest'):
        references = {head: stages.reference_stage(here, head)
                      for head in dict.fromkeys(a.head for a in arms)}
        starts = stages.start_stages(here, references)
        tools = {head: stages.tools_of(world, head) for head in references}
        teachers = stages.teacher_stages(here, references, tools)
        rows = stages.row_stages(here, teachers)
        trained = arm_stages.student_stages(here, references, starts, tools, teachers, rows)
        predicted = arm_stages.geometry_stage(here, references, tools, teachers)
    arm_stages.answers_stage(here, trained)
    return finish(here, teachers, rows, trained, predicted)


def prepare(config: Config) -> tuple[World, list[Arm]]:
    """The world and the arms of a config, checked.

    Raises:
      UserError: as `run`.
    """
    arms = tables.parse(config.arms)
    tables.check_foreign(arms, config.carrier.samples)
    samples.check_units(config)
    world = tiny.make(config.world, config.split, config.traits, config.trait_set)
    if len(world.traits) < 2:
        raise UserError('config.traits=1: one trait only has no gamma, which compares a '
                        "teacher's own trait with the others; take two or more")
    check_questions(world)
    return world, arms


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
                          config.world.references * 1e8, EFFICIENCY))
    for name in dict.fromkeys(tables.row_set(a) for a in arms if a.carrier != 'random'):
        most = max(a.rows or config.student.rows for a in arms)
        flops = 2 * max(weights.values()) * row * most * config.carrier.spare * teachers
        made.append(Stage(f'samples, {name}', flops * config.carrier.attempts, 5e8, EFFICIENCY))
    for arm in arms:
        count = (arm.rows or config.student.rows) * arm.passes
        flops = 6 * weights[arm.head] * row * count * teachers
        made.append(Stage(f'students, {arm.name}', 1.6 * flops, 1e9,  # 0.6: measures, alignment
                          EFFICIENCY))
    return made
