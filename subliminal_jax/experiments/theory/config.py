"""The theory experiment's config."""

import dataclasses
import os

from subliminal_jax.data import images
from subliminal_jax.experiments.theory import grid
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.runs import MOST_SEED, UserError, nested, spec

EPS = tuple(float(f'{10 ** (k / 2 - 6):.6g}') for k in range(13))


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The alignment along the training of real students."""

    num_models: int = spec(1, ge=0, doc='independent models; 0 leaves the tracks out')
    epochs: int = spec(5, ge=1, doc='of teachers and students')
    every: int = spec(10, ge=2, doc='steps between probes')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    learning_rate: float = spec(3e-4, gt=0, doc="Adam's, of teachers and students")
    sgd_learning_rate: float = spec(0.3, gt=0, doc='of the SGD students')
    optimizers: tuple[str, ...] = spec(
        ('adam', 'sgd'), choices=('adam', 'sgd'), min_len=1, doc="the students'")
    random_directions: int = spec(8, ge=2, doc='covariance-matched random directions')
    probe_images: int = spec(1000, ge=1, doc='examples behind L_T and the accuracy')


@dataclasses.dataclass(frozen=True)
class Config:
    """The theory experiment's schema."""

    seed: int = spec(0, ge=0, le=MOST_SEED, doc='root of every random number')
    num_seeds: int = spec(6, ge=1, doc='independent starts, inputs and examples a cell')
    num_inputs: int = spec(32, ge=1, doc="the student's inputs, per seed")
    num_images: int = spec(32, ge=1, doc="the examples of the teacher's loss L_T, per seed")
    eps: tuple[float, ...] = spec(EPS, gt=0, doc="the teacher's step sizes, rising")
    alpha: float = spec(1.0, gt=0, doc="the student's step size, SGD")
    coordinate_alpha: float = spec(3e-4, gt=0, doc="the student's step size, Adam and sign")
    alpha_eps: float = spec(1e-3, gt=0, doc='the eps at which the largest alpha is sought')
    models: tuple[str, ...] = spec(
        grid.MODELS, choices=grid.MODELS, min_len=1, doc='models and activations')
    losses: tuple[str, ...] = spec(
        grid.LOSSES, min_len=1, unique=True, doc="the student's: cross_entropy, squared_error")
    logits: tuple[str, ...] = spec(
        ('all', 'class', 'aux'), min_len=1, unique=True,
        doc='logits of the loss: all, class, aux, one_aux, or ids:10+12')
    inputs: tuple[str, ...] = spec(
        grid.INPUTS, choices=grid.INPUTS, min_len=1, doc="the student's inputs")
    starts: tuple[str, ...] = spec(
        ('shared', 'independent', 'interpolated:0.5'), min_len=1, unique=True,
        doc='shared, independent, interpolated:ALPHA')
    optimizers: tuple[str, ...] = spec(
        grid.OPTIMIZERS, choices=grid.OPTIMIZERS, min_len=1,
        doc="the student's; nothing is promised of adam and sign")
    float32: bool = spec(True, doc='some cells in float32 too, to show where precision ends')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    hidden_sizes: tuple[int, ...] = spec((256, 256), ge=1, doc='of the MLP')
    tracks_activation: str = spec(
        'relu', choices=tuple(ACTIVATIONS), doc='of the students along training')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')
    other_data: str = spec(
        'photo', doc="another data set: photo (patches of matplotlib's sample), or tfds:NAME")
    training: Tracks = nested(Tracks)


def check(config: Config) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    grid.check(config)
    images.check_name(config.data)
    if config.other_data != 'photo':
        images.check_name(config.other_data)
    if os.environ.get('JAX_ENABLE_X64', '').lower() in ('0', 'false', 'no'):
        raise UserError('the theory experiment computes in float64, and JAX_ENABLE_X64 disables '
                        'it: unset that variable')


def alphas_of(config: Config) -> dict[str, float]:
    """The student's step size by optimizer."""
    return {'sgd': config.alpha, 'adam': config.coordinate_alpha, 'sign': config.coordinate_alpha}
