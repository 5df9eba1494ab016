"""The stages that make teachers: teacher/SET/GROUP; a neutral set needs its trait set first."""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.transmission import (
    arms as tables,
    engines,
    starts,
    teachers as schooled,
    teaching,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import files as hashed, sha256_of
from subliminal_jax.training.checkpoints import Checkpoints


def teacher_stages(run: Any) -> None:
    """Makes every set of teachers that an arm draws on."""
    done: set[str] = set()
    for arm in run.arms:
        for kind in tables.kinds_of(arm):
            of_kind = tables.with_teachers(arm, kind)
            if tables.teacher_set(of_kind) in done:
                continue
            done.add(tables.teacher_set(of_kind))
            groups = schooled.groups_of(run, of_kind)
            for folder, group in tqdm(groups.items(), desc=f'teachers, {arm.made}', leave=False):
                _teacher_stage(run.of(arm.architecture), of_kind, folder, group)
            if kind == 'trait' and arm.dose == 1 and not arm.own:
                schooled.check_strength(run.config, schooled.all_facts(run, of_kind))


def _teacher_stage(run: Any, arm: Arm, folder: str, group: Sequence[Teacher]) -> None:
    kind, rest = TEACHER_KINDS.find(arm.made)
    trained = kind.cost(rest)
    twins = arm.teachers == 'neutral' and trained is not None
    inputs = starts.inputs_of(run, arm.architecture, arm.start if arm.own else 'shared')
    if twins:
        trait_arm = tables.with_teachers(arm, 'trait')
        inputs += dict.fromkeys(schooled.folder_of(run, trait_arm, model_of(run, t))
                                for t in group)
    reads = {**run.reads('teacher', 'carrier'), 'made': arm.made, 'dose': arm.dose,
             'of': arm.start if arm.own else 'reference'}
    if kind.made_from:  # by who tries them on students
        reads |= {**run.reads('student', 'teacher', 'carrier'), 'against': tables.against(arm)}

    def make(path):
        base = schooled.base_of(run, arm, group[0].reference)
        what, steps_M = None, np.zeros(len(group), int)
        if kind.make is not None:
            with resumable(run, folder, reads, inputs) as checkpoints:
                what, steps_M = kind.make(teaching.Making(
                    run, arm, group, base, trained, _goals(run, arm, group) if twins else None,
                    _neutral(run, arm, base, group[0].reference) if twins else None, checkpoints))
        models = schooled.as_models(run, arm, what, base, len(group))
        found = schooled.describe(run, arm, group, models, base, steps_M)
        schooled.write(run, arm, group, models, what, found, path)

    run.workdir.stage(folder, folder, make, inputs=inputs, reads=reads)
    discard(run, folder)


def model_of(run: Any, teacher: Teacher) -> Teacher:
    """The trait teacher whose dose a neutral one is taken to: its twin.

    With `teacher.permute_doses` it is one of the reference's trait teachers, each once, in an order
    drawn by reference: a neutral teacher's dose then says nothing of the trait whose name it wears.
    """
    same = [t for t in run.roll('trait') if t.reference == teacher.reference]
    place = [t.name for t in same].index(teacher.twin)
    if run.config.teacher.permute_doses:
        rng = np.random.default_rng(seed_of(run.config, 'dose', teacher.reference))
        place = rng.permutation(len(same))[place]
    return same[place]


def _goals(run: Any, arm: Arm, group: Sequence[Teacher]) -> np.ndarray:
    """The doses that neutral teachers are taken to."""
    trait_arm = tables.with_teachers(arm, 'trait')
    models, found = [model_of(run, t) for t in group], {}
    for model in models:
        found |= schooled.facts(run.workdir.path / schooled.folder_of(run, trait_arm, model))
    return np.array([found[model.name]['carrier_kl'] for model in models])


def _neutral(run: Any, arm: Arm, base: Any, reference: int) -> Any:
    config = run.world.architectures[arm.architecture]
    key = ('neutral', arm.architecture, arm.start if arm.own else '', reference)
    return run.remember(key, lambda: run.trait.neutral(run, engines.single(base, config)))


def resumable(run: Any, label: str, reads: Mapping[str, Any], inputs: Sequence[str]) -> Checkpoints:
    """Checkpoints inside of a training; refused where something that it reads has changed."""
    note = sha256_of([dict(reads), {str(p): hashed.sha256(run.workdir.path / p) for p in inputs}])
    return Checkpoints(_training(run, label), note)


def discard(run: Any, label: str) -> None:
    """Removes the checkpoints of a training whose stage is complete."""
    shutil.rmtree(_training(run, label), ignore_errors=True)


def _training(run: Any, label: str) -> pathlib.Path:
    return run.workdir.path / 'training' / label.replace('/', '_')
