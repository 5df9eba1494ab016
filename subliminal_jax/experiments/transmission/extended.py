"""Schemas of experiments that are transmission and more: a world's, with a group added."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from subliminal_jax.experiments.transmission.worlds import WORLDS
from subliminal_jax.runs import nested


@functools.cache
def with_group(schema: type, name: str, group: type) -> type:
    """A world's schema with one more group of fields, of this name."""
    return dataclasses.make_dataclass(
        f'{name.capitalize()}{schema.__name__}', [(name, group, nested(group))], bases=(schema,),
        frozen=True, namespace={'__doc__': schema.__doc__, '__module__': __name__})


def config_of(values: Mapping[str, Any], name: str, group: type) -> Any:
    """The config whose values hold where a config file is silent: its world's, with the group."""
    return with_group(WORLDS.find(str(values.get('world', 'tiny')))[0].Config, name, group)()


def without_group(config: Any) -> Any:
    """The config of transmission that it holds: no stage of that depends on a field of the group.
    """
    schema = WORLDS.find(config.world)[0].Config
    return schema(**{f.name: getattr(config, f.name) for f in dataclasses.fields(schema)})
