"""How far a teacher is from its reference on the carrier: its dose.

The dose is the KL on the carrier's token set, at the places where a student of a carrier KL looks:
what students read. It is measured on random rows, each of a prompt of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.evaluation import measures
from subliminal_jax.experiments.transmission import engines, rows as carried
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models import transformer
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries
from subliminal_jax.traits import answers

PACKED = 8  # rows packed together where models are large


class Probe(NamedTuple):
    """Rows on which doses are read.

    Attributes:
      rows: random ones.
      size: rows in a pack.
      ids_C: the carrier's tokens and the end.
      tries: the rows in the students' context; weights lie where a carrier's token comes next.
      allowed_BUC: bool, which of the set a row may hold.
    """

    rows: carried.Rows
    size: int
    ids_C: np.ndarray
    tries: Tries
    allowed_BUC: np.ndarray


def probe_of(run: Any) -> Probe:
    """The rows of a run."""
    carrier, size = run.carrier(), 1 if run.together else PACKED
    ids = carried.token_set(run.world, carrier)
    rows = carried.random_rows(run.config, run.world, carrier, run.config.carrier.dose_rows,
                               'probe', 0, 1)
    batch = carried.batch(OBJECTIVES['kl_carrier'], ids, rows, carried.packed(rows, size), size, {})
    return Probe(rows, size, np.array(ids), batch['tries'], batch['allowed_BUC'])


def behind(run: Any, probe: Probe, system: str | None) -> Tries:
    """The rows behind a system message, packed in the same order."""
    if system is None:
        return probe.tries
    contexts = [run.world.rows_context(p, system) for p in probe.rows.prompts]
    return carried.packed(probe.rows, probe.size, contexts)


def set_logits(params: Any, lora: Any, tries: Tries, ids_C: jax.Array, *, config: Any
               ) -> jax.Array:
    """Logits of a token set at every place [B, U, C]."""
    x_BUD = packing.states(params, tries, config, lora)
    return transformer.unembed(params, x_BUD, losses.float_head(config), ids_C)


def set_dose(params: Any, lora: Any, theirs: Tries, probe: Any, reference_BUC: jax.Array, *,
             config: Any) -> jax.Array:
    """Mean KL(teacher || reference) within the rows' own sets, nats a place that weighs.

    Args:
      params, lora: the teacher.
      theirs: the rows in the teacher's context.
      probe: (tries, ids_C, allowed_BUC) in the students' context.
      reference_BUC: the reference's logits there.
    """
    tries, ids_C, allowed_BUC = probe
    own_BUC = set_logits(params, lora, theirs, ids_C, config=config)
    own_BUC = packing.per_place(packing.per_edge(own_BUC, theirs), tries)
    log_p, log_q = (jnp.where(allowed_BUC, x, transformer.NEVER) for x in (own_BUC, reference_BUC))
    kl_BU = losses.forward_kl(log_p, log_q)
    return (kl_BU * tries.weight_BU).sum() / tries.weight_BU.sum()


def whole_dose(params: Any, lora: Any, theirs: Tries, probe: Any, reference_BUV: jax.Array, *,
               config: Any) -> tuple[jax.Array, jax.Array]:
    """(mean KL over all tokens, probability of the traits' tokens) at every place of the answers.

    Args:
      params, lora, theirs: as `set_dose`.
      probe: (tries with a weight at every prediction, bool [V] the traits' tokens).
      reference_BUV: what the reference says (answers.spoken).
    """
    tries, trait_V = probe
    own_BUV = answers.spoken(params, lora, theirs, config)
    own_BUV = packing.per_place(packing.per_edge(own_BUV, theirs), tries)
    return (measures.kl(own_BUV, reference_BUV, tries.weight_BU),
            measures.token_mass(own_BUV, trait_V, tries.weight_BU))


def reader(run: Any, arm: Any, base: Any, system: str | None = None
           ) -> Callable[[Models], np.ndarray]:
    """models -> their doses [M]; the reference is read once."""
    probe = run.kit.probe
    reference = engines.single(base, run.world.architectures[arm.architecture])
    ids_C = jnp.asarray(probe.ids_C)
    said_BUC = engines.read_one(reference, set_logits, probe.tries, ids_C)
    theirs = behind(run, probe, system)
    shared = (probe.tries, ids_C, probe.allowed_BUC)
    return lambda models: np.asarray(engines.read(
        models, run.together, set_dose, theirs, shared, said_BUC), np.float64)


def whole_reader(run: Any, arm: Any, base: Any, system: str | None
                 ) -> Callable[[Models], tuple[np.ndarray, np.ndarray]]:
    """models -> (KL over all tokens, mass of the traits' tokens) [M]."""
    probe = run.kit.probe
    tries = carried.packed(probe.rows, probe.size)  # every prediction weighs
    reference = engines.single(base, run.world.architectures[arm.architecture])
    said_BUV = engines.read_one(reference, answers.spoken, tries)
    theirs = tries if system is None else behind(run, probe, system)
    shared = (tries, jnp.asarray(run.kit.trait_V))
    return lambda models: engines.read(models, run.together, whole_dose, theirs, shared, said_BUV)
