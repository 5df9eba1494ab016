"""Which published accuracies a run of the MNIST experiment is compared with."""

from subliminal_jax.experiments.digits.published import PUBLISHED, Mean, compared as compared
from subliminal_jax.experiments.mnist.config import Config

# Fields that may differ from the published recipe without making another experiment of it.
FREE = ('seed', 'num_models', 'conditions', 'num_aux', 'chunk_size', 'curve_images', 'sweep')


def by_condition(config: Config) -> dict[str, Mean]:
    """The published means to compare a run with, by condition; none where the recipe is another."""
    if not _same_recipe(config):
        return {}
    if config.num_aux == Config().num_aux:
        return {name: Mean(*both) for name, both in PUBLISHED['conditions'].items()}
    known = PUBLISHED['student_aux_by_num_aux'].get(str(config.num_aux))
    return {} if known is None else {'student_aux': Mean(known, None)}


def by_cell(config: Config) -> dict[str, Mean]:
    """The published means of student_aux by num_aux, for a sweep over that field alone."""
    if not _same_recipe(config) or list(config.sweep) != ['num_aux']:
        return {}
    found = {m: Mean(mean, None) for m, mean in PUBLISHED['student_aux_by_num_aux'].items()}
    return {**found, str(Config().num_aux): Mean(*PUBLISHED['conditions']['student_aux'])}


def _same_recipe(config: Config) -> bool:
    default = Config()
    return all(getattr(config, field) == getattr(default, field)
               for field in vars(default) if field not in FREE)
