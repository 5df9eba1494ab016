"""The first link: is the trait in the rows at all? Read before there is any student.

Two readings of a teacher's rows, each a matrix of row sets by teachers, in nats a row:

  likelihood  how much likelier teacher t makes the rows of s than the reference does
  gradient    what a gradient step on the rows of s would move along t's displacement: the first-
              order change of the rows' log-likelihood on the way from the reference to t

Put through gamma, as students are, each says whether rows hold their own teacher's *trait*: a
row's own teacher is told from teachers of other traits. What all teachers share falls into the
rows' effect, so that no common displacement has to be taken off. It is what a detector could see
at best, and it is no transmission: no student has learned anything.

KL between teachers follows from it. Over rows that s has written, log p_s - log p_t has the mean
KL(p_s || p_t) a row, up to the filter, which leaves some rows out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.experiments.transmission import (
    arms as tables,
    effects,
    engines,
    rows as carried,
    stages,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.models import transformer
from subliminal_jax.theory import trees
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries

Arrays = Mapping[str, np.ndarray]
WITHIN = ('all', 'set')  # probabilities among all tokens, or among the carrier's and the end

_dot = {False: jax.jit(trees.dot), True: jax.jit(jax.vmap(trees.dot, in_axes=(None, 0)))}


def arms_of(run: Any) -> dict[str, Arm]:
    """An arm by set of rows that trait teachers of the reference have written."""
    found: dict[str, Arm] = {}
    for arm in run.arms:
        if arm.answers != 'random' and arm.teachers == 'trait' and not arm.own:
            found.setdefault(tables.row_set(arm), dataclasses.replace(
                arm, objective='sft', order='kept', filter='paper', matrix='own', picked='none',
                paraphrase='none'))
    return found


def link_stages(run: Any, samples: Mapping[str, Any]) -> dict[str, Arrays]:
    """first_link/SET.npz of every set of rows; nothing where `carrier.link_rows` is 0."""
    found: dict[str, Arrays] = {}
    if not run.config.carrier.link_rows:
        return found
    for name, arm in arms_of(run).items():
        own = run.of(arm.architecture)

        def make(path, arm=arm, own=own):
            parts = [_of_reference(own, arm, samples, r) for r in range(run.world.num_references)]
            with path.open('wb') as file:
                np.savez(file, **{key: np.stack([part[key] for part in parts])
                                  for key in parts[0]})

        path = run.workdir.stage(
            f'first_link/{name}', f'first_link/{name}.npz', make,
            reads={**own.reads('carrier'), 'packed': run.config.student.packed},
            inputs=[*schooled.groups_of(run, arm), f'samples{stages.suffix_of(run, arm)}.jsonl',
                    *own.world.reference_inputs(arm.architecture)])
        with np.load(path) as arrays:
            found[name] = dict(arrays)
    return found


def _of_reference(run: Any, arm: Arm, samples: Mapping[str, Any], reference: int
                  ) -> dict[str, np.ndarray]:
    """The readings of one reference's teachers, S row sets and T = S teachers.

    Returns:
      logprob [S, T, W] and reference [S, W]: mean log P of a row, W as `WITHIN`; tokens [S], the
      mean of a row; inner [S, T], the gradient reading, NaN where teachers have no displacement.
    """
    few = dataclasses.replace(arm, rows=run.config.carrier.link_rows)
    rows = stages.rows_of(run, few, samples, reference)
    size, ids = run.config.student.packed, carried.token_set(run.world, run.carrier(arm))
    everyone = [t for t in run.roll('trait') if t.reference == reference]
    packs = packing.widened([carried.packed(rows[t.name], size) for t in everyone])
    base = schooled.base_of(run, arm, reference)
    config = run.world.architectures[arm.architecture]
    start = engines.single(base, config)
    read = lambda models, own, tries: _mean_logprobs(run, models, tries, ids, len(own.answers))
    said = {t.name: [] for t in everyone}
    for group in tqdm(_groups(run, arm, everyone), desc='first link', leave=False):
        models = schooled.load(run, arm, group, base)
        system = schooled.system_of(run, arm, group[0])
        for teacher, tries in zip(everyone, packs):
            own = rows[teacher.name]
            if system is not None:
                tries = carried.packed(own, size, [run.world.rows_context(p, system)
                                                   for p in own.prompts])
            for t, value_W in zip(group, read(models, own, tries)):
                said[t.name].append(value_W)
    return {
        'logprob': np.stack([said[t.name] for t in everyone], 1),
        'reference': np.stack([read(start, rows[t.name], tries)[0]
                               for t, tries in zip(everyone, packs)]),
        'tokens': np.array([np.mean([len(a) for a in rows[t.name].answers]) for t in everyone]),
        'inner': _along_displacements(run, arm, everyone, base, start, packs)}


def _groups(run: Any, arm: Arm, everyone: Sequence[Teacher]) -> list[list[Teacher]]:
    """Teachers that are read side by side."""
    return [list(everyone)] if run.together else [[t] for t in everyone]


def set_logprobs(params: Any, lora: Any, tries: Tries, ids_C: jax.Array, *, config: Any
                 ) -> jax.Array:
    """Sum over packed rows of log P of their answers [W], nats: among all tokens, and of those
    predictions that lie in the set, among the set's tokens."""
    x_BUD = packing.states(params, tries, config, lora)
    logits_BUV = transformer.unembed(params, x_BUD, losses.float_head(config))
    nll_BK = losses.token_nll(logits_BUV, tries)
    total_BK = packing.per_edge(jax.nn.logsumexp(logits_BUV, -1), tries)
    within_BK = packing.per_edge(jax.nn.logsumexp(logits_BUV[..., ids_C], -1), tries)
    inside_BK = (tries.target_BK[..., None] == ids_C).any(-1)
    set_BK = jnp.where(inside_BK, nll_BK - total_BK + within_BK, 0)
    return jnp.stack([-(x_BK * tries.weight_BK).sum() for x_BK in (nll_BK, set_BK)])


def _mean_logprobs(run: Any, models: Models, tries: Tries, ids: Sequence[int], count: int
                   ) -> np.ndarray:
    """Mean log P of a row under every model [M, W], chunk by chunk."""
    chunk, total = targets.CHUNK[run.together], 0.0
    for begin in range(0, len(tries.tokens_BT), chunk):
        index = np.arange(begin, min(begin + chunk, len(tries.tokens_BT)))
        part = carried.taken({'tries': tries}, index, chunk)['tries']
        total = total + np.asarray(engines.read(
            models, run.together, set_logprobs, part, jnp.asarray(ids)), np.float64)
    return total / count


def _along_displacements(run, arm, everyone, base, start, packs):
    """First-order change of the mean log P of a row set towards each teacher [S, T]."""
    kind, _ = TEACHER_KINDS.find(arm.made)
    program = engines.Program(OBJECTIVES['sft'].loss, start.config)
    groups = _groups(run, arm, everyone)
    found = np.full((len(everyone), len(everyone)), np.nan)
    place = {t.name: n for n, t in enumerate(everyone)}
    for s, tries in enumerate(packs):
        slope, rows = _gradient(run, start, program, tries)
        for group in groups:
            moved = kind.displacement(schooled.load(run, arm, group, base), base)
            if moved is None:
                return found
            stacked = len(group) > 1 or run.together
            inner = np.atleast_1d(np.asarray(_dot[stacked](slope, moved), np.float64))
            for teacher, value in zip(group, inner):
                found[s, place[teacher.name]] = -value / rows
            del moved
    return found


def _gradient(run, start, program, tries):
    """(the gradient of the summed loss of rows by all weights, how many rows)."""
    chunk, total, size = targets.CHUNK[run.together], None, run.config.student.packed
    for begin in range(0, len(tries.tokens_BT), chunk):
        index = np.arange(begin, min(begin + chunk, len(tries.tokens_BT)))
        batch = carried.taken({'tries': tries}, index, chunk)
        weight = float(np.asarray(batch['tries'].weight_BK).sum())
        part = engines.read_one(start, engines.mean_gradient, batch, program=program)
        part = jax.tree.map(lambda x, w=weight: x * w, part)
        total = part if total is None else trees.add(total, part, 1.0)
        del part
    return total, min(len(tries.tokens_BT) * size, run.config.carrier.link_rows)


# What it says.


def entry(run: Any, arrays: Arrays) -> dict[str, Any]:
    """A set of rows as it stands in results.json.

    Returns:
      likelihood, likelihood_set, gradient: {'effect': gamma over teachers' rows, 'matrix':
      {teacher of the rows: {teacher: nats a row}}}, of those that can be read; `rows`, `tokens` a
      row; `nats_between`: mean over pairs of teachers of *different* traits of what a row tells
      one from the other, among all tokens and within the set.
    """
    everyone = run.roll('trait')
    beside = arrays['logprob'] - arrays['reference'][:, :, None]  # [R, S, T, W]
    readings = {'likelihood': beside[..., 0], 'likelihood_set': beside[..., 1],
                'gradient': arrays['inner']}
    found: dict[str, Any] = {
        'rows': run.config.carrier.link_rows, 'tokens': float(arrays['tokens'].mean()),
        'nats_between': dict(zip(WITHIN, between(run, everyone, arrays['logprob'])))}
    for name, value_RST in readings.items():
        if np.isfinite(value_RST).all():
            matrix = _named(everyone, value_RST)
            found[name] = {'matrix': matrix, 'effect': effects.effect_of(
                run, by_trait(run, everyone, matrix))}
    return found


def _named(everyone, value_RST):
    """{teacher of the rows: {teacher: nats}} of teachers of one reference."""
    found = {}
    for r in range(len(value_RST)):
        group = [t.name for t in everyone if t.reference == r]
        for s, row in zip(group, value_RST[r]):
            found[s] = dict(zip(group, map(float, row)))
    return found


def by_trait(run: Any, everyone: Sequence[Teacher], matrix: Mapping[str, Mapping[str, float]]
             ) -> dict[str, dict[str, float]]:
    """y[teacher of the rows][trait]: the mean over the trait's teachers.

    The rows' own teacher is left out where its trait has another: what is asked is whether the
    trait is in the rows, not whose they are.
    """
    trait = {t.name: t.trait for t in everyone}
    found: dict[str, dict[str, float]] = {}
    for s, row in matrix.items():
        found[s] = {}
        for name in run.world.traits:
            of_trait = [t for t in row if trait[t] == name]
            others = [t for t in of_trait if t != s] or of_trait
            found[s][name] = float(np.mean([row[t] for t in others]))
    return found


def between(run: Any, everyone: Sequence[Teacher], logprob_RSTW: np.ndarray) -> list[float]:
    """Mean of log p_s - log p_t on the rows of s, over teachers s, t of different traits, nats a
    row, for each of `WITHIN`."""
    gaps = []
    for r, logprob_STW in enumerate(logprob_RSTW):
        group = [t for t in everyone if t.reference == r]
        gaps += [logprob_STW[s, s] - logprob_STW[s, t]
                 for s, a in enumerate(group) for t, b in enumerate(group) if a.trait != b.trait]
    return np.mean(gaps, axis=0).tolist()
