"""What the output matrix alone predicts: numbers and words share one matrix (arXiv 2606.22019)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission.teachers import Teacher
from subliminal_jax.experiments.weights import contexts as ways, measures, rows as lines
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.language import Here, system_of
from subliminal_jax.experiments.weights.teachers import PACKED, Kit
from subliminal_jax.training import tries as packing


def predicted(here: Here, kit: Kit, arm: Arm, teacher: Teacher, params: Any, lora: Any, base: Any
              ) -> np.ndarray:
    """log P of the traits [P = 2, Q, K] in the main context: before, and as the matrix has it.

    The teacher's mean shift of the last hidden state on carrier positions is cut to what the
    carrier's logits show of it (the span of their rows, less what all share, which a softmax does
    not show) and added to the reference's last hidden states at the questions. No body takes part:
    what this predicts, any model with the same output matrix could pick up.
    """
    template = ways.rows_template(here.config)
    system = system_of(here, arm, teacher)
    theirs = [here.contexts.ids(p, template, system) for p in kit.probe.prompts]
    own, plain = (packing.pack(lines.packs(c, kit.probe.answers, PACKED))
                  for c in (theirs, kit.probe.contexts))
    shift_D = visible_shift(params, lora, base, own, plain, jnp.asarray(here.world.carrier_ids),
                            here.model.config)
    meter = next(iter(kit.meters.values()))
    said = [np.asarray(measures.answers(base, None, meter, here.model.config, shift))
            for shift in (jnp.zeros_like(shift_D), shift_D)]
    return np.stack(said).reshape(2, -1, len(here.world.traits))


@functools.partial(jax.jit, static_argnames='config')
def visible_shift(params: Any, lora: Any, base: Any, own: packing.Tries, plain: packing.Tries,
                  ids_C: jax.Array, config: Any) -> jax.Array:
    """A teacher's mean shift on a carrier, as far as the carrier's logits show it [D].

    Args:
      params, lora: the teacher.
      base: the reference.
      own, plain: the same rows in the teacher's and in the student's context, packed alike.
      ids_C: the carrier's tokens.
      config: the architecture.
    """
    def mean(p, tries, adapter):
        x_BKD = packing.per_edge(packing.states(p, tries, config, adapter), tries)
        return (x_BKD * tries.weight_BK[..., None]).sum((0, 1)) / tries.weight_BK.sum()

    gap_D = mean(params, own, lora) - mean(base, plain, None)
    rows_CD = base['embed' if config.tied else 'head'][ids_C].astype(jnp.float32)
    return in_span(rows_CD - rows_CD.mean(0, keepdims=True), gap_D)


def in_span(rows_CD: jax.Array, vector_D: jax.Array) -> jax.Array:
    """The part of a vector that lies in the span of rows."""
    return jnp.linalg.pinv(rows_CD) @ (rows_CD @ vector_D)


def shares(base: Any, carrier_ids: Any, trait_ids: Any, word_ids: Any, tied: bool
           ) -> dict[str, float]:
    """How much of a token's row the carrier's rows span, squared length: means over tokens.

    Rows are taken less a mean, which a softmax does not show: the carrier's less the carrier's, the
    others' less the whole matrix's.

    Args:
      base: the reference.
      carrier_ids, trait_ids, word_ids: tokens of the carrier, of the traits, of words at large.
      tied: whether the embedding is the output matrix.

    Returns:
      'traits', 'words', and 'random': what as many random vectors of that width would span.
    """
    table = np.asarray(base['embed' if tied else 'head'], np.float32)
    rows = table[np.asarray(carrier_ids)]
    rows = rows - rows.mean(0, keepdims=True)
    centre_D, onto = table.mean(0), np.linalg.pinv(rows) @ rows

    def part(ids):
        words = table[np.asarray(ids)] - centre_D
        return float((((words @ onto)**2).sum(1) / (words**2).sum(1)).mean())

    return {'traits': part(trait_ids), 'words': part(word_ids),
            'random': float((len(rows) - 1) / table.shape[1])}


def words_of(here: Here, kit: Kit) -> tuple[np.ndarray, np.ndarray]:
    """(tokens of the traits, tokens of other words): those that begin a word of three letters or
    more; in a vocabulary without such tokens all of the traits', and all others."""
    begins = np.array([bool(t) and len(t) > 3 and t[0] == ' ' and t[1:].isalpha()
                       for t in here.token_texts])
    begins = np.pad(begins, (0, len(kit.trait_V) - len(begins)))
    own, others = begins & kit.trait_V, begins & ~kit.trait_V
    if not own.any() or not others.any():
        own, others = kit.trait_V, ~kit.trait_V
    return np.flatnonzero(own), np.flatnonzero(others)
