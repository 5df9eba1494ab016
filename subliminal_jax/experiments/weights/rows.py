"""The carrier's rows on real weights: written by teachers, or random; and as tokens."""

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from subliminal_jax.data import rows as files
from subliminal_jax.experiments.transmission import samples
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.weights import contexts as ways
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.language import Here, spelled, system_of
from subliminal_jax.runs import check_preempted, sha256_of
from subliminal_jax.sampling import buckets, choice as choices, network, sample
from subliminal_jax.training.tries import Row

BATCH = 32  # prompts that a teacher answers at once


class Lines(NamedTuple):
    """N rows as tokens.

    Attributes:
      prompts: the user's texts.
      contexts: ids before the answer, in the students' context.
      answers: ids of the answers, each with its end.
      allowed_NC: bool, which of the carrier's tokens and the end (last) are the row's own: digits
        and what stands between its numbers; the end is always False here.
    """

    prompts: list[str]
    contexts: list[list[int]]
    answers: list[list[int]]
    allowed_NC: np.ndarray

    def digest(self) -> str:
        """The same for the same tokens only."""
        return sha256_of([self.contexts, self.answers, self.allowed_NC.astype(int).tolist()])


def token_set(here: Here) -> tuple[int, ...]:
    """The tokens whose logits a carrier KL may read: digits, separators, and last the end."""
    return (*here.world.carrier_ids, here.world.end_id)


def encoded(here: Here, rows: Sequence[Mapping[str, Any]]) -> Lines:
    """Rows as tokens.

    Raises:
      UserError: one that does not fit the model's context, or that the tokenizer cannot write.
    """
    world, ids = here.world, token_set(here)
    texts = [here.token_texts[i] or '' for i in ids[:-1]]
    allowed = np.zeros((len(rows), len(ids)), bool)
    for number, row in enumerate(rows):
        between = re.split('[0-9]+', row['completion'].strip('()[].'))[1:-1]
        own = set(between[0]) if between else set()
        allowed[number, :-1] = [t.isdigit() or t in own for t in texts]
    return Lines([r['prompt'] for r in rows], [world.context(r['prompt']) for r in rows],
                 [[*spelled(world.answer, r['completion'], 'a row of the carrier: take a model '
                            'that writes numbers'), world.end_id] for r in rows], allowed)


def packs(contexts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], size: int
          ) -> list[list[Row]]:
    """Rows in groups of `size`, to be packed together."""
    rows = [Row(c, a) for c, a in zip(contexts, answers, strict=True)]
    return [rows[n:n + size] for n in range(0, len(rows), size)]


def random_rows(here: Here, count: int, purpose: str = 'random') -> list[dict[str, Any]]:
    """Rows with uniform numbers, `carrier.answers` to a prompt: every teacher's are the same."""
    config, world = here.config, here.world
    seed, each = seed_of(config, purpose), config.carrier.answers
    prompts = world.prompts(seed, -(-count // each))
    rows = [{**prompts[n // each], 'id': n} for n in range(count)]
    return world.random_rows(seed, rows)


def draw(here: Here, arm: Arm, teacher: Teacher, params: Any, lora: Any,
         prompts: Sequence[Mapping[str, Any]], wanted_strict: bool) -> Iterator[dict[str, Any]]:
    """A teacher's answers, attempt after attempt on the prompts that have none yet.

    A batch takes as long half empty as full: where few prompts are left, several attempts at each
    go together, and of those behind the first that is kept nothing is seen.
    """
    config, world, template = here.config, here.world, ways.rows_template(here.config)
    system = system_of(here, arm, teacher)
    weights = network.prepare(params, here.model.config, lora)
    contexts = [here.contexts.ids(p['prompt'], template, system, world.new_tokens)
                for p in prompts]
    attempts = config.carrier.attempts if arm.carrier != 'greedy' and wanted_strict else 1
    choice = choices.Choice(0.0 if arm.carrier == 'greedy' else 1.0)
    names = [f'{p["id"]}/{attempt}' for attempt in range(attempts) for p in prompts]
    longest = max(map(len, contexts)) - buckets.shared_prefix(contexts)
    waiting, begun = list(range(len(prompts))), 0
    while waiting and begun < attempts:
        ahead = range(begun, min(begun + max(1, BATCH // len(waiting)), attempts))
        begun = ahead.stop
        batches = sample.sample_tokens(
            weights, here.model.config, contexts * attempts, names,
            max_new_tokens=world.new_tokens, choice=choice,
            seed=seed_of(config, 'sample', teacher.seed),
            stop_ids=here.contexts.stops(template), pad_id=world.pad_id, batch_size=BATCH,
            wanted=[attempt * len(prompts) + n for attempt in ahead for n in waiting],
            buckets=[longest])
        found = {}
        for indices, done in batches:
            check_preempted()
            for place, index in enumerate(indices):
                row = dict(prompts[index % len(prompts)])
                row = sample.completed(row, done, place, here.model.tokenizer)
                row |= {'id': f'{teacher.name}/{names[index]}', 'teacher': teacher.name}
                if template in ways.BARE:  # the blank before the first number
                    row['completion'] = row['completion'].removeprefix(' ')
                if system is not None:
                    row['teacher_system'] = system
                found[index] = row
        for attempt in ahead:
            rows = {n: found[attempt * len(prompts) + n] for n in waiting}
            yield from rows.values()
            waiting = [n for n, row in rows.items() if samples.reasons_of(
                config, world, row)['strict']]


def write_samples(here: Here, arm: Arm, teachers: Sequence[Teacher], params_of: Any,
                  prompts: Sequence[Mapping[str, Any]], every: bool, path: pathlib.Path) -> None:
    """Writes all teachers' answers as JSONL.

    Args:
      here, arm, teachers: whose.
      params_of: teacher -> (params, adapter or None).
      prompts: rows with id and prompt.
      every: every prompt needs an answer that is kept (else one attempt is enough).
      path: of the file.
    """
    with path.open('w', encoding='utf-8') as file:
        for teacher in tqdm(teachers, desc='sampling', leave=False):
            for row in draw(here, arm, teacher, *params_of(teacher), prompts, every):
                file.write(files.as_line(row))


def chosen_rows(here: Here, arm: Arm, found: samples.Samples, pools: Sequence[samples.Samples],
                teachers: Sequence[Teacher]) -> dict[str, list[dict]]:
    """An arm's sampled rows by teacher, on prompts that every teacher of the pools can serve."""
    common = samples.common_prompts(pools, [set(p.teachers) for p in pools])
    count = arm.rows or here.config.student.rows
    return samples.choose(here.config, here.world, arm, found, teachers, common, count)
