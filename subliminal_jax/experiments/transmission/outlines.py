"""A run as far as it is known without weights: what a plan reads of config and world."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.experiments.transmission.engines import Engine
from subliminal_jax.experiments.transmission.run import (
    Run,
    check_architectures,
    check_arm,
    check_problems,
    checked_arms,
)
from subliminal_jax.experiments.transmission.traits import TRAITS
from subliminal_jax.experiments.transmission.worlds import prepared, pretrained
from subliminal_jax.models import gguf, hf, loading
from subliminal_jax.models.params import TransformerConfig
from subliminal_jax.runs import UserError, unknown_name
from subliminal_jax.traits import trait_set as sets

# Architectures of models that need not be there to be planned for.
KNOWN = {'hf:Qwen/Qwen2.5-7B-Instruct': TransformerConfig(
    vocab_size=152064, num_layers=28, width=3584, num_heads=28, num_kv_heads=4, head_dim=128,
    ffn_width=18944, rope_theta=1e6, norm_eps=1e-6, tied=False, qkv_bias=True,
    max_positions=32768)}
CARRIER = tuple('0123456789,; \n')  # a vocabulary with the carrier's tokens alone


class Outline(NamedTuple):
    """What a plan knows of a world: some fields of `World`, for which no weights are read."""

    architectures: dict[str, TransformerConfig]
    engine: Callable[[str], Engine]
    traits: tuple[str, ...]
    questions: tuple[Any, ...]
    unrelated: tuple[Any, ...]
    contexts: tuple[str, ...]
    lesson_context: str
    texts: int
    moving_texts: int
    new_tokens: int
    carrier: Carrier
    chosen: sets.TraitSet
    num_references: int = 1
    vocabulary: tuple[str, ...] = CARRIER
    end_id: int = len(CARRIER)
    dialects: Mapping[str, Any] = types.MappingProxyType({})

    @property
    def candidates(self) -> tuple[str, ...]:
        """As World's."""
        return tuple(c.name for c in self.chosen.candidates)


def run_of(config: Any) -> Run:
    """A run on pretrained weights as far as it is known without them.

    Raises:
      UserError: an arm, a trait or a model that cannot be.
    """
    arms, chosen = checked_arms(config), TRAITS.find(config.trait)[0].load(config.trait_set)
    prepared.check(config)
    for arm in arms:
        pretrained.check_precision(config, arm)
    asked = config.context
    traits = sets.of_run(chosen, config.split, config.traits, config.names)
    models = {'main': architecture_of(config)}
    if config.second.name:
        models['second'] = architecture_of(pretrained.as_second(config))
    world = Outline(
        models, pretrained.engine_of(config),
        traits, tuple(sets.questions(chosen, config.split, taught=traits)[:asked.questions]),
        tuple(chosen.unrelated[:asked.unrelated]), asked.measured, f'{asked.student}/plain',
        pretrained.TEXTS, pretrained.MOVING_TEXTS, config.carrier.new_tokens,
        pretrained.FORMS[config.carrier.form], chosen)
    run = Run(config, None, world, TRAITS.find(config.trait)[0], arms, {}, None, {})
    for arm in arms:
        check_architectures(world, arm)
        check_arm(run, arm)
    check_problems(run)
    return run


def shape_of(lines: Sequence[str]) -> TransformerConfig:
    """An architecture from its numbers, FIELD=NUMBER each.

    Raises:
      UserError: a field that it has not got, one that is missing, or no number.
    """
    kinds = typing.get_type_hints(TransformerConfig)
    known = [f.name for f in dataclasses.fields(TransformerConfig)
             if kinds[f.name] in (int, float, bool)]
    values = {}
    for line in lines:
        field, _, value = line.partition('=')
        if field not in known:
            raise UserError('config.model.shape: ' + str(unknown_name('field', field, known)))
        try:
            values[field] = value == 'true' if kinds[field] is bool else kinds[field](value)
        except ValueError:
            raise UserError(f'config.model.shape: {line!r} holds no number') from None
    try:
        return TransformerConfig(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f'config.model.shape is no whole architecture: {error}') from None


def architecture_of(config: Any) -> TransformerConfig:
    """The model's architecture, from its files or from what is known; no weights are read."""
    name = config.model.name
    if config.model.shape:
        return pretrained.settings(config, shape_of(config.model.shape))
    if name in KNOWN:
        return pretrained.settings(config, KNOWN[name])
    place = loading.locate(name)
    found = hf.config_of(place)[0] if place.is_dir() else gguf.config_of(gguf.read(place))[0]
    return pretrained.settings(config, found)
