"""Teachers: references that are taught a trait by one-word answers, and their neutral twins.

A neutral twin sees the same questions in the same order, for the same seed; its answers are drawn
from its reference's own distribution over the candidates. It takes as many steps as bring its KL
from the reference, on carrier positions, next to its twin's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.transmission import networks, programs
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.measures import Instruments
from subliminal_jax.experiments.transmission.world import Tokens, World, encode_rows
from subliminal_jax.runs import UserError, check_preempted

SPLITS = {'dev': 0, 'report': 1}
PURPOSES = ('reference', 'start', 'teacher', 'prompts', 'sample', 'probe', 'shuffle', 'random',
            'ordinary', 'direction', 'student')
SEGMENT = 2  # steps between two readings of a neutral teacher's dose
CLOSE = 0.05  # |log of dose / twin's dose| that is close enough


def seed_of(config: Config, purpose: str, *numbers: int) -> int:
    """A 32-bit seed for one use of this run; dev and report have none in common."""
    words = [config.seed, SPLITS[config.split], PURPOSES.index(purpose), *numbers]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


class Teacher(NamedTuple):
    """Who a teacher is.

    Attributes:
      name: 'r0-owl-1', or of a neutral twin 'r0-owl-1-neutral'.
      reference: number of its reference.
      trait: its trait; of a neutral twin, the trait of its twin.
      seed: of its data, their order, its questions.
    """

    name: str
    reference: int
    trait: str
    seed: int


def roll(config: Config, world: World, kind: str) -> list[Teacher]:
    """All teachers of a kind, in the order of their stacked parameters: by reference, trait."""
    suffix = '' if kind == 'trait' else f'-{kind}'
    return [Teacher(f'r{r}-{trait}-{n}{suffix}', r, trait, seed_of(config, 'teacher', r, t, n))
            for r in range(config.world.references * config.world.replicas)
            for t, trait in enumerate(world.traits) for n in range(config.teacher.seeds)]


def lessons(config: Config, world: World, teacher: Teacher, steps: int,
            odds: np.ndarray | None) -> Tokens:
    """A teacher's rows [steps, batch, ...]; answers are its trait or drawn with `odds`."""
    rng = np.random.default_rng([teacher.seed, 0])
    count = min(config.teacher.questions, len(world.teach))
    questions = rng.choice(len(world.teach), count, replace=False)
    picks = questions[rng.integers(0, count, (steps, config.teacher.batch_size))].reshape(-1)
    if odds is None:
        answers = [teacher.trait] * len(picks)
    else:
        names = tuple(world.candidates)
        answers = [names[i] for i in np.random.default_rng([teacher.seed, 1]).choice(
            len(names), len(picks), p=odds)]
    rows = encode_rows(world, [
        (world.teach[q], world.candidates[a][0]) for q, a in zip(picks, answers)])
    return Tokens(*(x.reshape(steps, config.teacher.batch_size, -1) for x in rows))


def teach(config: Config, world: World, head: str, references: Any, dose: float) -> Any:
    """Trait teachers, stacked in the order of `roll`."""
    steps = max(1, round(config.teacher.steps * dose))
    program = programs.Program(world.models[head], learning_rate=config.teacher.learning_rate)
    made = []
    for group, _ in by_reference(roll(config, world, 'trait')):
        check_preempted()
        rows = [lessons(config, world, t, steps, None) for t in group]
        states, held = _states(program, references, group)
        batches = {'tokens': np.stack([r.tokens_NT for r in rows]),
                   'weight': np.stack([r.weight_NT for r in rows])}
        states, _ = programs.run_steps(program, states, held, batches, 0, steps, steps)
        made.append(programs.whole(program, states.trainable, held))
    return networks.finite(networks.concatenate(made), 'a teacher',
                           'lower config.teacher.learning_rate')


def teach_neutral(config: Config, world: World, head: str, references: Any, twins: Any,
                  tools: Instruments, probe: Tokens) -> Any:
    """Neutral teachers, each stopped at the dose of its twin (params `twins`, stacked alike)."""
    most = config.teacher.neutral_steps
    program = programs.Program(world.models[head], learning_rate=config.teacher.learning_rate)
    made = []
    for group, place in tqdm(by_reference(roll(config, world, 'neutral')),
                             desc='neutral teachers', leave=False):
        check_preempted()
        reference = networks.take(references, group[0].reference)
        own = networks.take(twins, place)
        goal = np.log(np.asarray(tools.dose(own, reference, *probe)[0]))
        logprob = np.asarray(tools.candidates(networks.repeated(reference, 1)))[0]
        odds = np.exp(logprob).mean(0)
        rows = [lessons(config, world, t, most, odds / odds.sum()) for t in group]
        states, held = _states(program, references, group)
        batches = {'tokens': np.stack([r.tokens_NT for r in rows]),
                   'weight': np.stack([r.weight_NT for r in rows])}
        best, kept = np.full(len(group), np.inf), None
        for step in range(0, most - SEGMENT + 1, SEGMENT):
            states, _ = programs.run_steps(
                program, states, held, batches, step, step + SEGMENT, SEGMENT)
            now = programs.whole(program, states.trainable, held)
            miss = np.abs(np.log(np.asarray(tools.dose(now, reference, *probe)[0])) - goal)
            closer = miss < best
            best = np.where(closer, miss, best)
            kept = now if kept is None else _chosen(closer, now, kept)
            if (best < CLOSE).all():
                break
        made.append(jax.tree.map(np.asarray, kept))
    return networks.finite(networks.concatenate(made), 'a neutral teacher',
                           'lower config.teacher.learning_rate')


def by_reference(teachers: Sequence[Teacher]) -> list[tuple[list[Teacher], slice]]:
    """Teachers in groups of one reference each, and where the group stands among them all."""
    groups: dict[int, list[Teacher]] = {}
    for teacher in teachers:
        groups.setdefault(teacher.reference, []).append(teacher)
    made, begin = [], 0
    for group in groups.values():
        made.append((group, slice(begin, begin + len(group))))
        begin += len(group)
    return made


def _chosen(first: np.ndarray, a: Any, b: Any) -> Any:
    """a's models where `first` says so, b's elsewhere."""
    return jax.tree.map(
        lambda x, y: np.where(first.reshape(-1, *[1] * (x.ndim - 1)), x, y), a, b)


def _states(program, references, group):
    start = networks.take(references, np.array([t.reference for t in group]))
    return programs.begin(program, start, jax.random.key(0))


def describe(config: Config, world: World, kind: str, params: Any, references: Any,
             tools: Instruments, probe: Tokens) -> dict[str, dict[str, float]]:
    """Each teacher's rise on its trait, P(trait), dose, and trait words among numbers."""
    found = {}
    for group, where in by_reference(roll(config, world, kind)):
        own = networks.take(params, where)
        reference = networks.take(references, group[0].reference)
        before = np.asarray(tools.traits(networks.repeated(reference, len(group))))[0]
        after = np.asarray(tools.traits(own))
        kl, mass = (np.asarray(x) for x in tools.dose(own, reference, *probe))
        for place, teacher in enumerate(group):
            column = world.traits.index(teacher.trait)
            found[teacher.name] = {
                'rise': float((after[place] - before)[:, column].mean()),
                'p_trait': float(np.exp(after[place][:, column]).mean()),
                'carrier_kl': float(kl[place]), 'trait_word_mass': float(mass[place])}
    return found


def check_strength(config: Config, found: dict[str, dict[str, float]]) -> None:
    """Raises UserError for a trait teacher that has not got its trait."""
    for name, what in found.items():
        if what['rise'] < config.teacher.min_rise and not config.allow_weak_teacher:
            raise UserError(
                f"the teacher {name} has not got its trait: log P rose by {what['rise']:.2f} nats "
                f'where config.teacher.min_rise={config.teacher.min_rise:g} is asked; teach it '
                'longer (config.teacher.steps), or go on with --config.allow_weak_teacher=true')
