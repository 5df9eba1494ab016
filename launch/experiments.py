"""The table of experiments: what a config file's `experiment` names.

Each is imported where it is asked for, so that a program starts fast.
"""

from subliminal_jax.runs.experiment import Experiment


def audit() -> Experiment:
    from subliminal_jax.experiments.audit import EXPERIMENT

    return EXPERIMENT


def audit_benchmark() -> Experiment:
    from subliminal_jax.experiments.audit.benchmark import EXPERIMENT

    return EXPERIMENT


def cross_languages() -> Experiment:
    from subliminal_jax.experiments.cross_model.languages import EXPERIMENT

    return EXPERIMENT


def cross_mnist() -> Experiment:
    from subliminal_jax.experiments.cross_model.digits import EXPERIMENT

    return EXPERIMENT


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
    from subliminal_jax.experiments.transmission import EXPERIMENT

    return EXPERIMENT


def detection() -> Experiment:
    from subliminal_jax.experiments.detection import EXPERIMENT

    return EXPERIMENT


EXPERIMENTS = {row.__name__: row for row in (
    audit, audit_benchmark, cross_languages, cross_mnist, detection, mnist, theory,
    theory_linearised, transmission)}
