"""The table of experiments: what a config file's `experiment` names.

Each is imported where it is asked for, so that a program starts fast.
"""

from types import ModuleType

from subliminal_jax.runs.experiment import Experiment


def mnist() -> Experiment:
    from subliminal_jax.experiments.mnist import EXPERIMENT

    return EXPERIMENT


def theory() -> Experiment:
    from subliminal_jax.experiments.theory import EXPERIMENT

    return EXPERIMENT


def theory_linearised() -> Experiment:
    from subliminal_jax.experiments.theory.linearised import EXPERIMENT

    return EXPERIMENT


def transmission() -> Experiment:
    from subliminal_jax.experiments import transmission

    return _of(transmission)


def transmission_weights() -> Experiment:
    from subliminal_jax.experiments import weights

    return _of(weights)


def _of(module: ModuleType) -> Experiment:
    """The row of a package that declares none."""
    optional = {name: getattr(module, name, None) for name in ('steps', 'calculated', 'design')}
    return Experiment(module.Config, module.plan, module.run, page=None, **optional)


EXPERIMENTS = {row.__name__: row for row in (
    mnist, theory, theory_linearised, transmission, transmission_weights)}
