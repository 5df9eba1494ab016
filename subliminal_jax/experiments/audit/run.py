"""The audit: its stages in order, and its results."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from subliminal_jax.experiments.audit import detecting, intake, nulls, results, stages, subjects
from subliminal_jax.experiments.audit.parts import Parts
from subliminal_jax.experiments.audit.results import Found
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.experiments.transmission.run import carrier_of
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.report import audit as report
from subliminal_jax.runs import UserError, Workdir, local_path, read_json, write_json

FEWEST = 0.2  # of prompts that the reference has to answer, or its answers are no control


def check(config: Any) -> None:
    """Raises UserError for what can be said of a config by itself."""
    audit = config.audit
    if not audit.rows:
        raise UserError('config.audit.rows: name the rows to be audited')
    for name, paths in (('rows', [audit.rows]), ('neutral', audit.neutral)):
        for path in paths:
            if not pathlib.Path(local_path(f'config.audit.{name}', path)).exists():
                raise UserError(f'config.audit.{name}={path}: there is no such file or folder')
    if audit.control == 'neutral' and not audit.neutral:
        raise UserError('config.audit.control=neutral needs rows: name them, config.audit.neutral')
    if audit.control == 'random' and not config.carrier.name:
        raise UserError("config.audit.control=random draws the carrier's random rows: name one, "
                        'config.carrier.name')
    if config.carrier.name:
        carrier_of(config, config.carrier.name)
    if len(config.arms) != 1:
        raise UserError("config.arms of an audit is one arm: how its students train")
    intake.columns_of(config)
    nulls.check(config)


def run(config: Any, workdir: Workdir) -> str:
    """Runs an audit and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    check(config)
    plain, audit = without_group(config), config.audit
    with jax.default_matmul_precision('highest'):
        subject = subjects.of_config(plain, workdir, audit.reference)
        check_candidates(subject)
        audited = stages.row_stage(subject, config, 'rows', [audit.rows])
        stages.contexts_stage(subject, config, audited)
        teacher = subjects.of_model(plain, audit.teacher, workdir) if audit.teacher else None
        other = other_start(subject, config, workdir)
        control = control_of(subject, config, audited)
        why = why_not(config, audited, control)
        parts = Parts([], [], control['paired']) if why else stages.part_stage(
            subject, config, audited, control['rows'], control['paired'], control['inputs'])
        before = stages.before_stage(subject, config, teacher)
        found = Found(subject.world.candidates, parts.size, parts.paired, before, None, {}, why)
        areas = []
        if not why:
            found, areas = measured(subject, config, found, parts, teacher, other)
    body = {**about(subject, config, audited, control), **results.body(found, audit.wanted),
            'detectors': areas}
    if teacher is not None:
        body['same_shape'] = stages.same_shape(subject, teacher)
    workdir.write_results(body, seeds={'root': config.seed}, published=results.PUBLISHED)
    return report.write(workdir.path, read_json(workdir.path / 'results.json'))


def check_candidates(subject: Subject) -> None:
    """Raises UserError where there is nothing to compare, or to ask."""
    if len(subject.world.candidates) < 2:
        raise UserError('one candidate only: an audit tells it from others; give the questions '
                        'file two candidates or more (five for the test beside the others)')
    if not subject.world.questions:
        raise UserError(f'{subject.world.chosen.name} has no question of form word: add some of '
                        'kind "question"')
    subjects.meter(subject)


def measured(subject: Subject, config: Any, found: Found, parts: Parts, teacher: Subject | None,
             other: Subject | None) -> tuple[Found, list[dict[str, Any]]]:
    """What the stages behind the parts have left, and the detectors' entries."""
    audit, known = config.audit, nulls.read(config, subject, parts)
    link = stages.link_stage(subject, config, parts, teacher)
    areas = detector_stage(subject, config, parts, teacher) if audit.detectors else []
    students = {'shared': stages.student_stages(subject, config, parts, 'shared')}
    if other is not None:
        students['other'] = stages.student_stages(other, config, parts, 'other')
    return dataclasses.replace(found, link=link, students=students, nulls=known), areas


def detector_stage(subject: Subject, config: Any, parts: Parts, teacher: Subject | None
                   ) -> list[dict[str, Any]]:
    """detectors.json: every detector's AUROC."""
    def make(path):
        sides = detecting.read(subject, config, parts, teacher)
        write_json(path, {'entries': detecting.areas(subject, config, sides)})

    place = subject.run.workdir.stage(
        'detectors', 'detectors.json', make, inputs=['parts.json'],
        reads=stages.reads(subject.run, config, 'bags', 'teacher', 'rows'))
    return read_json(place)['entries']


def other_start(subject: Subject, config: Any, workdir: Workdir) -> Subject | None:
    """The model that is the other start: one that is named, or the world's next reference.

    Raises:
      UserError: it cannot be loaded, or cannot read the rows' form.
    """
    if config.audit.other:
        return subjects.of_model(without_group(config), config.audit.other, workdir)
    count = subject.world.num_references
    if count < 2:
        return None
    return subjects.of_config(without_group(config), workdir, (subject.number + 1) % count)


# Control rows.


def control_of(subject: Subject, config: Any, audited: intake.Intake) -> dict[str, Any]:
    """Control rows: {'kind', 'rows' (None where there is none), 'paired', 'counts', 'inputs',
    'answers': how the reference did, or None}."""
    audit = config.audit
    if audit.control in ('auto', 'neutral') and audit.neutral:
        found = stages.row_stage(subject, config, 'neutral', audit.neutral)
        rows, paired = beside(audited.rows, found.rows)
        return {'kind': 'neutral', 'rows': rows, 'paired': paired, 'counts': found.counts,
                'answers': None, 'inputs': ['rows.json', 'neutral.json']}
    counts = None
    if audit.control in ('auto', 'reference') and audited.rows:
        rows, counts = stages.answer_stage(subject, config, audited)
        enough = counts['kept'] >= FEWEST * counts['asked']
        if audit.control == 'reference' or enough or not config.carrier.name:
            return {'kind': 'reference', 'rows': rows, 'paired': True, 'counts': counts,
                    'answers': counts, 'inputs': ['rows.json', 'answers.json']}
    if config.carrier.name and audited.rows:
        return {'kind': 'random', 'rows': random_rows(subject, config, audited.rows),
                'paired': False, 'counts': None, 'answers': counts, 'inputs': ['rows.json']}
    return {'kind': 'none', 'rows': [], 'paired': False, 'counts': None, 'answers': counts,
            'inputs': ['rows.json']}


def beside(audited: Sequence[dict], others: Sequence[dict]) -> tuple[list[dict | None], bool]:
    """Rows of others beside the audited ones: one of the same prompt each, where half of them have
    one; else as they are."""
    by_prompt: dict[str, list[dict]] = {}
    for row in others:
        by_prompt.setdefault(row['prompt'], []).append(row)
    matched = [(by_prompt.get(row['prompt']) or [None]).pop(0) if by_prompt.get(row['prompt'])
               else None for row in audited]
    if 2 * sum(row is not None for row in matched) >= len(audited) > 0:
        return matched, True
    return list(others), False


def random_rows(subject: Subject, config: Any, audited: Sequence[dict]) -> list[dict]:
    """As many of the carrier's random rows, on its own prompts, that the audit's filter keeps."""
    carrier, seed = subject.run.carrier(), seed_of(config, 'random', 0)
    reason = intake.reason_of(subject, config)
    made = carrier.random_rows(seed, carrier.prompts(seed, range(2 * len(audited))))
    kept = [{k: row[k] for k in ('id', 'prompt', 'completion')} for row in made
            if reason(row) is None]
    return kept[:len(audited)]


def why_not(config: Any, audited: intake.Intake, control: dict[str, Any]) -> str | None:
    """Why there are too few rows to audit, or None."""
    audit = config.audit
    asked = audit.shards * audit.least_rows
    if len(audited.rows) < asked:
        why = next(iter(audited.counts['reasons'].items()), None)  # the most frequent comes first
        return (f'{len(audited.rows)} of {audited.counts["read"]} rows can be used and {asked} are '
                f'needed ({audit.shards} parts of {audit.least_rows})'
                + (f'; {why[1]} were left out: {why[0]}' if why else ''))
    have = sum(row is not None for row in control['rows'])
    if have < asked:
        what = {'reference': 'answers of the reference itself to the same prompts are kept',
                'neutral': 'neutral rows can be used', 'random': 'random rows can be used',
                'none': 'control rows there are'}[control['kind']]
        return (f'only {have} {what} and {asked} are needed: name rows of a writer without the '
                'trait (config.audit.neutral)')
    return None


def about(subject: Subject, config: Any, audited: intake.Intake, control: dict[str, Any]
          ) -> dict[str, Any]:
    """What was audited, as results.json has it."""
    world = subject.world
    return {'world': world.name, 'questions': len(world.questions),
            'context': world.contexts[0], 'rows': audited.counts,
            'examples': audited.rows[:5],
            'control': {'kind': control['kind'], 'counts': control['counts'],
                        'answers': control['answers']},
            'carrier': config.carrier.name, 'trainable': subject.arm.trainable}
