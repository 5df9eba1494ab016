"""What arms say together where the trait has one column: differences of pairs.

An arm's own effect is trait less neutral twin. Beside it stand its difference from further twins
(`Trait.twins`), and what of it another start, or shuffled parts, leave out: a difference of
differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subliminal_jax.evaluation import gamma as gammas
from subliminal_jax.experiments.transmission import arms as tables, effects
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.effects import Y
from subliminal_jax.experiments.transmission.starts import STARTS

LEFT_OUT = {'start': 'that of another start',
            'matrix': 'that with random carrier rows in the matrix',
            'order': 'that of shuffled parts'}


def contrasts(run: Any, y: Mapping[str, Y]) -> list[dict[str, Any]]:
    """All contrasts of a run.

    Args:
      run: with arms and a trait of one column.
      y: by arm.
    """
    return [found for arm in run.arms if arm.teachers == 'trait'
            for found in (*_less_twins(run, arm, y), *_less_controls(run, arm, y))]


def _less_twins(run: Any, arm: Arm, y: Mapping[str, Y]) -> Iterator[dict[str, Any]]:
    """The effect less that of every further kind of twin, in pairs."""
    for kind in run.trait.twins:
        twin = tables.counterpart(arm, run.arms, teachers=kind)
        if twin is not None:
            yield _entry(run, arm, f'{arm.name} less its {kind} twins',
                         f"the rise less that of the {kind} twins' students, in pairs",
                         y[arm.name], y[twin.name], kind)


def _less_controls(run: Any, arm: Arm, y: Mapping[str, Y]) -> Iterator[dict[str, Any]]:
    """The effect less that of a control with neutral twins of its own."""
    neutral = tables.counterpart(arm, run.arms, teachers='neutral')
    for field, other in _controls(arm, run.arms):
        other_neutral = tables.counterpart(other, run.arms, teachers='neutral')
        if neutral and other_neutral:
            yield _entry(run, arm, f'{arm.name} less {other.name}',
                         f'the effect less {LEFT_OUT[field]}',
                         gammas.difference(y[arm.name], y[other.name]),
                         gammas.difference(y[neutral.name], y[other_neutral.name]), '')


def _controls(arm: Arm, arms: Sequence[Arm]) -> Iterator[tuple[str, Arm]]:
    """Arms that differ from a main one in the start, the matrix or the order of parts alone."""
    if (arm.start, arm.matrix, arm.order) != ('shared', 'own', 'kept'):
        return
    for other in arms:
        for field in LEFT_OUT:
            value = getattr(other, field)
            alike = tables.counterpart(arm, [other], **{field: value})
            if alike and value != getattr(arm, field) and (
                    field != 'start' or STARTS.find(value)[0].control):
                yield field, other


def _entry(run, arm, name, what, own, twins, kind):
    effect = effects.effect_of(run, own, twins)
    return {'name': name, 'arm': arm.name, 'rung': arm.rung, 'what': what, 'geometry': False,
            'bounds': True, 'why': None, 'twins': kind, **effect,
            'verdict': effects.verdict_of(run, effect)}
