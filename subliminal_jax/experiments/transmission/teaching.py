"""Training a teacher: a few steps of questions and answers, and its neutral twin to the same dose.

A neutral twin sees the same questions in the same order, for the same seed; what it is answered is
the trait's business (`Trait.neutral`). Its dose, the KL from its reference on the carrier's tokens,
is to be its twin's: it stops within 5 % of it, or at the step where it came closest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.transmission import doses, engines, rows as carried
from subliminal_jax.experiments.transmission.engines import Engine, Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.world import spelled
from subliminal_jax.models.lora import Lora, init_lora
from subliminal_jax.runs import UserError
from subliminal_jax.training import checkpoints as saving, tries as packing
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig

CLOSE = 0.05  # |log of dose / twin's dose| that is close enough
BEYOND = np.log(1.5)  # past its twin's dose by so much, a twin only moves away


class Making(NamedTuple):
    """What makes a group of teachers.

    Attributes:
      run, arm: whose.
      group: M teachers of one reference.
      base: the parameters that they are made of.
      trainable: 'all' or lora:RANK.
      goal_M: neutral twins' doses; None for trait teachers.
      neutral: what their lessons are drawn with; None for trait teachers.
      checkpoints: where the training is resumed from.
    """

    run: Any
    arm: Any
    group: Sequence[Teacher]
    base: Any
    trainable: str
    goal_M: np.ndarray | None
    neutral: Any
    checkpoints: saving.Checkpoints | None


def taught(making: Making) -> tuple[Any, np.ndarray]:
    """(all weights or adapters, trained; steps that each teacher took).

    Raises:
      UserError: it has diverged.
    """
    run, settings = making.run, making.run.config.teacher
    engine, rank = run.world.engine(making.trainable), rank_of(making.trainable)
    neutral = making.goal_M is not None
    steps = settings.neutral_steps if neutral else max(1, round(settings.steps * making.arm.dose))
    config = run.world.architectures[making.arm.architecture]
    program = engines.Program(
        OBJECTIVES['sft'].loss, config, (), OptimizerConfig(
            learning_rate=settings.lora_rate if rank else settings.learning_rate))
    packs, per_step = lessons(run, making.group, steps, making.neutral, engine)
    first = [adapter_start(run, config, rank, making.group[0].reference, 0) if rank
             else making.base] * len(making.group)
    trainable = engines.gathered(engine, first)
    frozen = {'base': making.base if rank else {}}
    watch = Watch(making, config, engine, frozen) if neutral else None
    found = fit(
        engines.step_of(program, engine, bool(rank) or engine.together),
        engines.begin(program, engine, trainable), frozen,
        lambda step: carried.taken(packs, indices(step, per_step, engine, len(making.group)),
                                   per_step),
        steps, watch and watch.probe, range(1, steps + 1) if neutral else (),
        key=jax.random.key(0), kept=watch and watch.nothing(trainable),
        stop=watch and watch.done, checkpoints=making.checkpoints,
        save_every=run.config.save_every, log=run.log,
        models=[t.name for t in making.group], rows_axis=int(engine.stacked),
        description=f'{"neutral teachers" if neutral else "teachers"} of {making.arm.made}')
    if not neutral:
        return found.state.trainable, np.full(len(making.group), steps)
    return found.kept['trainable'], np.asarray(found.kept['step_M'])


def indices(step: int, per_step: int, engine: Engine, count: int) -> np.ndarray:
    """Packs of a step, one after another, for every model."""
    index = np.arange(step * per_step, (step + 1) * per_step)
    return np.broadcast_to(index, (count, per_step)) if engine.stacked else index


def lessons(run: Any, group: Sequence[Teacher], steps: int, neutral: Any, engine: Engine
            ) -> tuple[carried.Batch, int]:
    """(the teachers' questions and answers, packed; packs a step)."""
    settings, world = run.config.teacher, run.world
    context = world.lesson_context
    encode = lambda text: world.answer(text, context)
    size = min(settings.packed, settings.batch_size)
    per_step = -(-settings.batch_size // size)
    asked_ids: dict[str, list[int]] = {}
    answer_ids: dict[str, list[int]] = {}

    def row(question, answer):
        if question not in asked_ids:
            asked_ids[question] = world.asked(question, context, 0, None)
        if answer not in answer_ids:
            answer_ids[answer] = [*spelled(encode, answer, 'which a teacher is taught: reword it'),
                                  world.stops[0]]
        return packing.Row(asked_ids[question], answer_ids[answer])

    def packed(teacher):
        pairs = run.trait.lessons(run, teacher, steps * settings.batch_size, neutral)
        found = [row(*pair) for pair in pairs]
        batches = [found[n:n + settings.batch_size]
                   for n in range(0, len(found), settings.batch_size)]
        return packing.pack([b[n:n + size] for b in batches for n in range(0, len(b), size)])

    tries = packing.widened([packed(teacher) for teacher in group])
    batches = [{'tries': t} for t in tries]
    return (carried.stacked(batches) if engine.stacked else batches[0]), per_step


def adapter_start(run: Any, config: Any, rank: int, reference: int, number: int) -> Lora:
    """The adapter that teachers (number 0) and students begin with; `number` counts the students
    of a teacher. It is the same for all teachers of a reference.

    Under LoRA the lemma asks that a student share its teacher's A. So in a run with teachers of
    that rank all adapters begin alike, in every arm, and the students of a teacher differ by the
    order of their rows.
    """
    if any(rank_of(arm.made) == rank for arm in run.arms):
        number = 0
    key = jax.random.key(seed_of(run.config, 'student', reference, number))
    return init_lora(key, config, rank, run.config.student.alpha)


class Watch:
    """Reads the doses of neutral twins while they train, and keeps each at its closest."""

    def __init__(self, making: Making, config: Any, engine: Engine, frozen: Any):
        self._making, self._config, self._engine, self._frozen = making, config, engine, frozen
        self._log_goal_M = np.log(np.maximum(making.goal_M, 1e-30))
        self._reader = doses.reader(making.run, making.arm, making.base)

    def nothing(self, trainable: Any) -> dict[str, Any]:
        """What is kept before the first reading."""
        count = len(self._making.group)
        return {'trainable': jax.tree.map(np.array, trainable),
                'miss_M': np.full(count, np.inf), 'step_M': np.zeros(count, int)}

    def probe(self, step: int, trainable: Any, kept: dict[str, Any]):
        """The doses after a step, and the twins as they were closest.

        Raises:
          UserError: a dose that is not finite.
        """
        group = self._making.group
        models = Models(trainable, self._frozen, self._config, len(group), self._engine.stacked)
        dose_M = self._reader(models)
        lost = [t.name for t, dose in zip(group, dose_M) if not np.isfinite(dose)]
        if lost:
            raise UserError(f'{", ".join(lost)} has diverged at step {step}: lower '
                            'config.teacher.learning_rate (or lora_rate)')
        gap_M = np.log(np.maximum(dose_M, 1e-30)) - self._log_goal_M
        closer_M = np.abs(gap_M) < np.asarray(kept['miss_M'])
        stacked = self._engine.stacked
        best = jax.tree.map(lambda new, old: _where(closer_M, new, old, stacked), trainable,
                            kept['trainable']) if closer_M.any() else kept['trainable']
        return ({'dose': dose_M, 'gap': gap_M},
                {'trainable': best, 'miss_M': np.where(closer_M, np.abs(gap_M), kept['miss_M']),
                 'step_M': np.where(closer_M, step, kept['step_M'])})

    def done(self, rows: Sequence[dict]) -> bool:
        """Whether every twin has been close, or is past its twin's dose."""
        gap_PM = np.array([row['gap'] for row in rows if 'gap' in row])
        close_M = (np.abs(gap_PM) < np.log1p(CLOSE)).any(0)
        return bool((close_M | (gap_PM[-1] > BEYOND)).all())


def _where(closer_M, new, old, stacked):
    if not stacked:
        return np.array(new) if closer_M[0] else old
    return np.where(closer_M.reshape(-1, *[1] * (np.ndim(old) - 1)), np.asarray(new), old)
