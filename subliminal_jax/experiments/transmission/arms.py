"""An arm is a line of text, a row of a table: what its teachers are, what its students see and do.

    'NAME: field=value field=value'

A control is another row. Fields that a line leaves out hold the defaults of `Arm`, which is the
paper's claim: sampled, filtered text from trait teachers, all weights, the shared start.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from subliminal_jax.experiments.transmission.defences import DEFENCES
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.registry import positive, whole_number
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.experiments.transmission.token_orders import selection_of
from subliminal_jax.models.parts import PARTS
from subliminal_jax.runs import UserError, lines as table, schema, spec, unknown_name

FILTERS = ('none', 'paper', 'strict')
UNTUNED = ('reference', 'untuned')  # teachers that one might ask for
PARAPHRASERS = ('other', 'own', 'random')
PICKERS = ('attack', 'random')
MOST_POOL = 64


@dataclasses.dataclass(frozen=True)
class Arm:
    """One (teacher, carrier, answers, start, objective) cell, and how its students train."""

    name: str = spec('', doc='of the arm')
    teachers: str = spec('trait', doc='whose data it is: trait, neutral, or a further kind of twin '
                                      'that the trait has')
    made: str = spec('tuned', doc='how teachers are made: tuned, lora:RANK, prompt, '
                                    'steered:LAYER, forged, forged:random')
    dose: float = spec(1.0, gt=0, doc="the teachers' steps, as a share of teacher.steps")
    own: bool = spec(False, doc="teachers are made of the students' start, not of the reference")
    architecture: str = spec('main', doc="of the arm's models, one of the world's: main, tied; "
                                         'digits, wide, second')
    student: str = spec('', doc="architecture of the students where it is not the teachers': rows "
                                'pass between them as text; empty: the same')
    matrix: str = spec('own', choices=('own', 'replaced'),
                       doc="the output matrix: the model's, or one with random carrier rows in "
                           'teacher and student alike')
    carrier: str = spec('', doc="a registered carrier; empty: the config's")
    answers: str = spec('sampled',
                        choices=('sampled', 'constrained', 'greedy', 'selected', 'random'),
                        doc="the teacher's at `temperature`, the same of tokens that keep to the "
                            "carrier's form, its likeliest, those of the reference's that it "
                            "picks, or none's")
    temperature: float = spec(1.0, gt=0, doc='of sampled and constrained answers')
    filter: str = spec('paper', choices=FILTERS, doc='which rows are kept')
    order: str = spec('kept', choices=('kept', 'within', 'across'),
                      doc="the answers' parts: as written, shuffled within one, across all")
    mix: float = spec(0.0, ge=0, lt=1, doc="share of the rows that the teacher's twin has written")
    tokens: str = spec('all', doc='that are learned: all, mask:ORDER:SHARE, replace:ORDER:SHARE '
                                  '(gap, divergence, random, entropy, loss, loss_gap, '
                                  'gradient)')
    paraphrase: str = spec('none', doc='none, or WHO:SHARE: a share of the numbers of rows is '
                                       'drawn anew by another reference (other), the '
                                       "teacher's own (own) or at random (random)")
    picked: str = spec('none', doc='attack:TIMES: of so many times as many rows, those that an '
                                   'attacker picks who differentiates through the training '
                                   '(attack.py); random:TIMES: any of them; or none')
    defence: str = spec('none', doc="in training: none, anchor:BETA, pull:BETA, project:WHICH "
                                    '(oracle, estimated, neutral, random, random_estimated)')
    objective: str = spec('sft', doc='sft, dpo, kl_carrier, kl_carrier_end, kl_words, kl_top, kl: '
                                  'the rung')
    start: str = spec('shared', doc='of the students: shared, other, next:STEPofSIZE, gauge, '
                                    'share:PART+PART, moved:STEPS, noise:SIZE, redrawn:LAYER, '
                                    'body')
    trainable: str = spec('all', doc='all, parts joined by + (embedding, body, head), layer:NUMBER '
                                     'or lora:RANK')
    optimizer: str = spec('adam', choices=('adam', 'sgd', 'sign'), doc="the students'")
    learning_rate: float | None = spec(None, gt=0, doc="the students'; none: the config's")
    rows: int | None = spec(None, ge=1, doc='a teacher; none: student.rows')
    passes: int = spec(1, ge=1, doc='over the rows')

    @property
    def students(self) -> str:
        """The architecture of the arm's students."""
        return self.student or self.architecture

    @property
    def pool(self) -> int:
        """How many times as many rows there are as students see."""
        return whole_number(self.picked.partition(':')[2]) if self.picked != 'none' else 1

    @property
    def rewriting(self) -> tuple[str, float] | None:
        """(who draws numbers anew, at which share of them), or None."""
        who, _, share = self.paraphrase.partition(':')
        return None if self.paraphrase == 'none' else (who, positive(share))

    @property
    def rung(self) -> str:
        """What a figure of this arm stands for, in words."""
        if self.answers == 'selected':
            return f'selected text, {OBJECTIVES[self.objective].rung}'.removesuffix(
                ', sampled text')
        return OBJECTIVES[self.objective].rung


def parse(lines: Sequence[str]) -> list[Arm]:
    """The arms of a config.

    Raises:
      UserError: a line that cannot be read, an unknown field, two arms of one name.
    """
    return table.parse('arm', lines, _built)


def _built(values: dict[str, str]) -> Arm:
    if values.get('teachers') in UNTUNED:
        raise UserError(
            f'teachers={values["teachers"]}: under KL the gradient of the untuned reference as '
            'a neutral teacher is exactly zero, which is no control; use teachers=neutral')
    arm = schema.build(Arm, values)
    check(arm)
    return arm


def check(arm: Arm) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    objective, _ = OBJECTIVES.find(arm.objective)
    for field, registry in (('start', STARTS), ('made', TEACHER_KINDS),
                            ('defence', DEFENCES)):
        row, rest = registry.find(getattr(arm, field))
        if why := row.trouble(rest):
            raise UserError(f'{field}={getattr(arm, field)} {why}')
    kind, _, rest = arm.trainable.partition(':')
    if kind == 'lora' and not whole_number(rest):
        raise UserError(f'trainable={arm.trainable} needs a rank: lora:8')
    if kind == 'layer' and rest != '0' and not whole_number(rest):
        raise UserError(f'trainable={arm.trainable} needs the number of a layer, from 0: layer:0')
    if kind not in ('lora', 'layer') and arm.trainable != 'all' and any(
            part not in PARTS for part in arm.trainable.split('+')):
        raise UserError(f'trainable={arm.trainable} is none of all, {", ".join(PARTS)} (or several '
                        'joined by +), layer:NUMBER, lora:RANK')
    if objective.pairs != (arm.answers == 'random') and objective.target is None:
        raise UserError(
            f'objective={arm.objective} learns which of two random answers a teacher prefers: give '
            'it answers=random' if objective.pairs else
            'random answers carry nothing of a teacher that a student could copy: use a KL '
            'objective, or dpo, with answers=random')
    selection_of(arm.tokens)
    if arm.tokens != 'all' and (objective.target is not None or objective.pairs):
        raise UserError(f'tokens={arm.tokens} chooses among the tokens that a teacher wrote: it '
                        f'needs objective=sft, not {arm.objective}')
    if arm.mix and arm.answers == 'random':
        raise UserError(f'mix={arm.mix:g} mixes in rows that a twin wrote: random answers are '
                        "nobody's")
    check_rows(arm)
    if arm.student == arm.architecture:
        raise UserError(f'student={arm.student} is the architecture of the teachers: leave it out')
    if arm.student and arm.matrix == 'replaced':
        raise UserError(f'matrix=replaced with student={arm.student}: the random rows are one '
                        "matrix, and two architectures have one each")
    if arm.students == 'tied' and ('embedding' in arm.start) != ('head' in arm.start):
        raise UserError('a tied head is the embedding: share both or neither')
    if arm.own and not STARTS.find(arm.start)[0].has_teachers:
        raise UserError(f'own=true with start={arm.start}: a teacher of its own needs a start of '
                        'noise:SIZE, moved:STEPS, redrawn:LAYER, share:PART or gauge')
    if arm.own and arm.answers == 'selected':
        raise UserError('own=true: teachers with answers=selected pick among what the reference '
                        'has written, which they have to be made of')
    if arm.own and arm.students != arm.architecture:
        raise UserError(f'own=true with student={arm.student}: the other architecture has teachers '
                        f'of its own under architecture={arm.student}')
    if arm.matrix == 'replaced' and not objective.within_set:
        raise UserError('matrix=replaced is a control of carrier KL: its random rows write nothing')


def check_rows(arm: Arm) -> None:
    """Raises UserError for a paraphrase, or a choice among rows, that cannot be."""
    who, _, share = arm.paraphrase.partition(':')
    if arm.paraphrase != 'none' and (who not in PARAPHRASERS or not 0 < positive(share) <= 1):
        raise UserError(f'paraphrase={arm.paraphrase} is neither none nor WHO:SHARE with WHO one '
                        f'of {", ".join(PARAPHRASERS)} and a share of at most 1: other:0.5')
    way = arm.picked.partition(':')[0]
    if arm.picked != 'none' and (way not in PICKERS or not 1 < arm.pool <= MOST_POOL):
        raise UserError(f'picked={arm.picked} is neither none nor attack:TIMES or random:TIMES, '
                        f'with TIMES from 2 to {MOST_POOL}: attack:4')
    changed = {'paraphrase': arm.paraphrase != 'none', 'picked': arm.picked != 'none'}
    named = ', '.join(f'{field}={getattr(arm, field)}' for field, on in changed.items() if on)
    if named and (arm.objective != 'sft' or arm.answers == 'random'):
        raise UserError(f'{named} is of text that a teacher wrote: it needs objective=sft, and '
                        'answers that are not random')
    if arm.picked != 'none' and arm.teachers != 'trait':
        raise UserError(f'picked={arm.picked}: who picks knows whose rows they are: leave '
                        'teachers= out')
    if arm.picked.startswith('attack') and arm.tokens != 'all' and (arm.mix or arm.rewriting):
        raise UserError(f'picked={arm.picked} with tokens={arm.tokens}: an attacker has read every '
                        'token of the rows before others take their place: leave mix= and '
                        'paraphrase= out, or tokens=')


def check_foreign(arms: Sequence[Arm], source: str) -> None:
    """Refuses arms that would learn from rows of others (`carrier.samples`) as neutral ones.

    Raises:
      UserError: text of neutral teachers is asked for, and the rows are those of traits.
    """
    for arm in arms:
        if source and arm.answers == 'selected':
            raise UserError(f'arm {arm.name}: answers=selected picks among what the reference '
                            'writes: leave config.carrier.samples empty, or take answers=sampled')
        if source and (arm.teachers != 'trait' or arm.mix) and arm.answers != 'random':
            raise UserError(
                f'arm {arm.name}: the rows of config.carrier.samples belong to traits, and none to '
                'neutral teachers: take the arm out, give it answers=random and a KL objective, or '
                'leave config.carrier.samples empty')


def check_kinds(arms: Sequence[Arm], kinds: Sequence[str]) -> None:
    """Raises UserError for an arm with a kind of teachers that the trait has not."""
    for arm in arms:
        if arm.teachers not in kinds:
            raise UserError(f'arm {arm.name}: ' + str(unknown_name(
                'kind of teachers for this trait', arm.teachers, kinds)))


def with_teachers(arm: Arm, teachers: str) -> Arm:
    """The arm with another kind of teachers."""
    return dataclasses.replace(arm, teachers=teachers)


def twin_arm(arm: Arm) -> Arm:
    """The arm with the twins of its teachers: neutral ones; of any twins, those that have the
    trait."""
    return with_teachers(arm, 'neutral' if arm.teachers == 'trait' else 'trait')


def kinds_of(arm: Arm) -> tuple[str, ...]:
    """The kinds of teachers that an arm needs, in the order in which they are made."""
    if arm.teachers != 'trait':
        return ('trait', arm.teachers)
    row, rest = DEFENCES.find(arm.defence)
    twins = arm.mix > 0 or arm.tokens != 'all' or row.needs_neutral(rest)
    return ('trait', 'neutral') if twins else ('trait',)


def counterpart(arm: Arm, arms: Sequence[Arm], **changes: Any) -> Arm | None:
    """The arm that differs from `arm` in the given fields alone, if there is one."""
    wanted = dataclasses.replace(arm, name='', **changes)
    return next((a for a in arms if dataclasses.replace(a, name='') == wanted), None)


def changed_fields(arm: Arm) -> dict[str, Any]:
    """The fields of an arm that differ from the defaults."""
    return table.changed(arm)


def against(arm: Arm) -> str:
    """What an arm's teachers are made against, as far as they are: its defence, and how they write.
    """
    kind, rest = TEACHER_KINDS.find(arm.made)
    if not kind.adaptive(rest):
        return ''
    warm = '' if arm.temperature == 1 else f'-T{arm.temperature:g}'
    return f'against-{arm.defence.replace(":", "")}{warm}'


def honest(arm: Arm) -> Arm:
    """The arm with teachers as they were before an attacker changed them."""
    before = TEACHER_KINDS.find(arm.made)[0].made_from
    return dataclasses.replace(arm, made=before) if before else arm


def teacher_set(arm: Arm) -> str:
    """The name of the teachers that an arm draws on; equal names are the same teachers."""
    parts = [arm.teachers, arm.made.replace(':', '')]
    if arm.architecture != 'main':
        parts.append(arm.architecture)
    if arm.dose != 1:
        parts.append(f'dose{arm.dose:g}')
    if arm.own:
        parts.append(f'of-{arm.start.replace(":", "")}')
    if against(arm):
        parts.append(against(arm))
    return '-'.join(parts)


def row_set(arm: Arm) -> str:
    """The name of the samples that an arm draws on."""
    answers = arm.answers
    if answers in ('sampled', 'constrained') and arm.temperature != 1:
        answers = f'{answers}-T{arm.temperature:g}'.removeprefix('sampled-')
    return '-'.join([teacher_set(arm), *([arm.carrier] if arm.carrier else []), answers])


def target_set(arm: Arm, rows: int) -> str:
    """The name of the teachers' logits that an arm reads on `rows` rows."""
    parts = [row_set(arm), str(rows), OBJECTIVES[arm.objective].reads]
    if arm.order != 'kept':
        parts.append(arm.order)
    if arm.mix:
        parts.append(f'mix{arm.mix:g}')
    if arm.paraphrase != 'none':
        parts.append(arm.paraphrase.replace(':', ''))
    if arm.picked != 'none':
        parts.append(f'picked-{arm.name}')
    if arm.answers != 'random' and arm.filter != 'paper':
        parts.append(arm.filter)
    if arm.matrix != 'own':
        parts.append(arm.matrix)
    if arm.students != arm.architecture:
        parts.append(f'for-{arm.students}')
    return '-'.join(parts)
