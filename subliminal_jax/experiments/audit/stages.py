"""The stages of an audit, in order: rows, control, readings, detectors, students."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.audit import intake, link, parts as dealing, subjects
from subliminal_jax.experiments.audit.parts import SIDES, Parts
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.teacher_stages import discard, resumable
from subliminal_jax.runs import read_json, to_dict, write_json


def reads(run: Any, config: Any, *fields: str) -> dict[str, Any]:
    """The config fields that a stage depends on: the world's, and these of the audit's."""
    own = to_dict(config.audit)
    return {**run.reads('carrier', 'student'), 'arms': list(config.arms),
            'audit': {name: own[name] for name in fields}}


SAMPLED = ('columns', 'filtered', 'keep_overt', 'most_rows')
DEALT = ('rows', 'neutral', 'control', *SAMPLED, 'shards', 'reference')


def row_stage(subject: Subject, config: Any, name: str, paths: Sequence[str]) -> intake.Intake:
    """NAME.json: what files hold, and the sample of their rows."""
    run, audit = subject.run, config.audit

    def make(path):
        found = intake.read(
            paths, intake.reason_of(subject, config), intake.overt_words(subject),
            intake.columns_of(config), audit.most_rows, seed_of(config, 'candidates', 0))
        write_json(path, {'rows': found.rows, 'counts': found.counts})

    place = run.workdir.stage(
        name, f'{name}.json', make, reads=reads(run, config, *SAMPLED), inputs=[
            *(str(pathlib.Path(path).resolve()) for path in paths),
            *run.world.reference_inputs(subject.arm.architecture)])
    return intake.Intake(**read_json(place))


def answer_stage(subject: Subject, config: Any, audited: intake.Intake
                 ) -> tuple[list[dict | None], dict[str, Any]]:
    """answers.json: the reference's own answers to the audited prompts, None where it has none;
    and how many there are, with reasons."""
    run = subject.run

    def make(path):
        found, reasons = subjects.answered(
            subject, audited.rows, intake.reason_of(subject, config), config.carrier.attempts,
            seed_of(config, 'sample', 0))
        write_json(path, {'rows': found, 'counts': {
            'asked': len(found), 'kept': sum(row is not None for row in found),
            'reasons': reasons}})

    place = run.workdir.stage('answers', 'answers.json', make, reads=reads(
        run, config, *SAMPLED, 'reference'), inputs=['rows.json'])
    made = read_json(place)
    return made['rows'], made['counts']


def part_stage(subject: Subject, config: Any, audited: intake.Intake,
               control: Sequence[dict | None], paired: bool, inputs: Sequence[str]) -> Parts:
    """parts.json: what every student reads, in its order."""
    run, audit = subject.run, config.audit

    def make(path):
        found = dealing.deal(audited.rows, control, audit.shards, run.config.student.packed, paired,
                             seed_of(config, 'shuffle', 0))
        write_json(path, found._asdict())

    place = run.workdir.stage('parts', 'parts.json', make, reads=reads(run, config, *DEALT),
                              inputs=inputs)
    return Parts(**read_json(place))


def link_stage(subject: Subject, config: Any, parts: Parts, teacher: Subject | None
               ) -> dict[str, np.ndarray]:
    """link.npz: slopes of every unit along every candidate, the nulls', and, with a teacher of the
    reference's shape, the slopes that its rows are expected to have."""
    run, fields = subject.run, ('rows', 'teacher', 'budget_rows')

    def make(path):
        directions = link.rising(subject)
        both = dealing.batches(subject, parts)
        found, metric = link.slopes(subject, both['audited'], both['control'], directions)
        if teacher is not None and same_shape(subject, teacher):
            some = [row for rows in parts.audited for row in rows][:config.audit.budget_rows]
            found['budget'] = link.budget(subject, teacher.params, subjects.encode(subject, some),
                                          directions, metric)
        with path.open('wb') as file:
            np.savez(file, **found)

    place = run.workdir.stage('link', 'link.npz', make, reads=reads(run, config, *fields),
                              inputs=['parts.json'])
    with np.load(place) as arrays:
        return dict(arrays)


def same_shape(subject: Subject, other: Subject) -> bool:
    """Whether two models have the same architecture and tokens."""
    return (subject.architecture == other.architecture
            and subject.world.vocabulary == other.world.vocabulary)


def before_stage(subject: Subject, config: Any, teacher: Subject | None) -> dict[str, Any]:
    """before.json: what the reference says of every candidate, and the teacher beside it."""
    run = subject.run

    def make(path):
        own = subjects.said(subject, subjects.single(subject))[0]
        of_teacher = None if teacher is None else subjects.said(
            teacher, subjects.single(teacher))[0].tolist()
        write_json(path, {'reference': own.tolist(), 'teacher': of_teacher})

    return read_json(run.workdir.stage(
        'before', 'before.json', make, reads=reads(run, config, 'teacher', 'reference'),
        inputs=run.world.reference_inputs(subject.arm.architecture)))


def student_stages(subject: Subject, config: Any, parts: Parts, start: str
                   ) -> dict[str, dict[str, np.ndarray]]:
    """students/START-SIDE-G.npz: value [U, K] and loss [U, 2] of the students of both sides.

    Args:
      subject: whose weights they begin with.
      config: of the audit.
      parts: what each reads.
      start: 'shared', or 'other'.
    """
    run, most = subject.run, subject.run.world.engine(subject.arm.trainable).most
    ready: dict[str, Any] = {}
    found: dict[str, list[dict[str, np.ndarray]]] = {side: [] for side in SIDES}
    groups = [(side, first) for side in SIDES for first in range(0, len(parts.audited), most)]
    for side, first in tqdm(groups, desc=f'students, {start} start', leave=False):
        label = f'students/{start}-{side}-{first // most}'
        stage_reads = {**reads(run, config, 'rows', 'other', 'reference'), 'start': start}

        def make(path, side=side, first=first, label=label, stage_reads=stage_reads):
            if not ready:
                ready.update(dealing.batches(subject, parts))
            some = ready[side][first:first + most]
            with resumable(run, label, stage_reads, ['parts.json']) as saved:
                models, loss = subjects.trained(
                    subject, some, range(first, first + len(some)), saved, label, run.log)
            with path.open('wb') as file:
                np.savez(file, value=subjects.said(subject, models), loss=loss)

        place = run.workdir.stage(label, f'{label}.npz', make, reads=stage_reads,
                                  inputs=['parts.json'])
        discard(run, label)
        with np.load(place) as arrays:
            found[side].append(dict(arrays))
    return {side: {name: np.concatenate([part[name] for part in own]) for name in own[0]}
            for side, own in found.items()}


def contexts_stage(subject: Subject, config: Any, audited: intake.Intake) -> None:
    """contexts.json: a row, and a question, as the models read them."""
    world, run = subject.world, subject.run
    decode = world.decode

    def make(path):
        row = next(iter(audited.rows), None)
        write_json(path, {
            "students' rows": None if row is None else {
                'context': decode(world.rows_context(row['prompt'], None)),
                'answer': row['completion'], 'end': decode([world.end_id])},
            'measured in ' + world.contexts[0]: [decode(world.asked(
                q, world.contexts[0], n, None)) for n, q in enumerate(world.questions)],
            'candidates': list(world.candidates)})

    run.workdir.stage('contexts', 'contexts.json', make, reads=reads(run, config),
                      inputs=['rows.json'])
