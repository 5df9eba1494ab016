"""Which published accuracies a cell is compared with."""

from subliminal_jax.experiments.cross_model.digits.cells import OWN, TEACHER, Cell, network_of
from subliminal_jax.experiments.cross_model.digits.config import Config
from subliminal_jax.experiments.digits.published import PUBLISHED as DIGITS, Mean

PUBLISHED = {
    'source': DIGITS['source'],
    'own_by_num_aux': DIGITS['student_aux_by_num_aux'],
    'own': DIGITS['conditions']['student_aux'],
    'other': DIGITS['conditions']['cross_aux'],
    'own_of_width_128': 0.528,
    # Nature's later version of 2507.14805; read off as "about". How long clones were trained, on
    # which logits, and by which head students were read, is not known here.
    'cloned_plateau': 0.37,
}
RECIPE = ('teacher', 'student', 'learning_rate', 'batch_size', 'data')
CLONED = {('cloned', TEACHER), ('cloned:all', OWN)}  # the read-outs that can rise


def known(config: Config, cell: Cell, readout: str) -> Mean | None:
    """The published accuracy of a cell, where its recipe is the published one.

    Args:
      config: the run's.
      cell: the cell.
      readout: how its students are read.
    """
    if any(getattr(config, name) != getattr(Config(), name) for name in RECIPE):
        return None
    if network_of(cell) == network_of(Cell(width=128)) and cell.num_aux == 3:
        return Mean(PUBLISHED['own_of_width_128'], None) if (
            cell.start, readout) == ('own', OWN) else None
    if network_of(cell) != network_of(Cell()):
        return None
    if (cell.start, readout) == ('own', OWN):
        mean = PUBLISHED['own_by_num_aux'].get(str(cell.num_aux))
        if cell.num_aux == 3:
            return Mean(*PUBLISHED['own'])
        return None if mean is None else Mean(mean, None)
    if cell.num_aux == 3 and (cell.start, readout) == ('other', OWN):
        return Mean(*PUBLISHED['other'])
    if cell.num_aux == 3 and (cell.start, readout) in CLONED:
        return Mean(PUBLISHED['cloned_plateau'], None)
    return None
