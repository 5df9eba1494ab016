"""A cell is a line of text: where its students start, how they are read, what networks they are.

    'NAME: field=value field=value'

What a line leaves out holds the defaults of `Cell`, which are the published recipe with m = 3. A
new cell is another line of the config.
"""

import dataclasses
from collections.abc import Sequence

from subliminal_jax.experiments.cross_model.digits.starts import STARTS, has_class_rows
from subliminal_jax.experiments.digits import OPTIMIZERS
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.runs import UserError, lines as table, schema, spec, unknown_name

OWN, TEACHER, PROBE = READOUTS = ('own', 'teacher', 'probe')


@dataclasses.dataclass(frozen=True)
class Cell:
    """Students of one start, and how they are read."""

    name: str = spec('', doc='of the cell')
    start: str = spec('own', doc="of the students: own, other, share:PART+PART (the teacher's "
                                 'first, output, class, aux in another start), mix:T, cloned, '
                                 'cloned:all')
    readout: str = spec('own+teacher', doc="joined by +: own (class head), teacher (the teacher's "
                                           'initial class head), probe (of the last hidden layer)')
    num_aux: int = spec(3, ge=2, doc='auxiliary logits that the students match, m')
    width: int = spec(256, ge=1, doc='of the hidden layers')
    depth: int = spec(2, ge=1, doc='how many hidden layers')
    activation: str = spec('relu', choices=tuple(ACTIVATIONS), doc='between the layers')
    use_bias: bool = spec(True, doc='whether layers have biases')
    optimizer: str = spec('adam', choices=tuple(OPTIMIZERS),
                          doc="the students'; teachers have Adam")

    @property
    def readouts(self) -> tuple[str, ...]:
        """The read-outs, in the order of READOUTS; where the class head is the teacher's initial
        one anyway, the two are read once, as `own`."""
        asked = self.readout.split('+')
        if has_class_rows(self.start):
            asked = [OWN if readout == TEACHER else readout for readout in asked]
        return tuple(readout for readout in READOUTS if readout in asked)


NETWORK = ('width', 'depth', 'activation', 'use_bias', 'optimizer')  # cells alike are a group


def parse(lines: Sequence[str]) -> list[Cell]:
    """The cells of a config.

    Raises:
      UserError: a line that cannot be read, an unknown field, start or read-out, two cells of one
        name, or a cell without its diagonal.
    """
    cells = table.parse('cell', lines, _built)
    for cell in cells:
        if diagonal_of(cell, cells) is None:
            fields = ''.join(f' {name}={value}' for name, value in table.changed(
                dataclasses.replace(cell, start='own', readout='own')).items()
                if name != 'readout')
            raise UserError(
                f'cell {cell.name} is read only where students of the teacher\'s own start learn, '
                f'and no cell has these: add "own_{cell.name}: start=own{fields}"')
    return cells


def _built(values: dict[str, str]) -> Cell:
    cell = schema.build(Cell, values)
    row, rest = STARTS.find(cell.start)
    if why := row.trouble(rest):
        raise UserError(f'start={cell.start} {why}')
    for readout in cell.readout.split('+'):
        if readout not in READOUTS:
            raise unknown_name('read-out', readout, READOUTS)
    return cell


def network_of(cell: Cell) -> tuple:
    """What makes a cell's networks: cells of equal networks share teachers and noise."""
    return tuple(getattr(cell, name) for name in NETWORK)


def diagonal_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell of the same networks and logits whose students start as their teacher did, read by
    their own class head."""
    alike = (c for c in cells if c.start == 'own' and OWN in c.readouts
             and network_of(c) == network_of(cell) and c.num_aux == cell.num_aux)
    return next(alike, None)
