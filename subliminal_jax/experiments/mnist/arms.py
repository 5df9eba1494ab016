"""What is trained and measured: the arms, as data, and the recipe that they share."""

from typing import NamedTuple


class Arm(NamedTuple):
    """A student: its start ('own' or 'other' weights), its teacher, the logits that it matches."""

    start: str
    teacher: str
    logits: str


ARMS = {
    'student_aux': Arm('own', 'teacher', 'aux'),
    'student_all': Arm('own', 'teacher', 'all'),
    'cross_aux': Arm('other', 'teacher', 'aux'),
    'cross_all': Arm('other', 'teacher', 'all'),
    'placebo': Arm('own', 'placebo_teacher', 'aux'),
}
CONDITIONS = ('reference', 'teacher', *ARMS)  # what a config may ask for
REPORTED = ('reference', 'teacher', 'placebo_teacher', *ARMS)  # the order of results and pages


class Recipe(NamedTuple):
    """What a compiled program depends on; hashable.

    Attributes:
      sizes: widths from pixels to 10 + num_aux logits.
      activation, use_bias: of the MLP.
      optimizer, learning_rate: of teachers and students.
      batch_size: the last, partial batch of an epoch is kept.
      temperature: of the students' and teachers' softmax.
      teachers: names of the teachers: 'teacher', and 'placebo_teacher' where an arm needs it.
      arms: names of the students, in ARMS.
      noise: the students' inputs are noise, not images.
    """

    sizes: tuple[int, ...]
    activation: str
    use_bias: bool
    optimizer: str
    learning_rate: float
    batch_size: int
    temperature: float
    teachers: tuple[str, ...]
    arms: tuple[str, ...]
    noise: bool
