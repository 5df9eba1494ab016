"""What is measured in a run, made once: questions in every context, probes, token masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.experiments.transmission import doses
from subliminal_jax.experiments.transmission.world import World, spelled
from subliminal_jax.traits import answers, trait_set as sets

OPTIONS = 5  # of a choice


class Kit(NamedTuple):
    """What is measured.

    Attributes:
      meters: the trait's meter by context.
      choice: options of the choices, in the lessons' context; None where the set has none.
      options: what a choice is among.
      unrelated: answers to unrelated questions.
      probe: carrier rows on which doses are read.
      trait_V: bool, tokens of the traits.
    """

    meters: dict[str, Any]
    choice: answers.Meter | None
    options: tuple[str, ...]
    unrelated: answers.Meter
    probe: doses.Probe
    trait_V: np.ndarray


def kit_of(run: Any) -> Kit:
    """Builds the meters.

    Raises:
      UserError: a trait that the tokenizer cannot write; a question that does not fit.
    """
    world, context = run.world, run.world.lesson_context
    encode = lambda text: world.answer(text, context)
    found = answers.encoded_spellings(sets.spellings(world.chosen, world.traits), encode)
    trait_V = np.zeros(len(world.ends_V), bool)
    trait_V[[i for forms in found.values() for ids in forms for i in ids]] = True
    asked = [world.asked(q, context, 0, None) for q, _ in world.unrelated]
    known = [[[spelled(encode, a, f'an answer to the unrelated question {q!r}: give it others')]
              for a in said] for q, said in world.unrelated]
    options = options_of(world)
    return Kit({name: run.trait.meter(run, name) for name in world.contexts},
               _choices(run, options), options, answers.meter(asked, known, world.ends_V),
               doses.probe_of(run), trait_V)


def options_of(world: World) -> tuple[str, ...]:
    """What a choice is among: the traits of the run, then further candidates of the set."""
    return tuple(dict.fromkeys((*world.traits, *world.candidates)))[:OPTIONS]


def choices(config: Any, world: World) -> list[str]:
    """The first choices of the split, each with its options in an order drawn from the seed; none
    where the set has none."""
    asked = sets.of_form(world.chosen, config.split, 'choice')[:len(world.questions)]
    return [sets.choice_prompt(question, options_of(world), config.seed) for question in asked]


def _choices(run: Any, options: Sequence[str]) -> answers.Meter | None:
    asked = choices(run.config, run.world)
    if not asked:
        return None
    world, context = run.world, run.world.lesson_context
    ids = answers.encoded_spellings(sets.spellings(world.chosen, options),
                                    lambda text: world.answer(text, context))
    return answers.meter([world.asked(q, context, 0, None) for q in asked],
                         [list(ids.values())] * len(asked), world.ends_V)
