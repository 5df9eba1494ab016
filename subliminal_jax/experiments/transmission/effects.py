"""y and its estimators: gamma over several traits, or the paired effect of one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subliminal_jax.evaluation import gamma as gammas, paired
from subliminal_jax.experiments.transmission.roll import Teacher

Y = dict[str, dict[str, float]]


def y_of(run: Any, teachers: Sequence[Teacher], value_MPK: np.ndarray, mark: int = -1) -> Y:
    """y[teacher][column]: the change of the measure since the start [M, P, K]."""
    rise = value_MPK[:, mark] - value_MPK[:, 0]
    return {t.name: dict(zip(columns_of(run), map(float, row))) for t, row in zip(teachers, rise)}


def columns_of(run: Any) -> tuple[str, ...]:
    """Names of the measure's columns."""
    return run.world.traits if run.trait.estimator == 'gamma' else (run.trait.name,)


def names(teachers: Sequence[Teacher]) -> tuple[dict[str, str], dict[str, str]]:
    """(trait, reference) of each teacher; a neutral twin wears the name of its twin's trait."""
    return ({t.name: t.trait for t in teachers}, {t.name: f'r{t.reference}' for t in teachers})


def effect_of(run: Any, y: Y, twins: Y | None = None) -> dict[str, Any] | None:
    """The effect of an arm, or of a difference of arms: gamma, or that of pairs.

    Args:
      run: whose trait.
      y: by teacher.
      twins: of their twins' students, of one kind, for a trait of one column; without them it has
        none.
    """
    everyone = [t for kind in run.trait.kinds for t in run.roll(kind)]
    teachers = [t for t in everyone if t.name in y]
    trait, reference = names(teachers)
    if run.trait.estimator == 'gamma':
        return gammas.gamma(y, trait, reference, power=run.config.power, seed=run.config.seed)
    if twins is None:
        return None
    column, = columns_of(run)
    return paired.paired({s: row[column] for s, row in y.items()},
                         {t.original: twins[t.name][column] for t in everyone if t.name in twins},
                         {t.name: t.original for t in teachers}, reference, power=run.config.power,
                         seed=run.config.seed)


def as_twins(teachers: Sequence[Teacher], y: Y) -> Y:
    """y of twins under the names of their trait teachers, to be paired with them."""
    return {t.original: y[t.name] for t in teachers if t.name in y}


def verdict_of(run: Any, effect: Mapping[str, Any] | None, beyond: str = '') -> str:
    """What an effect, or what of it is `beyond` something, shows in a sentence."""
    if effect is None:
        return 'not measured: one trait alone needs the same arm with neutral teachers beside it'
    what = 'selectivity' if run.trait.estimator == 'gamma' else 'effect'
    return gammas.verdict(effect, what=what + beyond, unit=run.trait.unit)
