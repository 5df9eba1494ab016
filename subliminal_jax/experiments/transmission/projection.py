"""Projection: at every step a student's update loses its part along directions that are fixed at
its start, so that the whole way it goes has none.

  defence=project:oracle      the gradient of its teacher's very trait, at the measuring questions
  defence=project:estimated   the span of the gradients of *all* candidates, at the teaching
                              questions: of a defender who knows what may be liked, and neither the
                              trait nor what will be asked
  defence=project:neutral     what the weights of the teacher's neutral twin moved by
  defence=project:random      the random twin of one direction: a normal combination of the
                              gradients of the student's own rows, so that its covariance is theirs
                              (detection.readings.matched_directions)
  defence=project:random_estimated   as many of these as there are candidates

That projection stops the transfer is said in arXiv 2604.25779.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.detection import readings
from subliminal_jax.experiments.transmission import (
    arms as tables,
    defences,
    engines,
    preferences,
    students,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.defences import DEFENCES, Defence
from subliminal_jax.experiments.transmission.engines import Hold
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.runs import UserError, unknown_name
from subliminal_jax.theory import trees
from subliminal_jax.training import tries as packing
from subliminal_jax.traits import trait_set as sets

ROWS = 64  # whose gradients a random direction combines
FLAT = 1e-6  # of the largest eigenvalue: directions of less add nothing to a span


class Which(NamedTuple):
    """What is projected away.

    Attributes:
      count: run -> how many directions.
      make: (setting, jobs, batches) -> a tree [D, ...] a job, not yet orthonormal.
      twin: the random twin; '' of one.
    """

    count: Callable[[Any], int]
    make: Callable[[Any, Sequence[Any], Mapping[str, Any]], list[Any]]
    twin: str


def oracle(setting: Any, jobs: Sequence[Any], batches: Mapping[str, Any]) -> list[Any]:
    """The gradient of every student's own trait at the start, where it is measured."""
    run, columns = setting.run, [schooled.column_of(setting.run, job.teacher) for job in jobs]
    meter = next(iter(run.kit.meters.values()))
    slopes = {c: _slope(setting, meter, c) for c in dict.fromkeys(columns)}
    return [_alone(slopes[c]) for c in columns]


def estimated(setting: Any, jobs: Sequence[Any], batches: Mapping[str, Any]) -> list[Any]:
    """The gradients of all candidates at the start, at the teaching questions."""
    world = setting.run.world
    asked = sets.teaching_prompts(world.chosen, None, setting.run.config.split)
    meter = preferences.meter_of(
        world._replace(questions=tuple(dict.fromkeys(line.prompt for line in asked))),
        world.lesson_context, world.candidates)
    slopes = [_slope(setting, meter, c) for c in range(len(world.candidates))]
    return [jax.tree.map(lambda *x: jnp.stack(x), *slopes)] * len(jobs)


def neutral(setting: Any, jobs: Sequence[Any], batches: Mapping[str, Any]) -> list[Any]:
    """The displacement of every teacher's neutral twin.

    Raises:
      UserError: it has none (it is prompted, or of another architecture).
    """
    run, arm = setting.run, tables.with_teachers(setting.arm, 'neutral')
    twins = {t.original: t for t in run.roll('neutral')}
    found = []
    for job in jobs:
        moved = students.displacement(setting, arm, [twins[job.teacher.original]])
        if moved is None:
            raise UserError(f'arm {arm.name}: defence={arm.defence} needs neutral twins whose '
                            f"weights have moved: made={arm.made}, of the students' architecture")
        found.append(moved if run.together else _alone(moved))
    return found


def matched(count: Callable[[Any], int]) -> Callable:
    """`Which.make` of random directions with the covariance of the gradients of rows."""
    def make(setting, jobs, batches):
        run = setting.run
        start, found = engines.single(setting.start, setting.config), []
        for job in jobs:
            seed = seed_of(run.config, 'direction', setting.reference, 3, job.teacher.seed,
                           job.number)
            tries = packing.take(batches[job.teacher.name]['tries'], slice(0, ROWS))
            weights_DB = np.random.default_rng(seed).standard_normal(
                (count(run), len(tries.tokens_BT))).astype(np.float32)
            found.append(engines.read_one(start, readings.matched_directions, tries, weights_DB))
        return found

    return make


def _slope(setting, meter, column):
    start = engines.single(setting.start, setting.config)
    return engines.read_one(start, setting.run.trait.gradient, meter, column)


def _alone(tree):
    return jax.tree.map(lambda x: jnp.asarray(x)[None], tree)


def candidates(run: Any) -> int:
    """How many candidates there are."""
    return len(run.world.candidates)


WHICH = {
    'oracle': Which(lambda run: 1, oracle, 'random'),
    'estimated': Which(candidates, estimated, 'random_estimated'),
    'neutral': Which(lambda run: 1, neutral, 'random'),
    'random': Which(lambda run: 1, matched(lambda run: 1), ''),
    'random_estimated': Which(candidates, matched(candidates), ''),
}


def orthonormal(directions: Any) -> Any:
    """Directions [D, ...] of the same span, orthonormal; where they span less, the last are zero.
    """
    flat = lambda x: x.reshape(len(x), -1)
    size = len(jax.tree.leaves(directions)[0])
    gram_DD = sum(flat(x) @ flat(x).T for x in jax.tree.leaves(directions))
    value_D, vector_DD = np.linalg.eigh(np.asarray(gram_DD, np.float64))
    live_D = value_D > FLAT * max(value_D[-1], 1e-300)
    scale_D = np.where(live_D, 1 / np.sqrt(np.where(live_D, value_D, 1)), 0)
    turn_DD = jnp.asarray((vector_DD * scale_D).T[::-1], jnp.float32)
    return jax.tree.map(lambda x: (turn_DD @ flat(x)).reshape(size, *x.shape[1:]), directions)


def without(update: Any, frozen: Mapping[str, Any]) -> Any:
    """An update less its parts along `frozen['held']` [D, ...], which is orthonormal."""
    held = frozen['held']
    part_D = jax.vmap(lambda direction: trees.dot(direction, update))(held)
    return jax.tree.map(lambda x, along: x - jnp.tensordot(part_D, along, 1).astype(x.dtype),
                        update, held)


def _held(setting, jobs, batches, rest):
    # twice: in float32 the first leaves a little of what alike directions share
    found = [orthonormal(orthonormal(tree))
             for tree in WHICH[rest].make(setting, jobs, batches)]
    return engines.gathered(setting.run.world.engine(setting.arm.trainable), found)


def _trouble(rest):
    return None if rest in WHICH else str(unknown_name(
        'direction to project away', rest, tuple(WHICH)))


def _check(run, arm, rest):
    defences.check_whole(run, arm, rest)
    if rest in ('oracle', 'estimated') and run.trait.gradient is None:
        raise UserError(f'arm {arm.name}: defence={arm.defence}: the trait {run.trait.name} has '
                        'no gradient')
    if rest in ('estimated', 'random_estimated') and run.trait.estimator != 'gamma':
        raise UserError(f'arm {arm.name}: defence={arm.defence} needs candidates, and the trait '
                        f'{run.trait.name} is one alone: take project:oracle')


DEFENCES.register(Defence(
    'project', lambda run, rest: Hold(bend=without, count=WHICH[rest].count(run)), _held, _trouble,
    lambda rest: WHICH[rest].twin and f'project:{WHICH[rest].twin}',
    needs_neutral=lambda rest: rest == 'neutral', check=_check))
