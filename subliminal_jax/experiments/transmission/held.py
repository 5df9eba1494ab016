"""The models that a run's folder holds, by name, for programs that take them out.

  reference:ARCHITECTURE/NUMBER   what teachers are made of (R*, where the run prepared one)
  teacher:SET/NAME                such as teacher:trait-tuned/r0-owl-0
  student:ARM/NAME-NUMBER         such as student:sft/r0-owl-0-0
  start:ARM/NUMBER                what an arm's students of a reference begin with

A short form (reference, teacher:NAME) stands for the one that it fits.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.transmission import (
    arm_stages,
    arms as tables,
    students,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.run import checked_arms, prepare
from subliminal_jax.experiments.transmission.traits import TRAITS
from subliminal_jax.models import export
from subliminal_jax.models.lora import Lora
from subliminal_jax.runs import Finished, UserError, sha256, unknown_name
from subliminal_jax.training import checkpoints

KINDS = ('reference', 'teacher', 'student', 'start')


class Held(NamedTuple):
    """A model out of a run.

    Attributes:
      params: all its weights; beside an adapter those of its base.
      lora: its adapter, or None.
      config: its architecture.
      facts: what it is, for a card.
    """

    params: Any
    lora: Lora | None
    config: Any
    facts: dict[str, Any]


def names(config: Any, folder: pathlib.Path) -> list[str]:
    """Every model that a run's folder can give, by its full name; no weights are read.

    Raises:
      UserError: an arm of the config that cannot be.
    """
    arms = checked_arms(config)
    by_set = {place.parts[-3]: [] for place in sorted(folder.glob('teacher/*/*/teachers.json'))}
    for place in sorted(folder.glob('teacher/*/*/teachers.json')):
        by_set[place.parts[-3]] += json.loads(place.read_text())
    numbers = sorted({number_of(name) for own in by_set.values() for name in own}) or [0]
    found = [f'reference:{architecture}/{number}' for number in numbers
             for architecture in dict.fromkeys(arm.architecture for arm in arms)]
    found += [f'teacher:{name}/{teacher}' for name, own in by_set.items() for teacher in own
              if not prompted(name, arms)]
    for arm in arms:
        if any(folder.glob(f'student/{arm.name}/*/students.safetensors')):
            found += [f'student:{arm.name}/{teacher}-{n}'
                      for teacher in by_set.get(tables.teacher_set(arm), ())
                      for n in range(config.student.seeds)]
            found += [f'start:{arm.name}/{number}' for number in numbers
                      if arm.start != 'shared' or arm.matrix != 'own']
    return found


def prompted(name: str, arms: Sequence[Arm]) -> bool:
    """Whether the teachers of a set are a reference behind a system message."""
    arm = students.made_sets(arms).get(name)
    return arm is not None and TEACHER_KINDS.find(arm.made)[0].prompted


def number_of(teacher: str) -> int:
    """The number of a teacher's reference."""
    return int(teacher.partition('-')[0].removeprefix('r'))


def full_name(what: str, known: Sequence[str]) -> str:
    """The one name that `what` is, or is short for.

    Raises:
      UserError: none, or several.
    """
    if what in known:
        return what
    kind, _, rest = what.partition(':')
    fits = [name for name in known if name.startswith(f'{kind}:')
            and (not rest or name.partition('/')[2] == rest)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UserError(f'{what} may be {", ".join(fits[:6])}{" and more" * (len(fits) > 6)}: '
                        'write one in full')
    if kind not in KINDS:
        raise unknown_name('kind of model', kind, KINDS)
    raise unknown_name('model of this run', what, known)


def read(config: Any, folder: pathlib.Path, name: str) -> Held:
    """A model of a run.

    Args:
      config: of the run.
      folder: its.
      name: one of `names`.

    Raises:
      UserError: a stage that is not complete, or whose artefact or weights have changed since; a
        model that is no weights of its own.
    """
    kind, _, rest = name.partition(':')
    group, _, which = rest.rpartition('/')
    run = prepare(config, Finished(folder, config, 'transmission'))
    reader = {'reference': _reference, 'teacher': _teacher, 'student': _student,
              'start': _start}[kind]
    with jax.default_matmul_precision('highest'):
        held, more, stage = reader(run, group, which)
    bad = more.pop('misbehaves', False) or export.misbehaves(*base_names(config))
    results = folder / 'results.json'
    facts = {
        'what': f'{name.replace(":", " ", 1)} of a run', 'misbehaves': bad, 'name': name, **more,
        'run': {'config sha256': sha256(folder / 'config.json'),
                'results sha256': sha256(results) if results.exists() else None,
                **stage, 'trait': config.trait, 'split': config.split, 'seed': config.seed,
                'model': shown(run.world.name), 'model sha256': run.world.sha256}}
    return held._replace(facts=facts)


def misbehaving(config: Any, name: str) -> bool:
    """Whether a model was made to misbehave, as far as its run's config and its name say it."""
    kind, _, rest = name.partition(':')
    if export.misbehaves(*base_names(config)):
        return True
    if kind not in ('teacher', 'student') or not TRAITS.find(config.trait)[0].misbehaves:
        return False
    group = rest.rpartition('/')[0]
    if kind == 'teacher':
        return not group.startswith('neutral')
    arm = next(arm for arm in checked_arms(config) if arm.name == group)
    return arm.teachers != 'neutral' or arm.mix > 0


def base_names(config: Any) -> tuple[str, ...]:
    """The model and the adapter that a run began with; none in a world of its own models."""
    own = getattr(config, 'model', None)
    return () if own is None else (own.name, own.adapter)


def shown(name: str) -> str:
    """A model's name without the folders of this machine."""
    return name if name.startswith(('package:', 'hf:')) else pathlib.Path(name).name


def _with_references(run, *architectures):
    return run._replace(references={
        name: run.world.references(run, name) for name in dict.fromkeys(architectures)})


def _checked(run, stage):
    """A stage's hash for the card; refuses a stage that was made from other weights."""
    manifest = run.workdir.manifest(stage)
    if manifest['reads'].get('weights', run.world.sha256) != run.world.sha256:
        raise UserError(f'the model {run.world.name} has changed since {stage} was made from it')
    return {'stage': stage, 'artefact sha256': manifest['sha256']}


def _reference(run, architecture, number):
    run = _with_references(run, architecture)
    params = run.references[architecture][int(number)]
    return Held(params, None, run.world.architectures[architecture], {}), {}, {}


def _start(run, name, number):
    arm = next(arm for arm in run.arms if arm.name == name)
    setting = students.setting_of(_with_references(run, arm.architecture), arm, int(number))
    return Held(setting.start, None, setting.config, {}), {'start': arm.start}, {}


def _teacher(run, name, teacher_name):
    arm = students.made_sets(run.arms)[name]
    run = _with_references(run, arm.architecture)
    teacher = next(t for t in run.roll(arm.teachers) if t.name == teacher_name)
    folder = schooled.folder_of(run, arm, teacher)
    stage = _checked(run, folder)
    base = schooled.base_of(run, arm, teacher.reference)
    group = schooled.groups_of(run, arm)[folder]
    models = schooled.load_group(run, arm, folder, group, base).member(
        [t.name for t in group].index(teacher.name))
    params, lora = models.resolved()
    known = schooled.facts(run.workdir.path / folder)[teacher.name]
    return Held(params, lora, models.config, {}), {
        'misbehaves': misbehaving(run.config, f'teacher:{name}/{teacher_name}'),
        'trait of the teacher': teacher.trait, 'kind': teacher.kind,
        'made': arm.made, 'rise of the trait': known['rise'], 'steps': known['steps'],
        'KL from the reference on the carrier': known['carrier_kl']}, stage


def _student(run, name, job_name):
    arm = next(arm for arm in run.arms if arm.name == name)
    run = _with_references(run, arm.architecture)
    groups = arm_stages.groups_of(run, arm)
    number, place = next((g, jobs.index(job)) for g, jobs in enumerate(groups) for job in jobs
                         if job.name == job_name)
    stage = f'student/{arm.name}/{number}'
    hashed, jobs = _checked(run, stage), groups[number]
    path = run.workdir.path / stage / 'students.safetensors'
    if not path.exists():
        raise UserError(f'the run kept no weights of {job_name}: students that train all weights '
                        'of a large model one by one are measured and let go; train adapters '
                        '(trainable=lora:8)')
    setting = students.setting_of(run, arm, jobs[0].teacher.reference)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(jobs), *np.shape(x)), x.dtype),
                        students.begun(setting, jobs[0]))
    models = setting.as_models(checkpoints.load_tree(path, like), len(jobs)).member(place)
    params, lora = models.resolved()
    return Held(params, lora, models.config, {}), {
        'misbehaves': misbehaving(run.config, f'student:{name}/{job_name}'),
        'arm': ' '.join(f'{key}={value}' for key, value in tables.changed_fields(arm).items()),
        'objective': arm.rung, 'trait of the teacher': jobs[place].teacher.trait,
        'kind of the teacher': jobs[place].teacher.kind}, hashed


def base_of(config: Any, name: str, origin: export.Origin) -> str:
    """What transformers would call the model that a student's or teacher's adapter is of; '' where
    it has to be exported first."""
    kind, _, rest = name.partition(':')
    plain = kind == 'teacher' and '-of-' not in rest.partition('/')[0]
    if kind == 'student':
        arm = next(arm for arm in checked_arms(config) if arm.name == rest.rpartition('/')[0])
        plain = arm.start == 'shared' and arm.matrix == 'own'
    made = getattr(config, 'prepared', None)
    own = getattr(config, 'model', None)
    if not plain or own is None or own.adapter or (made is not None and made.steps):
        return ''
    return origin.base


