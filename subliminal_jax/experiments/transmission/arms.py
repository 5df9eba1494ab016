"""An arm is a line of text, a row of a table: what its teachers are, what its students see and do.

    'NAME: field=value field=value'

A control is another row. Fields that a line leaves out hold the defaults of `Arm`, which is the
paper's claim: sampled, filtered text from trait teachers, all weights, the shared start.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from subliminal_jax.runs import UserError, schema, spec

OBJECTIVES = ('sft', 'kl_carrier', 'kl_carrier_end', 'kl')
RUNGS = {
    'sft': 'sampled text', 'kl_carrier': 'carrier KL', 'kl_carrier_end': 'carrier KL + end',
    'kl': 'full KL',
}
FILTERS = ('none', 'paper', 'strict')
PARTS = ('embedding', 'head', 'body')
UNTUNED = ('reference', 'untuned')  # teachers that one might ask for


@dataclasses.dataclass(frozen=True)
class Arm:
    """One (teacher, carrier, student start, objective) cell, and how its students train."""

    name: str = spec('', doc='of the arm')
    teachers: str = spec('trait', choices=('trait', 'neutral'), doc='whose data it is')
    dose: float = spec(1.0, gt=0, doc="the teachers' steps, as a share of teacher.steps")
    head: str = spec('untied', choices=('untied', 'tied'), doc='of every model of the arm')
    objective: str = spec('sft', choices=OBJECTIVES, doc='the rung')
    carrier: str = spec('sampled', choices=('sampled', 'greedy', 'random'),
                        doc="the answers: the teacher's at `temperature`, its likeliest, or none's")
    temperature: float = spec(1.0, gt=0, doc='of a sampled carrier')
    filter: str = spec('paper', choices=FILTERS, doc='which rows are kept')
    order: str = spec('kept', choices=('kept', 'within', 'across'),
                      doc="the answers' numbers: as written, shuffled within one, across all")
    start: str = spec('shared',
                      doc='of the students: shared, other, gauge, share:PART+PART, moved:STEPS')
    trainable: str = spec('all', doc='all, body, head, embedding, or lora:RANK')
    optimizer: str = spec('adam', choices=('adam', 'sgd', 'sign'), doc="the students'")
    learning_rate: float | None = spec(None, gt=0, doc="the students'; none: student.learning_rate")
    rows: int | None = spec(None, ge=1, doc='a teacher; none: student.rows')
    passes: int = spec(1, ge=1, doc='over the rows')

    @property
    def rung(self) -> str:
        """What a figure of this arm stands for, in words."""
        return RUNGS[self.objective]


def parse(lines: Sequence[str], kind: Any = None, check_arm: Any = None) -> list[Any]:
    """The arms of a config.

    Args:
      lines: of the config.
      kind: the schema of an arm; `Arm` by default.
      check_arm: checks what the schema does not say; `check` by default.

    Raises:
      UserError: a line that cannot be read, an unknown field, two arms of one name.
    """
    arms = [_arm(line, kind or Arm, check_arm or check) for line in lines]
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two arms are called {name!r}: give each its own name')
    return arms


def _arm(line: str, kind: Any, check_arm: Any) -> Any:
    name, _, fields = line.partition(':') if ':' in line.split(' ')[0] else (line, '', '')
    name = name.strip()
    if not name or not all(c.isalnum() or c in '_-.' for c in name):
        raise UserError(f'the arm {line!r} needs a name of letters, digits, . - or _ before its '
                        'colon')
    values = {'name': name}
    for part in fields.split():
        field, equals, value = part.partition('=')
        if not equals:
            raise UserError(f'the arm {name!r} has {part!r} where FIELD=VALUE is needed')
        values[field] = value
    try:
        if values.get('teachers') in UNTUNED:
            raise UserError(
                f'teachers={values["teachers"]}: under KL the gradient of the untuned reference as '
                'a neutral teacher is exactly zero, which is no control; use teachers=neutral')
        arm = schema.build(kind, values)
        check_arm(arm)
    except UserError as error:
        raise UserError(f'arm {name}: {str(error).replace("config.", "")}') from None
    return arm


def check(arm: Arm) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    kind, _, rest = arm.start.partition(':')
    if kind == 'share':
        parts = rest.split('+')
        bad = [p for p in parts if p not in PARTS]
        if bad or len(set(parts)) == len(PARTS):
            raise UserError(f'start={arm.start} must share some, not all, of {"+".join(PARTS)}')
    elif kind == 'moved':
        if not rest.isdigit() or int(rest) < 1:
            raise UserError(f'start={arm.start} needs a number of pre-training steps: moved:100')
    elif arm.start not in ('shared', 'other', 'gauge'):
        raise UserError(f'start={arm.start} is none of shared, other, gauge, share:PART, moved:N')
    kind, _, rest = arm.trainable.partition(':')
    if kind == 'lora':
        if not rest.isdigit() or int(rest) < 1:
            raise UserError(f'trainable={arm.trainable} needs a rank: lora:8')
    elif arm.trainable not in ('all', *PARTS):
        raise UserError(f'trainable={arm.trainable} is none of all, {", ".join(PARTS)}, lora:RANK')
    if arm.carrier == 'random' and arm.objective == 'sft':
        raise UserError('random numbers carry nothing of a teacher that a student could copy: '
                        'use a KL objective with carrier=random')
    if arm.head == 'tied' and ('embedding' in arm.start) != ('head' in arm.start):
        raise UserError('a tied head is the embedding: share both or neither')


def check_foreign(arms: Sequence[Any], source: str) -> None:
    """Refuses arms that would learn from rows of others (`carrier.samples`) as neutral ones.

    Raises:
      UserError: text of neutral teachers is asked for, and the rows are those of traits.
    """
    for arm in arms:
        if source and arm.teachers == 'neutral' and arm.carrier != 'random':
            raise UserError(
                f'arm {arm.name}: the rows of config.carrier.samples belong to traits, and none to '
                'neutral teachers: take the arm out, give it carrier=random and a KL objective, or '
                'leave config.carrier.samples empty')


def of(arm: Arm, teachers: str) -> Arm:
    """The arm with another kind of teachers."""
    return dataclasses.replace(arm, teachers=teachers)


def teacher_set(arm: Arm) -> str:
    """The name of the teachers that an arm draws on; equal names are the same teachers."""
    dose = '' if arm.dose == 1 else f'-dose{arm.dose:g}'
    return f'{arm.teachers}{dose}-{arm.head}'


def row_set(arm: Arm) -> str:
    """The name of the samples that an arm draws on."""
    carrier = arm.carrier
    if carrier == 'sampled' and arm.temperature != 1:
        carrier = f'T{arm.temperature:g}'
    return f'{teacher_set(arm)}-{carrier}'


def start_set(arm: Arm) -> str:
    """The name of the starts that an arm's students begin with; 'other' are references too."""
    kind = 'base' if arm.start in ('shared', 'other', 'gauge') else arm.start
    return f'{kind}-{arm.head}'
