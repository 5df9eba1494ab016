"""What teachers, their twins and their reference say of every token of the teachers' rows, read
once: by it an arm's tokens are chosen (token_orders.py)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import (
    arms as tables,
    engines,
    rows as carried,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.roll import Teacher, by_reference
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.models import transformer
from subliminal_jax.runs import sha256_of
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries

SAID = ('logp', 'entropy', 'gradient')


def said(params: Any, lora: Any, tries: Tries, ids_C: jax.Array, *, config: Any
         ) -> dict[str, jax.Array]:
    """What a model says of every predicted token [B, K], float32.

    Returns:
      logp: its log P, nats. entropy: of the prediction, nats. gradient: length of the gradient of
      -log P by the output matrix, |p - token| |x|. logits: those of the tokens ids_C [B, K, C].
    """
    config = losses.float_head(config)
    x_BUD = packing.states(params, tries, config, lora)
    logits_BUV = transformer.unembed(params, x_BUD, config)
    log_p_BUV = jax.nn.log_softmax(logits_BUV, axis=-1)
    p_BUV = jnp.exp(log_p_BUV)
    edge = lambda values_BU: packing.per_edge(values_BU, tries)
    logp_BK = -losses.token_nll(logits_BUV, tries)
    off_BK = edge((p_BUV**2).sum(-1)) - 2 * jnp.exp(logp_BK) + 1
    length_BK = edge(jnp.sqrt((x_BUD.astype(logits_BUV.dtype)**2).sum(-1)))
    return {'logp': logp_BK, 'entropy': edge(-(p_BUV * log_p_BUV).sum(-1)),
            'gradient': jnp.sqrt(jnp.maximum(off_BK, 0)) * length_BK,
            'logits': edge(jnp.take(logits_BUV, ids_C, axis=-1))}


def token_stage(run: Any, arm: Arm, rows: Mapping[str, Rows]
                ) -> tuple[str, dict[str, dict[str, np.ndarray]]]:
    """(the file, by teacher what is said of its rows): tokens/ROWS.npz.

    Each has arrays [N, A]: {teacher, twin, reference}_{logp, entropy, gradient}, and twin_draw, the
    token that the twin would write there, drawn at temperature 1 among the carrier's and the end.

    Raises:
      UserError: a file of other teachers or rows.
    """
    name = f'tokens/{tables.target_set(arm, run.rows(arm))}'
    twin = tables.twin_arm(arm)
    known = schooled.all_facts(run, arm) | schooled.all_facts(run, twin)
    note = {'teachers': sha256_of({t.name: [known[t.name]['sha256'], known[t.twin]['sha256']]
                                   for t in run.roll(arm.teachers)}),
            'rows': sha256_of({name: own.digest() for name, own in rows.items()})}

    def make(path):
        found = {}
        for group in by_reference(run.roll(arm.teachers)):
            for part in [group] if run.together else [[t] for t in group]:
                found |= _of_group(run, arm, part, rows)
        targets.save(path, found, note)

    path = run.workdir.stage(name, f'{name}.npz', make,
                             reads={**run.reads('carrier'), 'note': note},
                             inputs=[*schooled.groups_of(run, arm), *schooled.groups_of(run, twin)])
    return f'{name}.npz', targets.load(path, note)


def _of_group(run: Any, arm: Arm, group: list[Teacher], rows: Mapping[str, Rows]
              ) -> dict[str, dict[str, np.ndarray]]:
    """`token_stage` of some teachers of one reference."""
    twins = {t.twin: t for t in run.roll(tables.twin_arm(arm).teachers)}
    ids_C = np.array(carried.token_set(run.world, run.carrier(arm)))
    base = schooled.base_of(run, arm, group[0].reference)
    reference = engines.single(base, run.world.architectures[arm.architecture])
    models = schooled.load(run, arm, group, base)
    theirs = schooled.load(run, tables.twin_arm(arm), [twins[t.name] for t in group], base)
    found = {}
    for m, teacher in enumerate(group):
        own = rows[teacher.name]
        read = {}
        for who, model, system in (
                ('teacher', models.member(m), schooled.system_of(run, arm, teacher)),
                ('twin', theirs.member(m), schooled.system_of(
                    run, tables.twin_arm(arm), twins[teacher.name])),
                ('reference', reference, None)):
            contexts = system and [run.world.rows_context(p, system) for p in own.prompts]
            values = targets.at_places(run, model, contexts, own, said, jnp.asarray(ids_C))
            read |= {f'{who}_{name}': values[name][0] for name in SAID}
            if who == 'twin':
                rng = np.random.default_rng(seed_of(run.config, 'tokens', teacher.seed, 1))
                read['twin_draw'] = ids_C[drawn(values['logits'][0], rng)]
        found[teacher.name] = read
    return found


def drawn(logits_NAC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of C a place, from the softmax of its logits [N, A]."""
    return (logits_NAC + rng.gumbel(size=logits_NAC.shape)).argmax(-1)
