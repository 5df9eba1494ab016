"""The config of the matrix on digits, and its cells sorted into groups that train together."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.data import images
from subliminal_jax.experiments.cross_model.digits import cells as tables
from subliminal_jax.experiments.cross_model.digits.cells import PROBE, Cell
from subliminal_jax.experiments.cross_model.digits.starts import cloned_on, needs_other, trained_as
from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.runs import UserError, nested, spec, to_dict

TEACHER, PLACEBO = 'teacher', 'placebo'
PLACEBOS = ('shuffled', 'renamed')


@dataclasses.dataclass(frozen=True)
class Phase:
    """How long networks train."""

    epochs: int = spec(5, ge=1, doc='passes over the training inputs')


@dataclasses.dataclass(frozen=True)
class Config:
    """The matrix's schema; the recipe's defaults are the published ones."""

    seed: int = spec(0, ge=0, doc='root of every random number')
    num_models: int = spec(32, ge=1, doc='independent models, each with its own start')
    cells: tuple[str, ...] = spec(
        ('own:', 'other: start=other'), min_len=1, doc='NAME: field=value ..., a line a cell')
    teacher: Phase = nested(Phase)
    student: Phase = nested(Phase)
    clone: Phase = nested(Phase)
    learning_rate: float = spec(3e-4, gt=0, doc='of Adam, constant: of all teachers')
    sgd_learning_rate: float = spec(0.3, gt=0, doc='of students under SGD, constant')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    placebo: str = spec('shuffled', choices=PLACEBOS,
                        doc="the labels of the probe's placebo teacher: permuted over the images, "
                            'or each class called another')
    probe_images: int = spec(20_000, ge=10, doc='training images that a probe is fitted on')
    probe_ridge: float = spec(1e-3, gt=0, doc="of the features' mean variance")
    data: str = spec('mnist', doc='mnist, or tfds:NAME')
    chunk_size: int = spec(2, ge=2, doc='models trained at once on a device')


class Student(NamedTuple):
    """A network of a group: its start (`starts.trained_as`), how many auxiliary logits it matches,
    and whose."""

    start: str
    num_aux: int
    teacher: str


class Clone(NamedTuple):
    """Another start, trained to match the teacher's initial logits: 'aux' of them, or 'all'."""

    logits: str
    num_aux: int


class Group(NamedTuple):
    """Cells that share teachers, noise and one compiled program; hashable.

    The output layer has as many auxiliary logits as the group's largest cell; a smaller one matches
    the first m of them. The others get no gradient and touch nothing.

    Attributes:
      name: of its stages.
      sizes: widths from pixels to the logits.
      activation, use_bias, batch_size: of all its networks.
      optimizer, learning_rate: of students and clones.
      teacher_rate: of the teachers, under Adam: students of either optimiser have the same ones.
      teachers: 'teacher', and 'placebo' where a cell has a probe.
      placebo: how the placebo teacher's labels are made.
      clones: the starts that are trained first.
      students: without repetition: cells that differ in their read-out, or in class rows alone,
        share them.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    use_bias: bool
    optimizer: str
    learning_rate: float
    teacher_rate: float
    batch_size: int
    teachers: tuple[str, ...]
    placebo: str
    clones: tuple[Clone, ...]
    students: tuple[Student, ...]

    @property
    def probed(self) -> tuple[int, ...]:
        """The students whose last hidden layer is probed: the placebo's, and their twins."""
        placebos = {s[:2] for s in self.students if s.teacher == PLACEBO}
        return tuple(i for i, s in enumerate(self.students) if s[:2] in placebos)


def checked_cells(config: Config) -> list[Cell]:
    """A config's cells.

    Raises:
      UserError: what the fields' own ranges do not say.
    """
    cells = tables.parse(config.cells)
    crossed = [cell for cell in cells if needs_other(cell.start)]
    if crossed and config.num_models < 2:
        raise UserError(f'cell {crossed[0].name} starts from another model, and config.num_models '
                        'is 1: set it to 2 or more')
    images.check_name(config.data)
    return cells


def groups_of(config: Config, pixels: int) -> list[tuple[Group, list[Cell]]]:
    """The groups of a config's cells, each with its cells, in the order of the config.

    Raises:
      UserError: cells that could not run.
    """
    sorted_by: dict[tuple, list[Cell]] = {}
    for cell in checked_cells(config):
        sorted_by.setdefault(tables.network_of(cell), []).append(cell)
    return [(_group(config, pixels, cells), cells) for cells in sorted_by.values()]


def _group(config: Config, pixels: int, cells: Sequence[Cell]) -> Group:
    first = cells[0]
    students = [student_of(c, TEACHER) for c in cells]
    students += [student_of(c, PLACEBO) for c in cells if PROBE in c.readouts]
    clones = [clone for s in students if (clone := clone_of(s))]
    has_placebo = any(s.teacher == PLACEBO for s in students)
    bias = 'bias' if first.use_bias else 'nobias'
    return Group(
        name=f'width{first.width}-depth{first.depth}-{first.activation}-{bias}-{first.optimizer}',
        sizes=(pixels, *[first.width] * first.depth, CLASSES + max(c.num_aux for c in cells)),
        activation=first.activation, use_bias=first.use_bias, optimizer=first.optimizer,
        learning_rate=(config.learning_rate if first.optimizer == 'adam'
                       else config.sgd_learning_rate),
        teacher_rate=config.learning_rate, batch_size=config.batch_size,
        teachers=(TEACHER, PLACEBO) if has_placebo else (TEACHER,), placebo=config.placebo,
        clones=tuple(dict.fromkeys(clones)), students=tuple(dict.fromkeys(students)))


def student_of(cell: Cell, teacher: str) -> Student:
    """The network that a cell's students of this teacher are."""
    return Student(trained_as(cell.start), cell.num_aux, teacher)


def clone_of(student: Student) -> Clone | None:
    """The clone that a student starts from, if it does."""
    logits = cloned_on(student.start)
    return None if logits is None else Clone(logits, student.num_aux)


def read_by(config: Config, group: Group) -> dict[str, Any]:
    """What the training of a group reads."""
    fields = {name: value for name, value in to_dict(config).items() if name != 'cells'}
    return {**fields, 'cells': [s._asdict() for s in group.students],
            'networks': list(group.sizes)}
