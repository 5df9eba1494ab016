"""Transmission: teachers, their rows, students, controls; in any world, through any carrier."""

from collections.abc import Callable, Mapping
from typing import Any

from subliminal_jax.experiments.transmission import preferences as preferences
from subliminal_jax.experiments.transmission.run import run as run
from subliminal_jax.experiments.transmission.worlds import (
    WORLDS,
    pretrained as pretrained,
    tiny as tiny,
)


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's."""
    return WORLDS.find(str(values.get('world', 'tiny')))[0].Config()


def plan(config: Any) -> list[Any]:
    """What a run would do, stage by stage, with its arithmetic and memory."""
    return WORLDS.find(config.world)[0].plan(config)


def calculated(config: Any) -> str:
    """What a run would take on other machines; '' where that is not known."""
    elsewhere = WORLDS.find(config.world)[0].calculated
    return elsewhere(config) if elsewhere else ''


def steps(config: Any, count: int) -> Callable[[], Any]:
    """Training steps to trace."""
    from subliminal_jax.experiments.transmission import tracing

    return tracing.steps(config, count)
