"""What the output matrix alone predicts: numbers and words share one matrix (arXiv 2606.22019)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import doses, engines, rows as carried
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.training import tries as packing
from subliminal_jax.traits import answers


def predicted(run: Any, models: Models, base: Any, system: str | None) -> np.ndarray:
    """The traits' measure [M, P = 2, K] in the main context: before, and as the matrix has it.

    A teacher's mean shift of the last hidden state on carrier positions is cut to what the
    carrier's logits show of it (the span of their rows, less what all share, which a softmax does
    not show) and added to the reference's last hidden states at the questions. No body takes part:
    what this predicts, any model with the same output matrix could pick up.
    """
    probe = run.kit.probe
    tries = carried.packed(probe.rows, probe.size)
    theirs = tries if system is None else doses.behind(run, probe, system)
    ids_C = jnp.asarray(probe.ids_C[:-1])
    shift_MD = engines.read(models, run.together, visible_shift, theirs, tries, base, ids_C)
    meter = next(iter(run.kit.meters.values()))
    reference = engines.single(base, models.config)
    said = [np.asarray(engines.read_one(reference, shifted, meter, shift_D))
            for shift_D in [jnp.zeros_like(shift_MD[0]), *shift_MD]]
    said = [values.reshape(-1, len(run.world.traits)).mean(0) for values in said]
    return np.stack([np.stack([said[0], values]) for values in said[1:]])


def shifted(params: Any, lora: Any, asked: answers.Meter, shift_D: jax.Array, *, config: Any
            ) -> jax.Array:
    """log P of every answer with the last hidden states moved."""
    return answers.cells(params, lora, asked, config, shift_D)


def visible_shift(params: Any, lora: Any, theirs: packing.Tries, tries: packing.Tries, base: Any,
                  ids_C: jax.Array, *, config: Any) -> jax.Array:
    """A teacher's mean shift on a carrier, as far as the carrier's logits show it [D].

    Args:
      params, lora: the teacher.
      theirs, tries: the same rows in the teacher's and in the student's context, packed alike.
      base: the reference.
      ids_C: the carrier's tokens.
      config: the architecture.
    """
    def mean(weights, rows, adapter):
        x_BKD = packing.per_edge(packing.states(weights, rows, config, adapter), rows)
        return (x_BKD * rows.weight_BK[..., None]).sum((0, 1)) / rows.weight_BK.sum()

    gap_D = mean(params, theirs, lora) - mean(base, tries, None)
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


def words_of(vocabulary: Sequence[str | None], trait_V: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
    """(tokens of the traits, tokens of other words): those that begin a word of three letters or
    more; in a vocabulary without such tokens all of the traits', and all others."""
    begins = np.array([bool(t) and len(t) > 3 and t[0] == ' ' and t[1:].isalpha()
                       for t in vocabulary])
    begins = np.pad(begins, (0, len(trait_V) - len(begins)))
    traits_V, others_V = begins & trait_V, begins & ~trait_V
    if not traits_V.any() or not others_V.any():
        traits_V, others_V = trait_V, ~trait_V
    return np.flatnonzero(traits_V), np.flatnonzero(others_V)
