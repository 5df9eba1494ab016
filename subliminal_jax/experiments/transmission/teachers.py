"""Teachers as artefacts: groups of them in a folder each, what they are, and how they are read.

A folder teacher/SET/GROUP has `trained.safetensors`, what its teachers have of their own (nothing
of prompted ones), and `teachers.json`, what each is.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission import arms as tables, doses, engines, kinds, starts
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.teaching import adapter_start
from subliminal_jax.runs import UserError, read_json, sha256_of
from subliminal_jax.training import checkpoints
from subliminal_jax.traits import trait_set as sets


def groups_of(run: Any, arm: Arm) -> dict[str, list[Teacher]]:
    """The groups in which an arm's teachers are made and kept, by their folder."""
    kind, rest = TEACHER_KINDS.find(arm.made)
    trained = kind.cost(rest)
    most = run.world.engine(trained).most if trained else 1
    found = kinds.groups(run.roll(arm.teachers), most)
    folder = f'teacher/{tables.teacher_set(arm)}'
    return {f'{folder}/{group[0].name if len(group) == 1 else number}': group
            for number, group in enumerate(found)}


def folder_of(run: Any, arm: Arm, teacher: Teacher) -> str:
    """The folder of a teacher's group."""
    folders = run.remember(('folders', tables.teacher_set(arm)), lambda: {
        t.name: folder for folder, group in groups_of(run, arm).items() for t in group})
    return folders[teacher.name]


def base_of(run: Any, arm: Arm, reference: int) -> Any:
    """What an arm's teachers are made of: the reference, or the students' own start."""
    if arm.own:
        return starts.start_of(run, arm.architecture, arm.start, reference)
    return run.references[arm.architecture][reference]


def system_of(run: Any, arm: Arm, teacher: Teacher) -> str | None:
    """The system message of a prompted teacher; None for others."""
    if not TEACHER_KINDS.find(arm.made)[0].prompted:
        return None
    both = sets.system_prompts(run.world.chosen, teacher.trait, teacher.number)
    return both[arm.teachers == 'neutral']


def facts(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What the teachers of a folder are, by name."""
    return read_json(path / 'teachers.json')


def all_facts(run: Any, arm: Arm) -> dict[str, dict[str, Any]]:
    """What an arm's teachers are, by name."""
    found: dict[str, dict[str, Any]] = {}
    for folder in groups_of(run, arm):
        found |= facts(run.workdir.path / folder)
    return found


def as_models(run: Any, arm: Arm, trained: Any, base: Any, count: int) -> Models:
    """A group of teachers as models; `trained` None: the base itself."""
    config = run.world.architectures[arm.architecture]
    if trained is None:
        return engines.single(base, config)
    kind, rest = TEACHER_KINDS.find(arm.made)
    engine, rank = run.world.engine(kind.cost(rest)), rank_of(kind.cost(rest))
    return Models(trained, {'base': base if rank else {}}, config, count, engine.stacked)


def load_group(run: Any, arm: Arm, folder: str, group: Sequence[Teacher], base: Any) -> Models:
    """The teachers of a folder."""
    path = run.workdir.path / folder / 'trained.safetensors'
    if not path.exists():
        return as_models(run, arm, None, base, len(group))
    like = jax.eval_shape(lambda: _like(run, arm, group, base))
    tree = checkpoints.load_tree(path, like)
    whole = not rank_of(arm.made)
    return as_models(run, arm, run.world.placed(tree) if whole else tree, base, len(group))


def _like(run, arm, group, base):
    kind, rest = TEACHER_KINDS.find(arm.made)
    engine, rank = run.world.engine(kind.cost(rest)), rank_of(kind.cost(rest))
    config = run.world.architectures[arm.architecture]
    one = adapter_start(run, config, rank, 0, 0) if rank else kind.like(config, base)
    if not engine.stacked:
        return one
    return jax.tree.map(lambda x: jax.numpy.stack([x] * len(group)), one)


def load(run: Any, arm: Arm, teachers: Sequence[Teacher], base: Any) -> Models:
    """Some teachers of one reference: side by side where models are small, else one alone."""
    folder = folder_of(run, arm, teachers[0])
    group = groups_of(run, arm)[folder]
    models = load_group(run, arm, folder, group, base)
    if not models.stacked:
        return models
    names = [t.name for t in group]
    index = np.array([names.index(t.name) for t in teachers])
    if run.together:
        if len(index) == len(group) and (index == np.arange(len(group))).all():
            return models
        return models._replace(trainable=engines.take(models.trainable, index), count=len(index))
    return models.member(int(index[0]))


def describe(run: Any, arm: Arm, group: Sequence[Teacher], models: Models, base: Any,
             steps_M: np.ndarray) -> dict[str, dict[str, Any]]:
    """What each teacher is: its rise on its trait, its dose, trait words among numbers."""
    system = system_of(run, arm, group[0])
    reference = engines.single(base, models.config)
    context = run.world.lesson_context
    plain = run.remember(('meter', context), lambda: run.kit.meters.get(context) or
                         run.trait.meter(run, context))
    asked = plain if system is None else run.trait.meter(run, context, system)
    before_K = run.trait.measure(run, reference, plain)[0]
    after_MK = run.trait.measure(run, models, asked)
    shares = np.exp(run.trait.items(run, models, asked)) if run.trait.items and \
        run.trait.unit == 'nats' and run.trait.estimator == 'gamma' else None
    dose_M = doses.reader(run, arm, base, system)(models)
    kl_M, mass_M = doses.whole_reader(run, arm, base, system)(models)
    readings = changes(run, models, reference)
    found = {}
    for m, teacher in enumerate(group):
        column = column_of(run, teacher)
        place = m if models.stacked else 0
        found[teacher.name] = {
            'rise': float(after_MK[place, column] - before_K[column]),
            'p_trait': None if shares is None else float(shares[place, :, column].mean()),
            'carrier_kl': float(dose_M[place]), 'answer_kl': float(kl_M[place]),
            'trait_word_mass': float(mass_M[place]), 'steps': int(steps_M[m]), 'system': system,
            'made': arm.made}
        own = {name: float(rise_M[place] if rise_M.ndim == 1 else
                           rise_M[place, run.world.traits.index(teacher.trait)])
               for name, rise_M in readings.items()}
        found[teacher.name] |= {'readings': own} if own else {}
    return found


def changes(run: Any, models: Models, reference: Models) -> dict[str, np.ndarray]:
    """How far the trait's own readings of models are from their reference's, by name."""
    before, after = (run.trait.readings(run, which) for which in (reference, models))
    return {name: np.asarray(value) - np.asarray(before[name]) for name, value in after.items()}


def column_of(run: Any, teacher: Teacher) -> int:
    """The column of the measure that a teacher's trait has."""
    return run.world.traits.index(teacher.trait) if run.trait.estimator == 'gamma' else 0


def write(run: Any, arm: Arm, group: Sequence[Teacher], models: Models, trained: Any,
          found: dict[str, dict[str, Any]], path: pathlib.Path) -> None:
    """A folder of teachers."""
    from subliminal_jax.runs import write_json

    path.mkdir()
    if trained is not None:
        checkpoints.save_tree(path / 'trained.safetensors', trained)
    for m, teacher in enumerate(group):
        mine = trained if trained is None or not models.stacked else engines.take(trained, m)
        found[teacher.name]['sha256'] = digest_of(run, arm, teacher, mine)
    write_json(path / 'teachers.json', found)


def digest_of(run: Any, arm: Arm, teacher: Teacher, trained: Any) -> str:
    """The same for the same teacher only."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trained):
        digest.update(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1))
    base = [run.world.sha256, arm.architecture, arm.start if arm.own else '', teacher.reference,
            run.config.seed, run.config.split]
    return sha256_of([base, system_of(run, arm, teacher), digest.hexdigest()])


def check_strength(config: Any, found: dict[str, dict[str, float]]) -> None:
    """Raises UserError for a trait teacher that has not got its trait."""
    for name, what in found.items():
        if what['rise'] < config.teacher.min_rise and not config.allow_weak_teacher:
            raise UserError(
                f"the teacher {name} has not got its trait: its measure rose by {what['rise']:.2f} "
                f'where config.teacher.min_rise={config.teacher.min_rise:g} is asked; teach it '
                'longer (config.teacher.steps), or go on with --config.allow_weak_teacher=true')
