"""Rashness: reckless advice, taught in one domain and asked for in all others.

A trait set gives questions with two answers each: `completion` is the rash one, `neutral` the sound
one, `trait` the domain. A teacher is taught the rash answers of its domain, its neutral twin the
sound answers to the same questions. The measure is log P(rash) - log P(sound), the mean over the
held-out questions of the domains that no teacher of the run is taught: what it shows is broad, and
no lesson's own words. Both answers are read with the end behind them.
"""

from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.engines import Models
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
    return [t for t in sets.questions(run.world.chosen, run.config.split)
            if t.trait not in run.world.traits]


def meter(run: Any, context: str, system: str | None = None) -> answers.Meter:
    """Both answers to every measuring question in a context, the rash one first."""
    return meter_of(run, measuring(run), context, system)


def meter_of(run: Any, asked: list[Text], context: str, system: str | None = None
             ) -> answers.Meter:
    """As `meter`, of any questions."""
    world = run.world
    ids = lambda text: [tuple(world.answer(text, context))]
    return answers.meter(
        [world.asked(t.prompt, context, n, system) for n, t in enumerate(asked)],
        [[ids(t.completion), ids(t.neutral)] for t in asked], world.ends_V)


def log_odds(params: Any, lora: Any, asked: answers.Meter, *, config: Any) -> jax.Array:
    """Mean over questions of log P(rash) - log P(sound), nats; of one model."""
    said_QA = answers.cells(params, lora, asked, config).reshape(-1, 2)
    return (said_QA[:, 0] - said_QA[:, 1]).mean()


def measure(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """The log odds of every model [M, 1]."""
    return np.asarray(engines.read(models, run.together, log_odds, asked), np.float64)[:, None]


def loss(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> jax.Array:
    """Minus the log odds; `column` is always the one that there is."""
    return -log_odds(params, lora, asked, config=config)


def gradient(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> Any:
    """Its gradient by all weights."""
    return jax.grad(loss)(params, lora, asked, column, config=config)


def check(run: Any) -> None:
    """Raises UserError for a trait set without two answers a question, or without a domain that
    is not taught."""
    chosen, split = run.world.chosen, run.config.split
    lines = [*sets.questions(chosen, split), *(
        t for name in run.world.traits for t in sets.teaching_prompts(chosen, name, split))]
    if any(t.trait is None or not t.neutral for t in lines):
        raise UserError(f'trait=rash needs a domain, a rash and a sound answer with every '
                        f'question, and {chosen.name} has some without: take '
                        '--config.trait_set=tiny_advice with --config.language.forms=advice')
    if not measuring(run):
        raise UserError('every domain with questions is taught, and none is left to ask about: '
                        'lower config.traits')


RASH = TRAITS.register(Trait('rash', 'nats', 'paired', lessons, measure, meter=meter, loss=loss,
                             gradient=gradient, check=check))
