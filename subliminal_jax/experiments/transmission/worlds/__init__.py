"""Where an experiment happens; another world is another row."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.runs.registry import Registry


class WorldKind(NamedTuple):
    """A world that configs may name.

    Attributes:
      name: as configs name it.
      Config: the schema of its experiments: config.Config with what the world adds.
      make: (config, arms) -> the world; raises UserError for what it cannot be.
      plan: (run) -> the stages of a run with their cost.
      counted: the plan is arithmetic alone, and takes no time.
      design: (config, smallest effect, ...) -> a design that would see it, as text; or None.
      origin: config -> what its models are written with (models.export.Origin).
    """

    name: str
    Config: type
    make: Callable[[Any, Sequence[Any]], World]
    plan: Callable[[Any], list[Any]]
    design: Callable[..., str] | None = None
    origin: Callable[[Any], Any] | None = None
    counted: bool = False


WORLDS = Registry('world')
