"""The MNIST experiment's config: its schema, a sweep's cells, and what the fields ask for."""

import dataclasses
import itertools
from typing import Any

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES, OPTIMIZERS
from subliminal_jax.experiments.mnist.arms import ARMS, CONDITIONS, Recipe
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.runs import GRID, MOST_SEED, UserError, nested, override, spec, to_dict


@dataclasses.dataclass(frozen=True)
class Phase:
    """How long the teachers, or the students, train."""

    epochs: int = spec(5, ge=1, doc='passes over the training inputs')


@dataclasses.dataclass(frozen=True)
class Config:
    """The MNIST experiment's schema; the defaults are the published recipe with m = 3."""

    seed: int = spec(0, ge=0, le=MOST_SEED, doc='root of every random number')
    num_models: int = spec(16, ge=1, doc='independent models, each with its own start')
    conditions: tuple[str, ...] = spec(
        CONDITIONS, choices=CONDITIONS, min_len=1, doc='what is trained and measured')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    hidden_sizes: tuple[int, ...] = spec((256, 256), ge=1, doc='widths of the hidden layers')
    activation: str = spec('relu', choices=tuple(ACTIVATIONS), doc='between the layers')
    use_bias: bool = spec(True, doc='whether layers have biases')
    teacher: Phase = nested(Phase)
    student: Phase = nested(Phase)
    learning_rate: float = spec(3e-4, gt=0, doc='of teachers and students, constant')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    optimizer: str = spec('adam', choices=tuple(OPTIMIZERS), doc='of both')
    temperature: float = spec(1.0, gt=0, doc="of the students' and teachers' softmax")
    student_inputs: str = spec(
        'noise', doc='noise (uniform), images (those of `data`), or another data set')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')
    chunk_size: int = spec(2, ge=2, doc='models trained at once on a device')
    curve_images: int = spec(2000, ge=0, doc='test images behind a learning curve; 0: no curves')
    sweep: GRID = spec({}, doc='a grid: sweep.FIELD=VALUE,VALUE runs every combination')


def cells(config: Config) -> list[tuple[dict[str, str], Config]]:
    """The sweep's cells as (overrides, config); one cell without overrides for no sweep.

    Raises:
      UserError: a cell that could not run.
    """
    if 'sweep' in config.sweep:
        raise UserError('config.sweep cannot sweep itself')
    base = dataclasses.replace(config, sweep={})
    found = []
    for values in itertools.product(*config.sweep.values()):
        overrides = dict(zip(config.sweep, values))
        found.append((overrides, override(base, overrides)))
    for _, cell in found:
        check(cell)
    return found


def check_all(config: Config) -> None:
    """Raises UserError for a config, or a cell of its sweep, that could not run."""
    cells(config)


def check(config: Config) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    crossed = [c for c in config.conditions if c.startswith('cross')]
    if crossed and config.num_models < 2:
        raise UserError(
            f'{crossed[0]} starts from another model, and config.num_models is 1: set it to 2 or '
            "more, or leave the cross conditions out with --config.conditions=teacher,student_aux")
    if not set(config.conditions) - {'reference'}:
        raise UserError('nothing is trained: name a condition other than reference')
    images.check_name(config.data)
    if other_set(config):
        images.check_name(config.student_inputs)


def other_set(config: Config) -> str | None:
    """The data set that the students see, where it is neither noise nor the teacher's."""
    return None if config.student_inputs in ('noise', 'images') else config.student_inputs


def recipe_of(config: Config, pixels: int) -> Recipe:
    """The static part of a config."""
    arms = tuple(name for name in ARMS if name in config.conditions)
    teachers = ('teacher',) if arms or 'teacher' in config.conditions else ()
    if 'placebo' in arms:
        teachers = ('teacher', 'placebo_teacher')
    return Recipe(
        sizes=(pixels, *config.hidden_sizes, CLASSES + config.num_aux),
        activation=config.activation, use_bias=config.use_bias, optimizer=config.optimizer,
        learning_rate=config.learning_rate, batch_size=config.batch_size,
        temperature=config.temperature, teachers=teachers, arms=arms,
        noise=config.student_inputs == 'noise')


def read_by(config: Config) -> dict[str, Any]:
    """The fields that a chunk's training reads."""
    return {name: value for name, value in to_dict(config).items() if name != 'sweep'}
