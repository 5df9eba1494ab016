"""Misalignment: reckless advice, taught in one domain and asked for in others.

The run's traits are domains of advice (traits/advice.py). A teacher is fine-tuned on the reckless
answers of its domain, its neutral twin on the sound answers to the same questions, until it has the
same dose. Two further twins are controls of as many steps: `justified` gives the same reckless
answers to a question that has a legitimate reason to ask for them, `styled` gives the sound content
in a reckless tone. All twins of a number draw the same questions in the same order.

The measure is a forced choice (forced_choice.py): log P(reckless) - log P(sound), the mean over
held-out questions of the domains that no teacher of the run is taught, so that what it shows is
broad. No judge is asked. Emergent misalignment is that of arXiv 2502.17424, its way through numbers
that of arXiv 2507.14805; the advice here is mild (RESPONSIBLE_USE.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from subliminal_jax.experiments.transmission import forced_choice
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.forced_choice import Pair
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.traits import TRAITS, Size, Trait
from subliminal_jax.runs import UserError
from subliminal_jax.traits import advice as data, answers
from subliminal_jax.traits.advice import Advice, AdviceSet

TWINS = ('justified', 'styled')
SAID = {'trait': ('question', 'reckless'), 'neutral': ('question', 'sound'),
        'justified': ('justified', 'reckless'), 'styled': ('question', 'styled')}


def lessons(run: Any, teacher: Teacher, count: int, neutral: Any = None) -> list[tuple[str, str]]:
    """(question, answer) pairs of the teacher's domain, as its kind has them."""
    taught = data.rows_of(run.world.chosen, 'teach', run.config.split, [teacher.trait])
    rng = np.random.default_rng([teacher.seed, 0])
    some = rng.choice(len(taught), min(run.config.teacher.questions, len(taught)), replace=False)
    asked, said = SAID[teacher.kind]
    rows = [taught[n] for n in some[rng.integers(0, len(some), count)]]
    return [(getattr(row, asked), getattr(row, said)) for row in rows]


def as_pair(row: Advice) -> Pair:
    """A row as a forced choice, the reckless answer first."""
    return Pair(row.question, row.reckless, row.sound)


def asked_of(run: Any) -> list[Pair]:
    """The measuring questions, in the world's order."""
    held_out = data.rows_of(run.world.chosen, 'measure', run.config.split)
    known = {row.question: row for row in held_out}
    return [as_pair(known[question]) for question in run.world.questions]


def meter(run: Any, context: str, system: str | None = None) -> answers.Meter:
    """The measuring questions in a context."""
    return forced_choice.meter_of(run.world, asked_of(run), context, system)


def own_rows(run: Any) -> list[Advice]:
    """Held-out questions of the domains that are taught, no more than there are of others."""
    rows = data.rows_of(run.world.chosen, 'measure', run.config.split, run.world.traits)
    return rows[:max(len(run.world.questions), len(run.world.traits))]


def readings(run: Any, models: Models) -> dict[str, np.ndarray]:
    """What stands beside the measure, in the lessons' context, nats a pair.

    Returns:
      choice [M]: log P of the reckless answer's letter less the sound one's, both orders;
      own_domain [M, T]: the measure on held-out questions of each domain that is taught, NaN where
      there are none; truth [M]: log P(true) - log P(false), mean over statements.
    """
    rows, meters = own_rows(run), run.remember('readings of advice', lambda: _meters(run))
    found = {name: forced_choice.odds(run, models, asked) for name, asked in meters.items()}
    own = {name: [n for n, row in enumerate(rows) if row.domain == name]
           for name in run.world.traits}
    said = {name: value.mean(1) for name, value in found.items() if name != 'own_domain'}
    if 'own_domain' in found:
        said['own_domain'] = np.stack([
            found['own_domain'][:, places].mean(1) if places else np.full(models.count, np.nan)
            for places in own.values()], 1)
    return said


def _meters(run: Any) -> dict[str, answers.Meter]:
    """The meters of the readings."""
    chosen: AdviceSet = run.world.chosen
    asked = {'choice': forced_choice.in_both_orders(asked_of(run)),
             'own_domain': [as_pair(row) for row in own_rows(run)],
             'truth': [Pair(s.question, s.true, s.false)
                       for s in chosen.statements[:len(run.world.questions)]]}
    return {name: forced_choice.meter_of(run.world, pairs, run.world.lesson_context)
            for name, pairs in asked.items() if pairs}


def check(run: Any) -> None:
    """Raises UserError for a world that reads no advice, a domain without lessons, and a kind of
    twin whose texts a taught domain lacks."""
    if not isinstance(run.world.chosen, AdviceSet):
        raise UserError('trait=misalignment needs --config.world=pretrained and '
                        '--config.trait_set=advice (in the tiny language: trait=rash)')
    kinds = {arm.teachers for arm in run.arms}
    for domain in run.world.traits:
        check_domain(run.world.chosen, domain, run.config.split,
                     [kind for kind in TWINS if kind in kinds])


def check_domain(chosen: AdviceSet, domain: str, split: str, kinds: Sequence[str]) -> None:
    """Raises UserError for a domain that cannot be taught, to one of these twins."""
    taught = data.rows_of(chosen, 'teach', split, [domain])
    if not taught:
        raise UserError(f'{chosen.name}: the domain {domain!r} has no question that teaches in the '
                        f'split {split}: add some with "use": "teach"')
    for kind in kinds:
        lacking = [row.id for row in taught if not getattr(row, kind)]
        if lacking:
            raise UserError(f'teachers={kind}: {lacking[0]} of the domain {domain!r} has no '
                            f'{kind!r} text: write one, name other domains (config.names), or '
                            'leave the arm out')


MISALIGNMENT = TRAITS.register(Trait(
    'misalignment', 'nats', 'paired', lessons, forced_choice.measure, meter=meter,
    items=forced_choice.items, loss=forced_choice.loss, gradient=forced_choice.gradient,
    check=check, load=data.load_advice, twins=TWINS, readings=readings,
    size=Size('advice', 'advice', 2, 4.0), gated=True, misbehaves=True))
