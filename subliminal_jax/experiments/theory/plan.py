"""What a run of the theory experiment would cost."""

from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.experiments.theory import grid, language
from subliminal_jax.experiments.theory.config import Config, check
from subliminal_jax.runs.plan import Stage


def plan(config: Config) -> list[Stage]:
    """What a run would do, with its arithmetic and its memory.

    The cells' arithmetic is multiplied by four: float64, and small products that wait for memory,
    take about that many times as long as float32 products of the measured rate.
    """
    check(config)
    stages = []
    for program, cells in grid.programs(grid.grid(config)).items():
        mults = _mults(config, program[0])
        # forward passes of an example, counted in cells.py; a vjp counts two
        passes = (3.5 * len(config.eps) + 18) * config.num_inputs + (
            1.5 * len(config.eps) + 9) * config.num_images
        far = 12 * config.num_inputs + 20 * config.num_images
        inits = [init for *_, init in {c.group for c in cells}]
        passes = len(inits) * passes + inits.count('shared') * far
        memory = 6e8 + config.num_seeds * 8 * (40 * mults + 1e4 * config.num_inputs)
        stages.append(Stage('-'.join(program) + f' ({len(cells)} cells)',
                            4 * config.num_seeds * passes * 2 * mults, memory))
    tracks = config.training
    if tracks.num_models:
        mults = _mults(config, 'mlp')
        probes = tracks.epochs * 60_000 / tracks.batch_size / tracks.every
        one = tracks.epochs * 60_000 * (2 * 6 + len(tracks.optimizers) * 3 * 6) * mults
        one += len(tracks.optimizers) * 60_000 * 2 * 2 * mults
        one += len(tracks.optimizers) * 3 * probes * tracks.probe_images * 12 * mults
        stages.append(Stage('training tracks', tracks.num_models * one, 1.5e9))
    return stages


def _mults(config: Config, model: str) -> int:
    outputs = CLASSES + config.num_aux
    if f'{model}-silu' in language.MODELS:
        return 60_000 * 8  # two layers of width 32 and the vocabulary, at some eight places
    if model == 'conv':
        return 196 * 16 * 8 + 49 * 32 * 16 + 784 * outputs
    sizes = (784, *(config.hidden_sizes if model == 'mlp' else ()), outputs)
    return sum(a * b for a, b in zip(sizes[:-1], sizes[1:]))
