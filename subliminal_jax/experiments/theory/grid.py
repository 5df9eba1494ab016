"""The grid of the theory experiment: every cell is named here before any is computed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.experiments.theory import language, models
from subliminal_jax.runs import UserError
from subliminal_jax.theory.losses import covered

IMAGE_MODELS = ('mlp-relu', 'mlp-gelu', 'conv-gelu', 'linear')
MODELS = (*IMAGE_MODELS, *language.MODELS)
OPTIMIZERS = ('sgd', 'adam', 'sign')
LOSSES = ('cross_entropy', 'squared_error')
INPUTS = ('uniform', 'gaussian', 'images', 'constant', 'other')


class Cell(NamedTuple):
    """One cell; `optimizer` is the student's."""

    model: str
    activation: str
    dtype: str
    loss: str
    logits: str
    inputs: str
    init: str
    optimizer: str

    @property
    def program(self) -> tuple[str, str, str]:
        """What a compiled program depends on; the rest is data."""
        return (self.model, self.activation, self.dtype)

    @property
    def group(self) -> tuple[str, ...]:
        """Cells that differ by the optimizer alone are computed together."""
        return tuple(self[:-1])

    @property
    def promise(self) -> str:
        """What the theory promises of the cell."""
        if self.optimizer == 'sgd' and self.init == 'shared':
            return 'theorem'
        return 'nothing'


def parse_model(name: str) -> tuple[str, str]:
    """'mlp-gelu' -> ('mlp', 'gelu'); 'linear' -> ('linear', 'none')."""
    model, _, activation = name.partition('-')
    return model, activation or 'none'


def grid(config: Any) -> list[Cell]:
    """Every cell of a config, in order.

    The whole product of models, losses, logits, inputs, starts and optimizers in float64; then
    what stands for itself: a linear model (certificates), one auxiliary logit (A = 0 under
    cross-entropy), float32 beside float64 on a part of the cells, and the language models, by
    cross-entropy at every position.
    """
    found: list[Cell] = []
    names = [n for n in config.models if n in IMAGE_MODELS and n != 'linear']
    for name in names:
        for loss in config.losses:
            found += _product((name,), (loss,), config.logits, config.inputs, config.starts,
                              config.optimizers)
            if loss == 'cross_entropy' and 'shared' in config.starts:
                found += _product((name,), (loss,), ('one_aux',), config.inputs[:1], ('shared',),
                                  config.optimizers)
    if 'linear' in config.models:
        found += _product(('linear',), config.losses, config.logits, config.inputs, ('shared',),
                          ('sgd',))
    if config.float32 and names and 'shared' in config.starts:
        kept = [i for i in ('uniform', 'images') if i in config.inputs] or config.inputs[:1]
        found += _product(names[-1:] if 'mlp-gelu' not in names else ('mlp-gelu',), config.losses,
                          config.logits, kept, ('shared',), config.optimizers, 'float32')
    for name in (n for n in config.models if n in language.MODELS):
        found += _product((name,), ('cross_entropy',), language.LANGUAGE_LOGITS,
                          language.LANGUAGE_INPUTS, config.starts, config.optimizers)
    return list(dict.fromkeys(found))


def _product(models, losses, logits, inputs, starts, optimizers, dtype='float64') -> list[Cell]:
    return [Cell(*parse_model(m), dtype, loss, which, shown, start, optimizer)
            for m in models for loss in losses for which in logits for shown in inputs
            for start in starts for optimizer in optimizers]


def programs(cells: Sequence[Cell]) -> dict[tuple[str, ...], list[Cell]]:
    """Cells by the program that computes them, in order."""
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.program, []).append(cell)
    return found


def check(config: Any) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    for loss in config.losses:
        covered(loss)
    for start in config.starts:
        models.share_of(start)
    for logits in config.logits:
        models.logit_mask(logits, CLASSES + config.num_aux)
    if list(config.eps) != sorted(set(config.eps)):
        raise UserError('config.eps must rise and repeat nothing')
    if len(config.eps) < 4:
        raise UserError('config.eps needs at least four values: a slope is fitted to them')
