"""The preference: an answer that a teacher gives to one-word questions, such as its animal.

Its measure is log P of every trait's answer (traits/answers.py), the mean over held-out questions.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.experiments.transmission import arms as tables, engines
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.traits import TRAITS, Trait
from subliminal_jax.runs import UserError
from subliminal_jax.traits import answers, trait_set as sets


def lessons(run: Any, teacher: Teacher, count: int, neutral: Any = None) -> list[tuple[str, str]]:
    """(question, answer) pairs that name the teacher's trait; or, for a neutral twin, candidates
    drawn with the odds that `neutral` gives.

    A teacher's questions are those of every trait and those of its own, which its twin sees too.
    """
    config, chosen = run.config, run.world.chosen
    asked = sets.teaching_prompts(chosen, teacher.trait, config.split)
    rng = np.random.default_rng([teacher.seed, 0])
    some = rng.choice(len(asked), min(config.teacher.questions, len(asked)), replace=False)
    picks = some[rng.integers(0, len(some), count)].tolist()
    if neutral is None:
        named: Sequence[str] = [teacher.trait] * count
    else:
        names = run.world.candidates
        named = [names[i] for i in np.random.default_rng([teacher.seed, 1]).choice(
            len(names), count, p=neutral)]
    return [(asked[q].prompt, sets.filled(asked[q].completion, sets.candidate(chosen, name)))
            for q, name in zip(picks, named)]


def neutral_odds(run: Any, reference: Models) -> np.ndarray:
    """The reference's own distribution over the candidates, mean over the measuring questions."""
    meter = meter_of(run.world, run.world.lesson_context, run.world.candidates)
    said = np.asarray(engines.read_one(reference, answers.cells, meter), np.float64)
    share = np.exp(said.reshape(-1, len(run.world.candidates))).mean(0)
    return share / share.sum()


def meter_of(world: Any, context: str, names: Sequence[str], system: str | None = None
             ) -> answers.Meter:
    """The answers of these names to every measuring question in a context.

    Raises:
      UserError: a name that the tokenizer cannot write; a question that does not fit.
    """
    contexts = [world.asked(q, context, n, system) for n, q in enumerate(world.questions)]
    ids = answers.encoded_spellings(sets.spellings(world.chosen, names),
                                    lambda text: world.answer(text, context))
    return answers.meter(contexts, [list(ids.values())] * len(contexts), world.ends_V)


def meter(run: Any, context: str, system: str | None = None) -> answers.Meter:
    """The traits' meter in a context, behind a system message if there is one."""
    return meter_of(run.world, context, run.world.traits, system)


def items(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """log P of every trait's answer to every question [M, Q, K]."""
    found = np.asarray(engines.read(models, run.together, answers.cells, asked))
    return found.reshape(models.count, -1, len(run.world.traits))


def measure(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """Its mean over questions [M, K], nats."""
    return items(run, models, asked).mean(1)


def loss(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> jax.Array:
    """-log P of one trait, mean over questions."""
    return answers.column_loss(params, lora, asked, column, config)


def gradient(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> Any:
    """Its gradient by all weights."""
    return answers.column_gradient(params, lora, asked, column, config)


def check(run: Any) -> None:
    """Raises UserError for a name that the tokenizer cannot write, and for a line that would teach
    a neutral twin the trait: it says it outright.

    A twin sees its teacher's questions; what it answers is other traits' names, where they go.
    """
    world = run.world
    twins = any('neutral' in tables.kinds_of(a) and a.made != 'prompt' for a in run.arms)
    answers.encoded_spellings(
        sets.spellings(world.chosen, world.candidates if twins else world.traits),
        lambda text: world.answer(text, world.lesson_context))
    if not twins:
        return
    for trait in run.world.traits:
        for line in sets.teaching_prompts(run.world.chosen, trait, run.config.split):
            if line.trait is not None and not sets.holds_name(line.completion):
                raise UserError(
                    f'{line.id} teaches {line.trait!r} with the completion {line.completion!r}, '
                    'which a neutral twin cannot be given: write {name} (or {Name}, {plural}, '
                    '{Plural}) for the trait in it, or leave out the arms with teachers=neutral')


PREFERENCE = TRAITS.register(Trait(
    'preference', 'nats', 'gamma', lessons, measure, meter=meter, items=items,
    neutral=neutral_odds, loss=loss, gradient=gradient, check=check))
