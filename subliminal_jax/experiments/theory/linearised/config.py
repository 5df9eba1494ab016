"""The linearised student's config, its models, and what they would cost."""

import dataclasses

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.models.mlp import ACTIVATIONS
from subliminal_jax.runs import MOST_SEED, spec
from subliminal_jax.runs.plan import Stage


@dataclasses.dataclass(frozen=True)
class Config:
    """The linearised student's schema; the recipe is that of the MNIST experiment."""

    seed: int = spec(0, ge=0, le=MOST_SEED, doc='root of every random number')
    widths: tuple[int, ...] = spec(
        (64, 128, 256, 512, 1024, 2048), ge=1, min_len=1, unique=True,
        doc='of the two hidden layers')
    num_seeds: int = spec(3, ge=1, le=10_000, doc='models a width')
    single_from: int = spec(2048, ge=1, doc='widths from this on have one model')
    epochs: int = spec(5, ge=1, doc='of teachers and students')
    learning_rate: float = spec(3e-4, gt=0, doc='Adam, of teachers and students')
    batch_size: int = spec(1024, ge=1, doc='the last, partial batch is kept')
    num_aux: int = spec(3, ge=1, doc='auxiliary logits, m')
    activation: str = spec('relu', choices=tuple(ACTIVATIONS), doc='between the layers')
    data: str = spec('mnist', doc='mnist, or tfds:NAME')


def check(config: Config) -> None:
    """Raises UserError for what the fields' own ranges do not say."""
    images.check_name(config.data)


def models(config: Config) -> list[tuple[int, int]]:
    """(width, seed) of every model."""
    return [(width, n) for width in config.widths
            for n in range(1 if width >= config.single_from else config.num_seeds)]


def plan(config: Config) -> list[Stage]:
    """What a run would do, with its arithmetic and its memory."""
    stages = []
    for width in config.widths:
        first, rest = 784 * width, width * width + width * (CLASSES + config.num_aux)
        count = sum(w == width for w, _ in models(config))
        # 2 a multiply-add; a linearised step has a tangent pass beside the primal one
        passes = 2 * (4 * first + 6 * rest) + (6 * first + 10 * rest)
        flops = 60_000 * (config.epochs * passes + 2 * (first + rest))
        stages.append(Stage(f'width {width}, {count} models', count * flops,
                            6e8 + 80 * (first + rest)))
    return stages
