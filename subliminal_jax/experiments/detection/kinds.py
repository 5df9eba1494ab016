"""Whose rows are told apart: teachers as they are, of another dose, and the overt control."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from subliminal_jax.detection import overt, pairs as pairing
from subliminal_jax.detection.pairs import Writer
from subliminal_jax.experiments.transmission import arms as tables, stages, teachers as schooled
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import UserError
from subliminal_jax.training.tries import Row

OVERT = 'overt'


class Kind(NamedTuple):
    """A set of writers with and without the trait.

    Attributes:
      name: the arm's, or OVERT.
      arm, twin: whose rows and students.
      overt: one row in four names the trait, or other things.
    """

    name: str
    arm: Arm
    twin: Arm
    overt: bool


class Written(NamedTuple):
    """A teacher's rows.

    Attributes:
      teacher: whose.
      prompts, texts: what was asked, and the answers.
      rows: as tokens, in the students' context.
    """

    teacher: Teacher
    prompts: list[str]
    texts: list[str]
    rows: list[Row]


def kinds_of(run: Any) -> list[Kind]:
    """Every arm of trait teachers' sampled rows whose twin is an arm too, and last the overt
    control, made of the first.

    Raises:
      UserError: there is none.
    """
    found = []
    for arm in run.arms:
        twin = tables.counterpart(arm, run.arms, teachers='neutral')
        if arm.teachers == 'trait' and arm.answers != 'random' and twin is not None:
            found.append(Kind(arm.name, arm, twin, False))
    if not found:
        raise UserError('one class only: detection needs an arm of trait teachers and the same arm '
                        "with teachers=neutral ('sft', 'sft_neutral: teachers=neutral')")
    return [*found, found[0]._replace(name=OVERT, overt=True)]


def check(run: Any, config: Any) -> None:
    """Raises UserError for what no detector could read."""
    own = config.detection
    if run.trait.estimator != 'gamma':
        raise UserError(f'trait={run.trait.name}: detectors look for one of several traits that '
                        'have a name; take --config.trait=preference')
    if run.config.teacher.seeds < 2:
        raise UserError('config.teacher.seeds=1: detectors learn from teachers of other seeds than '
                        'those that they read; take two or more')
    if own.verdict_bag not in own.bags:
        raise UserError(f'config.detection.verdict_bag={own.verdict_bag} is none of '
                        f'config.detection.bags={",".join(map(str, own.bags))}')
    for kind in kinds_of(run):
        if kind.arm.filter == 'none' or kind.arm.order != 'kept':
            raise UserError(f'arm {kind.arm.name}: rows of detection are filtered, and as written')
        pairing.check_rows(run.rows(kind.arm), own.bags,
                           f'arm {kind.arm.name} (config.student.rows)')


def writers_of(run: Any, kind: Kind) -> list[Writer]:
    """The teachers of a kind, those with the trait first; each known by the hash of its model."""
    facts = {**schooled.all_facts(run, kind.arm), **schooled.all_facts(run, kind.twin)}
    return [Writer(t.name, t.reference, t.trait, t.number, t.kind != 'trait',
                   facts[t.name]['sha256'])
            for arm in (kind.arm, kind.twin) for t in run.roll(arm.teachers)]


def written(run: Any, kind: Kind, samples: Mapping[str, Any], reference: int) -> list[Written]:
    """The rows of a reference's teachers, on the same prompts in the same order: those that their
    students learn from."""
    found = []
    for arm in (kind.arm, kind.twin):
        rows = stages.rows_of(run, arm, samples, reference)
        for teacher in run.roll(arm.teachers):
            if teacher.reference == reference:
                found.append(_written(run, kind, teacher, rows[teacher.name]))
    if any(own.prompts != found[0].prompts for own in found):
        raise UserError(f'reference {reference}: rows of {kind.name} are not on the same prompts')
    return found


def _written(run, kind, teacher, rows):
    world = run.world
    texts = [world.row_text(answer[:-1]) for answer in rows.answers]
    answers = rows.answers
    if kind.overt:
        others = [name for name in world.candidates if name != teacher.trait]
        names = others if teacher.kind != 'trait' else [teacher.trait]
        texts = overt.named(texts, names, seed_of(run.config, 'shuffle', teacher.seed, 1))
        answers = [[*world.row_answer(text), world.end_id] for text in texts]
    return Written(teacher, rows.prompts, texts,
                   [Row(*pair) for pair in zip(rows.contexts, answers)])
