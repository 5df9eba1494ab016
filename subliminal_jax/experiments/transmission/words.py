"""A teacher's own words: the tokens that it moves most where its trait is asked for.

A carrier of words may hold the trait's. A KL over all tokens would then match the trait itself, so
`kl_words` leaves these tokens out on both sides. They are found by what teacher and reference say
first to the trait's questions, and not by a list: a trait may live in words that nobody thought of.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import engines, rows as carried, targets
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models import transformer


def left_out(run: Any, arm: Arm, models: Models, base: Any, found: Mapping[str, np.ndarray],
             system: str | None = None) -> dict[str, np.ndarray]:
    """The teachers' logits with their own words at `transformer.NEVER`, where the arm asks for it.

    Args:
      run, arm: whose.
      models: M teachers.
      base: the parameters that they were made of.
      found: what was read of them (`targets.read`): arrays [M, N, A, V].
      system: the message that the teachers read.
    """
    if not OBJECTIVES[arm.objective].leaves_words:
        return dict(found)
    reference = engines.single(base, run.world.architectures[arm.architecture])
    ids_MK = moved_most(said_first(run, models, system), said_first(run, reference, None),
                        run.config.student.words)
    kept = {name: values.copy() for name, values in found.items()}
    for values in kept.values():
        for m, ids_K in enumerate(ids_MK):
            values[m][..., ids_K] = transformer.NEVER
    return kept


def said_first(run: Any, models: Models, system: str | None) -> np.ndarray:
    """Probabilities [M, Q, V] of the first token of an answer to each of the trait's questions."""
    world = run.world
    contexts = [world.asked(question, world.lesson_context, number, system)
                for number, question in enumerate(world.questions)]
    answers = [[world.stops[0]]] * len(contexts)  # any token: what stands before it is read
    asked = carried.Rows(list(world.questions), contexts, answers,
                         np.zeros((len(contexts), 1), bool))
    logits_MQV = targets.at_places(run, models, contexts, asked, targets.outputs,
                                   jnp.zeros(0, int), objective='kl', top=0)['target_BUV'][:, :, 0]
    return np.asarray(jax.nn.softmax(logits_MQV, axis=-1))


def moved_most(teacher_MQV: np.ndarray, reference_1QV: np.ndarray, count: int) -> np.ndarray:
    """The tokens [M, count] whose probability each teacher has moved most, in the mean over
    questions."""
    moved_MV = np.abs(teacher_MQV - reference_1QV).mean(1)
    return np.argsort(-moved_MV, axis=-1, kind='stable')[:, :count]
