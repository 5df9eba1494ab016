"""Arms on real weights: a line of text each, as in experiments/transmission/arms.py.

    'NAME: field=value field=value'

Fields that a line leaves out hold the defaults of `Arm`: sampled, filtered text of prompted
teachers, adapters, the shared start.
"""

import dataclasses

from subliminal_jax.experiments.transmission.arms import OBJECTIVES, RUNGS
from subliminal_jax.runs import UserError, spec


@dataclasses.dataclass(frozen=True)
class Arm:
    """One (teacher, carrier, student start, objective) cell, and how its students train."""

    name: str = spec('', doc='of the arm')
    teachers: str = spec('trait', choices=('trait', 'neutral'), doc='whose data it is')
    made: str = spec('prompt', doc='how teachers are made: prompt, tuned, or lora:RANK')
    own: bool = spec(False, doc="teachers are made of the students' start, not of the reference")
    objective: str = spec('sft', choices=OBJECTIVES, doc='the rung')
    carrier: str = spec('sampled', choices=('sampled', 'greedy', 'random'),
                        doc="the answers: the teacher's at T = 1, its likeliest, or none's")
    order: str = spec('kept', choices=('kept', 'within', 'across'),
                      doc="the answers' numbers: as written, shuffled within one, across all")
    start: str = spec('shared', doc='of the students: shared, body, gauge, noise:SIZE, moved:STEPS')
    head: str = spec('own', choices=('own', 'replaced'),
                     doc="the output matrix: the model's, or one with random carrier rows in "
                         'teacher and student alike')
    trainable: str = spec('lora:8', doc='lora:RANK, all, or body (embedding and final norm held)')
    optimizer: str = spec('adam', choices=('adam', 'sgd', 'sign'), doc="the students'")
    learning_rate: float | None = spec(None, gt=0, doc="the students'; none: the config's")
    rows: int | None = spec(None, ge=1, doc='a teacher; none: student.rows')
    passes: int = spec(1, ge=1, doc='over the rows')

    temperature = 1.0  # of a sampled carrier
    filter = 'paper'
    dose = 1.0

    @property
    def rung(self) -> str:
        """What a figure of this arm stands for, in words."""
        return RUNGS[self.objective]


def check(arm: Arm) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    kind, _, rest = arm.start.partition(':')
    if kind not in ('shared', 'body', 'gauge', 'noise', 'moved'):
        raise UserError(f'start={arm.start} is none of shared, body, gauge, noise:SIZE, moved:N')
    if kind == 'noise' and not _positive(rest):
        raise UserError(f"start={arm.start} needs a size, in each weight matrix's own spread: "
                        'noise:0.1')
    if kind == 'moved' and not (rest.isdigit() and int(rest)):
        raise UserError(f'start={arm.start} needs a number of steps: moved:20')
    if kind in ('shared', 'body', 'gauge') and rest:
        raise UserError(f'start={arm.start} takes no number')
    for field, plain in (('made', ('prompt', 'tuned')), ('trainable', ('all', 'body'))):
        value = getattr(arm, field)
        kind, _, rest = value.partition(':')
        if kind == 'lora' and not (rest.isdigit() and int(rest)):
            raise UserError(f'{field}={value} needs a rank: lora:8')
        if kind != 'lora' and value not in plain:
            raise UserError(f'{field}={value} is none of {", ".join(plain)}, lora:RANK')
    if arm.carrier == 'random' and arm.objective == 'sft':
        raise UserError('random numbers carry nothing of a teacher that a student could copy: '
                        'use a KL objective with carrier=random')
    if arm.own and arm.start in ('body', 'shared'):
        raise UserError(f'own=true with start={arm.start}: a teacher of its own needs a start of '
                        'noise:SIZE or moved:STEPS')
    if arm.head == 'replaced' and arm.objective in ('sft', 'kl'):
        raise UserError('head=replaced is a control of carrier KL: its random rows write no digits')


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def teacher_set(arm: Arm) -> str:
    """The name of the teachers that an arm draws on; equal names are the same teachers."""
    own = f'-of-{arm.start}' if arm.own else ''
    return f'{arm.teachers}-{arm.made}{own}'.replace(':', '')


def row_set(arm: Arm) -> str:
    """The name of the samples that an arm draws on."""
    return f'{teacher_set(arm)}-{arm.carrier}'


def student_init(arm: Arm) -> str:
    """The start, in the words of results.json."""
    if arm.head == 'replaced':
        return 'geometry:replaced'
    return 'geometry:body' if arm.start == 'body' else arm.start


def rank_of(value: str) -> int:
    """R of lora:R, 0 of anything else."""
    kind, _, rest = value.partition(':')
    return int(rest) if kind == 'lora' else 0
