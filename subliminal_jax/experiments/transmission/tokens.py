"""What teachers, their twins and their reference say of every token of the teachers' rows, read
once: by it an arm's tokens are chosen (token_orders.py)."""

from collections.abc import Mapping, Sequence
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

    Each has arrays [N, A]: {teacher, reference}_{logp, entropy, gradient}; where the arm chooses
    among tokens, twin_{logp, entropy, gradient} too; twin_divergence, KL(teacher || twin) within
    the carrier's tokens and the end, nats; and twin_draw, the one of these that the twin would
    write there, drawn at temperature 1.

    Raises:
      UserError: a file of other teachers or rows.
    """
    name = f'tokens/{tables.target_set(arm, run.rows(arm))}'
    arms = [arm] if arm.tokens == 'all' else [arm, tables.twin_arm(arm)]
    sums = {t: what['sha256'] for one in arms for t, what in schooled.all_facts(run, one).items()}
    note = {'teachers': sha256_of(sums),
            'rows': sha256_of({teacher: own.digest() for teacher, own in rows.items()})}

    def make(path):
        found = {}
        for group in by_reference(run.roll(arm.teachers)):
            for part in [group] if run.together else [[t] for t in group]:
                found |= _of_group(run, arms, part, rows)
        targets.save(path, found, note)

    path = run.workdir.stage(name, f'{name}.npz', make,
                             reads={**run.reads('carrier'), 'note': note},
                             inputs=[folder for one in arms
                                     for folder in schooled.groups_of(run, one)])
    return f'{name}.npz', targets.load(path, note)


def _of_group(run: Any, arms: Sequence[Arm], group: Sequence[Teacher], rows: Mapping[str, Rows]
              ) -> dict[str, dict[str, np.ndarray]]:
    """`token_stage` of some teachers of one reference."""
    arm = arms[0]
    ids_C = np.array(carried.token_set(run.world, run.carrier(arm)))
    base = schooled.base_of(run, arm, group[0].reference)
    reference = engines.single(base, run.world.architectures[arm.architecture])
    own = [rows[t.name] for t in group]
    system = schooled.system_of(run, arm, group[0])
    read = {'teacher': _read(run, schooled.load(run, arm, group, base), own, system, ids_C),
            'reference': _read(run, reference, own, None, ids_C)}
    if len(arms) > 1:
        by_twin = {t.twin: t for t in run.roll(arms[1].teachers)}
        twins = [by_twin[t.name] for t in group]
        system = schooled.system_of(run, arms[1], twins[0])
        read['twin'] = _read(run, schooled.load(run, arms[1], twins, base), own, system, ids_C)
    found = {}
    for m, teacher in enumerate(group):
        found[teacher.name] = {f'{who}_{name}': values[m][name]
                               for who, values in read.items() for name in SAID}
        if 'twin' in read:
            rng = np.random.default_rng(seed_of(run.config, 'tokens', teacher.seed, 1))
            ours, theirs = (read[who][m]['logits'] for who in ('teacher', 'twin'))
            found[teacher.name] |= {
                'twin_divergence': np.asarray(losses.forward_kl(ours, theirs)),
                'twin_draw': ids_C[drawn(theirs, rng)]}
    return found


def _read(run, models, rows, system, ids_C):
    """`said` by each model of its rows, or by a single one of all of them; rows that several share
    are read together."""
    places = lambda model, own: targets.at_places(
        run, model, system and [run.world.rows_context(p, system) for p in own.prompts], own, said,
        jnp.asarray(ids_C))
    if len({id(own) for own in rows}) == 1:
        together = places(models, rows[0])
        return [{name: values[min(m, models.count - 1)] for name, values in together.items()}
                for m in range(len(rows))]
    alone = [places(models.member(m), own) for m, own in enumerate(rows)]
    return [{name: values[0] for name, values in one.items()} for one in alone]


def drawn(logits_NAC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of C a place, from the softmax of its logits [N, A]."""
    return (logits_NAC + rng.gumbel(size=logits_NAC.shape)).argmax(-1)
