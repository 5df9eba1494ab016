"""Transmission: teachers, their rows, students, controls; in any world, through any carrier."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from subliminal_jax.experiments.transmission import (
    checks,
    forged as forged,
    misalignment as misalignment,
    pairs as pairs,
    preferences as preferences,
    projection as projection,
    rash as rash,
    steered as steered,
)
from subliminal_jax.experiments.transmission.run import run as run
from subliminal_jax.experiments.transmission.worlds import (
    WORLDS,
    WorldKind,
    pretrained as pretrained,
    tiny as tiny,
)
from subliminal_jax.report import transmission as report
from subliminal_jax.runs import UserError
from subliminal_jax.runs.experiment import Experiment


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's."""
    return WORLDS.find(str(values.get('world', 'tiny')))[0].Config()


def _world(config: Any) -> WorldKind:
    return WORLDS.find(config.world)[0]


def plan(config: Any) -> list[Any]:
    """What a run would do, stage by stage, with its arithmetic and memory."""
    return _world(config).plan(config)


def to_compile(config: Any, topology: Any, mesh: dict[str, int] | None = None) -> Iterator[Any]:
    """What launch.compile compiles."""
    from subliminal_jax.experiments.transmission import ahead

    return ahead.programs(config, topology, mesh)


def design(config: Any, mde: float, **settings: Any) -> str:
    """A design that would see an effect of `mde`.

    Raises:
      UserError: the world plans none.
    """
    proposed = _world(config).design
    if proposed is None:
        raise UserError(f'the world {config.world} has no designs to choose from: take a config '
                        'with world=pretrained')
    return proposed(config, mde, **settings)


def steps(config: Any, count: int) -> Callable[[], Any]:
    """Training steps to trace."""
    from subliminal_jax.experiments.transmission import tracing

    return tracing.steps(config, count)


def estimate(config: Any) -> list[Any]:
    """The plan, where it is counted without tracing a program."""
    return _world(config).plan(config) if _world(config).counted else []


EXPERIMENT = Experiment(config_of, plan, run, report.write, steps, design, to_compile, checks.check,
                        estimate, lambda config: config.world == 'pretrained')
