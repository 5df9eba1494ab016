"""What arms say together where the trait has one column: differences of pairs.

An arm's own effect is trait less neutral twin. Beside it stand its difference from further twins
(`Trait.twins`), and what of it another start, or shuffled parts, leave out: a difference of
differences.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from subliminal_jax.evaluation import gamma as gammas
from subliminal_jax.experiments.transmission import arms as tables, effects
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.effects import Y

LEFT_OUT = (({'start': 'other'}, 'that of the other start'),
            ({'matrix': 'replaced'}, 'that with random carrier rows in the matrix'),
            ({'order': 'within'}, 'that of parts shuffled within an answer'),
            ({'order': 'across'}, 'that of parts shuffled across answers'))


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
                         y[arm.name], effects.as_twins(run.roll(kind), y[twin.name]), kind)


def _less_controls(run: Any, arm: Arm, y: Mapping[str, Y]) -> Iterator[dict[str, Any]]:
    """The effect less that of a control with neutral twins of its own."""
    as_twins = lambda own: effects.as_twins(run.roll('neutral'), y[own.name])
    neutral = tables.counterpart(arm, run.arms, teachers='neutral')
    for changes, what in LEFT_OUT:
        other, other_neutral = (tables.counterpart(arm, run.arms, **changes, **more)
                                for more in ({}, {'teachers': 'neutral'}))
        if neutral and other and other_neutral and other != arm:
            yield _entry(run, arm, f'{arm.name} less {other.name}', f'the effect less {what}',
                         gammas.difference(y[arm.name], y[other.name]),
                         gammas.difference(as_twins(neutral), as_twins(other_neutral)), '')


def _entry(run, arm, name, what, own, twins, kind):
    effect = effects.effect_of(run, own, twins)
    return {'name': name, 'arm': arm.name, 'rung': arm.rung, 'what': what, 'geometry': False,
            'bounds': True, 'why': None, 'twins': kind, **effect,
            'verdict': effects.verdict_of(run, effect)}
