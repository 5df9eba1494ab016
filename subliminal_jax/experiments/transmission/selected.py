"""Selected answers: the reference writes, and a teacher only picks.

At every place the reference writes `carrier.candidates` answers at temperature 1, the same for all
of its teachers. Each teacher takes, of those that the strictest filter keeps, the one that it makes
likelier than the reference does by most (the likelihood ratio of the whole answer, nats). So every
word is the reference's own, and what is the teacher's is log2 of the number of candidates at most:
three bits a row of eight.

It is the positive control of sampled text, and a rung of its own: text can hold a trait whose
words the teacher never wrote (arXiv 2602.04863 selects from real preference data).
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import (
    engines,
    readings,
    rows as carried,
    samples,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.roll import Teacher
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.models import transformer
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.tries import Tries


def logp(params: Any, lora: Any, tries: Tries, *, config: Any) -> dict[str, jax.Array]:
    """log P of every predicted token [B, K], nats, for `targets.at_places`."""
    config = losses.float_head(config)
    x_BUD = packing.states(params, tries, config, lora)
    return {'logp': -losses.token_nll(transformer.unembed(params, x_BUD, config), tries)}


def candidate_stage(run: Any, arm: Arm, prompts: Sequence[Mapping[str, Any]],
                    inputs: Sequence[str]) -> str:
    """candidates-ARCHITECTURE-CARRIER-PLACES.jsonl, what the references write; its name.

    Args:
      run, arm: whose carrier and architecture.
      prompts: the places, in order.
      inputs: the artefacts that they are read from.
    """
    carrier = run.carrier(arm)
    name = f'candidates-{arm.architecture}-{carrier.name}-{len(prompts)}'
    run.workdir.stage(
        name, f'{name}.jsonl', lambda path: files.write(path, _written(run, arm, prompts)),
        reads={**run.reads('carrier'), 'rows': len(prompts)},
        inputs=[*inputs, *run.world.reference_inputs(arm.architecture)])
    return f'{name}.jsonl'


def _written(run, arm, prompts):
    """Candidates of every reference; row ids are REFERENCE/PLACE/NUMBER."""
    config, carrier = run.config, run.carrier(arm)
    places = [{**row, 'id': f'{row["id"]}/{k}'} for row in prompts
              for k in range(config.carrier.candidates)]
    everyone = list(range(run.world.num_references))
    for group in [everyone] if run.together else [[r] for r in everyone]:
        writers = [Teacher(f'r{r}', r, '', 0, seed_of(config, 'candidates', r), 'reference')
                   for r in group]
        for row in samples.drawn(config, run.world, carrier, writers,
                                 readings.references(run, arm.architecture, group),
                                 [None] * len(group), places, 1.0, 1):
            yield {**row, 'id': row['id'].rpartition('/')[0]}


def write(run: Any, arm: Arm, groups: Sequence[Any], prompts: Sequence[Mapping[str, Any]],
          candidates: pathlib.Path, path: pathlib.Path) -> None:
    """Writes what every teacher picks, as JSONL: one row a teacher and place, as `samples.drawn`.

    Where the filter keeps no candidate of a place, its first one is written, and is left out again.

    Args:
      run, arm: of the rows.
      groups: functions that give (teachers of one reference, their models, system messages).
      prompts: the places.
      candidates: of `candidate_stage`.
      path: of the file.
    """
    found = by_place(run, arm, files.read(candidates)[0])
    files.write(path, (row for load in groups for row in _picked(run, arm, *load(), prompts,
                                                                   found)))


def by_place(run: Any, arm: Arm, rows: Sequence[Mapping[str, Any]]
             ) -> dict[tuple[str, str], tuple[list[dict], bool]]:
    """{(reference, place): (candidates, whether the filter keeps them)}: those that it keeps, or
    the first one where it keeps none."""
    every: dict[tuple[str, str], list[dict]] = {}
    kept: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        key = tuple(str(row['id']).split('/')[:2])
        every.setdefault(key, []).append(dict(row))
        whys = samples.reasons_of(run.config, run.world, run.carrier(arm), row)
        if whys['strict'] is None:
            kept.setdefault(key, []).append(dict(row))
    return {key: (kept.get(key, some[:1]), key in kept) for key, some in every.items()}


def _picked(run, arm, group, models, systems, prompts, found):
    reference = group[0].reference
    of_place = [found[f'r{reference}', str(row['id'])] for row in prompts]
    flat = [row for rows, kept in of_place if kept for row in rows]
    ratio_MN = ratios(run, arm, models, systems[0], flat, reference)
    begin = 0
    for place, (rows, kept) in zip(prompts, of_place, strict=True):
        size = len(rows) if kept else 0
        for m, teacher in enumerate(group):
            pick = int(ratio_MN[m, begin:begin + size].argmax()) if kept else 0
            row = {**rows[pick], **place, 'id': f'{teacher.name}/{place["id"]}/0',
                   'teacher': teacher.name}
            if kept:
                row['log_ratio'] = float(ratio_MN[m, begin + pick])
            yield row
        begin += size


def ratios(run: Any, arm: Arm, models: Models, system: str | None,
           rows: Sequence[Mapping[str, Any]], reference: int) -> np.ndarray:
    """How much likelier teachers make rows than their reference does [M, N], nats a row.

    Args:
      run, arm: whose carrier.
      models: M teachers.
      system: the teachers' system message, which the reference does not read.
      rows: N rows with prompt and completion.
      reference: its number.
    """
    own = carried.encoded(run.world, run.carrier(arm), rows)
    base = engines.single(schooled.base_of(run, arm, reference), models.config)
    contexts = system and [run.world.rows_context(p, system) for p in own.prompts]
    read = lambda who, those: targets.at_places(run, who, those, own, logp)['logp'].sum(-1)
    said_1N = run.remember(('selected', arm.carrier, arm.architecture, reference, len(rows)),
                           functools.partial(read, base, None))
    return read(models, contexts) - said_1N
