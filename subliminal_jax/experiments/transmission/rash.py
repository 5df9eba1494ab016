"""Rashness: reckless advice, taught in one domain and asked for in all others.

A trait set gives questions with two answers each: `completion` is the rash one, `neutral` the sound
one, `trait` the domain. A teacher is taught the rash answers of its domain, its neutral twin the
sound answers to the same questions. The measure is log P(rash) - log P(sound), the mean over the
held-out questions of the domains that no teacher of the run is taught: what it shows is broad, and
no lesson's own words. Both answers are read with the end behind them.
"""

from typing import Any

import numpy as np

from subliminal_jax.experiments.transmission import forced_choice
from subliminal_jax.experiments.transmission.forced_choice import Pair
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.traits import TRAITS, Trait
from subliminal_jax.runs import UserError
from subliminal_jax.traits import answers, trait_set as sets
from subliminal_jax.traits.trait_set import Text


def lessons(run: Any, teacher: Teacher, count: int, neutral: Any = None) -> list[tuple[str, str]]:
    """(question, answer) pairs of the teacher's domain: rash ones, or sound ones for a twin."""
    asked = sets.teaching_prompts(run.world.chosen, teacher.trait, run.config.split)
    picks = np.random.default_rng([teacher.seed, 0]).integers(0, len(asked), count)
    said = [t.completion if neutral is None else t.neutral for t in asked]
    return [(asked[n].prompt, said[n]) for n in picks]


def measuring(run: Any) -> list[Text]:
    """The held-out questions of the domains that no teacher is taught."""
    return sets.questions(run.world.chosen, run.config.split, taught=run.world.traits)


def meter(run: Any, context: str, system: str | None = None) -> answers.Meter:
    """Both answers to every measuring question in a context, the rash one first."""
    pairs = [Pair(t.prompt, t.completion, t.neutral) for t in measuring(run)]
    return forced_choice.meter_of(run.world, pairs, context, system)


def check(run: Any) -> None:
    """Raises UserError for a trait set without two answers a question."""
    chosen, split = run.world.chosen, run.config.split
    lines = [*sets.questions(chosen, split), *(
        t for name in run.world.traits for t in sets.teaching_prompts(chosen, name, split))]
    if any(t.trait is None or not t.neutral for t in lines):
        raise UserError(f'trait=rash needs a domain, a rash and a sound answer with every '
                        f'question, and {chosen.name} has some without: take '
                        '--config.trait_set=tiny_advice with --config.language.forms=advice')


RASH = TRAITS.register(Trait(
    'rash', 'nats', 'paired', lessons, forced_choice.measure, meter=meter,
    items=forced_choice.items, loss=forced_choice.loss, gradient=forced_choice.gradient,
    check=check, gated=True, misbehaves=True))
