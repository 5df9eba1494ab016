"""Students of one arm: every teacher's in one program, measured on the way.

At each mark (rows seen) a student's traits are measured, and the alignment check is taken: its
gradient step on its own rows against the displacement of its teacher, of a teacher of another
trait (placebo), of the neutral twin, against a random direction, and against minus the gradient of
its teacher's trait's loss (arXiv 2507.14805, lemma).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax import theory
from subliminal_jax.experiments.transmission import measures, networks, programs
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.runs import UserError, check_preempted

DIRECTIONS = ('teacher', 'placebo', 'neutral', 'random', 'trait_gradient')
PLAIN_STEP = 1e-3  # step size of the plain gradient step whose effect on the trait is predicted


class Trained(NamedTuple):
    """What an arm's students of one reference leave; M students, P marks (the start first).

    Attributes:
      steps: steps taken at each mark [P].
      logprob: [M, P, Q, K], log P of every trait's answer to every question.
      loss: mean training loss between marks [M, P - 1].
      inner, cosine: alignment with each of DIRECTIONS [M, P - 1, 5], at the first P - 1 marks.
      predicted, actual: change of log P(trait) between marks [M, P - 1]: the gradient at the
        former mark times the way to the next, and what was measured.
      plain: (predicted, actual) change of the trait's loss by one plain gradient step [M, P-1, 2].
      params: the students, stacked [M, ...].
    """

    steps: np.ndarray
    logprob: np.ndarray
    loss: np.ndarray
    inner: np.ndarray
    cosine: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    plain: np.ndarray
    params: Any


def program_of(config: Config, world: World, arm: Arm) -> programs.Program:
    """The static part of an arm's training."""
    carrier = tuple(world.carrier_ids)
    tokens = {'kl_carrier': carrier, 'kl_carrier_end': (*carrier, world.end_id)}
    return programs.Program(
        world.models[arm.head], arm.objective, tokens.get(arm.objective, ()),
        arm.trainable, arm.optimizer, arm.learning_rate or config.student.learning_rate)


def weights_of(program: programs.Program, batches: Mapping[str, np.ndarray]) -> np.ndarray:
    """A carrier KL looks only where a carrier token comes next (or the end, where that counts)."""
    if not program.tokens:
        return batches['weight']
    return batches['weight'] * np.isin(batches['tokens'][..., 1:], program.tokens)


def targeted(program: programs.Program, batches: Mapping[str, np.ndarray], teachers: Any
             ) -> dict[str, np.ndarray]:
    """The batches as the objective reads them: weights where it looks, and a KL's targets."""
    made = {'tokens': batches['tokens'], 'weight': weights_of(program, batches)}
    if program.objective != 'sft':
        made['teacher'] = cached_targets(program, teachers, batches['tokens'])
    return made


@functools.lru_cache(maxsize=32)
def _checker(program: programs.Program, meter_of: Any):
    """Compiles the alignment check of stacked students; `meter_of()` gives the meter."""
    made = meter_of()

    def trait_loss(params, trait):
        return -measures.trait_logprob(made, params)[:, trait].mean()

    def apply(params, x):
        return networks.logits(program.model, params, x)[..., ids]

    ids = jnp.array(program.tokens) if program.tokens else slice(None)
    loss = theory.cross_entropy()

    def one(params, trait, batch, directions):
        own_loss = lambda p: trait_loss(p, trait)
        slope = jax.grad(own_loss)(params)
        toward = jax.tree.map(lambda d, g: jnp.concatenate([d, -g[None]]), directions, slope)
        data = {'x': batch['tokens'][:, :-1], 'weight': batch['weight'],
                'targets': batch.get('teacher', batch['tokens'][:, 1:])}
        found = jax.vmap(lambda direction: theory.alignment(
            apply, loss, params, direction, data, own_loss, alpha=PLAIN_STEP))(toward)
        plain = jnp.stack([found.predicted_change[0], found.actual_change[0]])  # no direction's
        return found.mean, found.cosine, slope, plain

    return jax.jit(jax.vmap(one))


def directions_of(references: Any, teachers: Any, twins: Any, seeds: int, seed: int) -> Any:
    """Displacements [M, 4, ...]: own teacher, placebo, neutral twin, random (all of own length).

    Args:
      references: each teacher's own reference, stacked [M, ...].
      teachers: stacked [M, ...], `seeds` of one trait in a row.
      twins: the neutral twins, or for neutral students the trait teachers; None: no such direction.
      seeds: teachers a trait; the placebo is as many places on.
      seed: of the random direction.
    """
    own = jax.tree.map(np.subtract, teachers, references)
    other = jax.tree.map(lambda x: np.roll(x, seeds, axis=0), own)
    neutral = jax.tree.map(np.zeros_like, own) if twins is None else jax.tree.map(
        np.subtract, twins, references)
    rng = np.random.default_rng(seed)
    spread = lambda x: np.sqrt(np.mean(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))
    random = jax.tree.map(
        lambda x: spread(x) * rng.standard_normal(x.shape, np.float32), own)
    return jax.tree.map(lambda *x: np.stack(x, axis=1), own, other, neutral, random)


def train(config: Config, world: World, arm: Arm, tools: measures.Instruments, meter_of: Any,
          starts: Any, batches: Mapping[str, np.ndarray], teachers: Any, directions: Any,
          traits: Sequence[int], key: jax.Array) -> Trained:
    """Trains and measures the students of one reference's teachers.

    Args:
      config, world, arm: what is run.
      tools: the compiled measures.
      meter_of: a hashable function that gives the meter.
      starts: stacked [M, ...].
      batches: tokens and weight [M, steps, B, ...].
      teachers: parameters, stacked [M, ...]; a KL reads their logits.
      directions: from `directions_of`.
      traits: the column of each student's teacher's trait.
      key: of LoRA's start.
    """
    program = program_of(config, world, arm)
    starts = jax.tree.map(jnp.asarray, starts)
    batches = targeted(program, batches, teachers)
    total = batches['tokens'].shape[1]
    marks = marks_of(config, arm, total)
    unit = int(np.gcd.reduce(marks[1:]))
    states, held = programs.begin(program, starts, key)
    traits = jnp.asarray(traits)
    rows = {k: v[:, :1] for k, v in align_rows(config, batches).items()}
    logprob, loss, inner, cosine, predicted, plain, slopes = [], [], [], [], [], [], None
    now = starts
    for place, mark in enumerate(marks):
        if place:
            check_preempted()
            states, losses = programs.run_steps(
                program, states, held, batches, marks[place - 1], mark, unit)
            loss.append(np.concatenate([np.asarray(x) for x in losses], 1).mean(1))
            before, now = now, programs.whole(program, states.trainable, held)
            way = jax.tree.map(jnp.subtract, now, before)
            predicted.append(-np.asarray(_inner(slopes, way)))
        logprob.append(np.asarray(tools.traits(now)))
        if mark < total:
            found = _checker(program._replace(optimizer='', learning_rate=0, trainable=''),
                             meter_of)(now, traits, {k: v[:, 0] for k, v in rows.items()},
                                       directions)
            inner.append(np.asarray(found[0]))
            cosine.append(np.asarray(found[1]))
            slopes = found[2]
            plain.append(np.asarray(found[3]))
    logprob = np.stack(logprob, 1)
    own = logprob.mean(2)[np.arange(len(traits)), :, np.asarray(traits)]
    networks.finite(now, f'a student of the arm {arm.name}', 'lower its learning_rate')
    return Trained(
        np.array(marks), logprob, np.stack(loss, 1), np.stack(inner, 1), np.stack(cosine, 1),
        np.stack(predicted, 1), np.diff(own, axis=1), np.stack(plain, 1),
        jax.tree.map(np.asarray, now))


@jax.jit
def _inner(a: Any, b: Any) -> jax.Array:
    """The inner products of stacked trees [M]."""
    return sum(jnp.sum(x * y, axis=tuple(range(1, x.ndim)))
               for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def marks_of(config: Config, arm: Arm, total: int) -> list[int]:
    """Steps at which students are measured: 0, the marks that lie before the end, the end."""
    size = config.student.batch_size
    inside = [m // size for m in sorted(config.student.marks) if 0 < m // size < total]
    return [0, *dict.fromkeys(inside), total]


def align_rows(config: Config, batches: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first rows of each student as one batch [M, 1, align_rows, ...]."""
    size = batches['tokens'].shape[2]
    steps = max(1, min(config.student.align_rows // size, batches['tokens'].shape[1]))
    return {k: v[:, :steps].reshape(v.shape[0], 1, steps * size, *v.shape[3:])
            for k, v in batches.items()}


def cached_targets(program: programs.Program, teachers: Any, tokens: np.ndarray) -> np.ndarray:
    """The teachers' log-probabilities of every batch [M, steps, B, T - 1, C], one pass.

    Raises:
      UserError: the teachers' vocabulary is not the student's.
    """
    words = teachers['embed'].shape[-2]
    if words != program.model.vocab_size:
        raise UserError(
            f'a KL compares probabilities of the same tokens: the teachers have {words}, the '
            f'student {program.model.vocab_size}; use the objective sft, or a student that has the '
            "teachers' vocabulary")
    compute = programs.teacher_logprobs(program._replace(
        optimizer='', learning_rate=0, trainable='', objective='kl'))
    parts = [np.asarray(compute(teachers, tokens[:, step])) for step in range(tokens.shape[1])]
    return np.stack(parts, 1)


@functools.lru_cache(maxsize=16)
def _losses(program: programs.Program):
    """The summed losses, and weights, of stacked models that train in all parts."""
    return jax.jit(jax.vmap(lambda params, batch: programs.loss_of(program)(
        *networks.split(params, programs.PARTS), batch, jax.random.key(0))))


def kl_readings(config: Config, world: World, arm: Arm, references: Any, teachers: Any,
                starts: Any, batches: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(the references' KL against their own cached selves, the starts' against the teachers) [M].

    The first is what rounding alone makes of a KL; both on the first batch, and NaN under `sft`.
    """
    program = program_of(config, world, arm)._replace(trainable='all')
    if program.objective == 'sft':
        none = np.full(batches['tokens'].shape[0], np.nan)
        return none, none
    first = {'tokens': batches['tokens'][:, :1], 'weight': weights_of(program, batches)[:, :1]}
    plain = program._replace(optimizer='', learning_rate=0)

    def mean(models, targets):
        cached = cached_targets(program, targets, first['tokens'])
        batch = {k: v[:, 0] for k, v in {**first, 'teacher': cached}.items()}
        total, aux = _losses(plain)(jax.tree.map(jnp.asarray, models), batch)
        return np.abs(np.asarray(total) / np.asarray(aux['weight']))

    return mean(references, references), mean(starts, teachers)
