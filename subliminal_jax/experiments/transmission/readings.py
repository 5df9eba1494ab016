"""What students say at the end: their trait in every context, and what else moved in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.data.rows import Row
from subliminal_jax.evaluation import measures
from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.sampling import sample
from subliminal_jax.training.tries import Tries
from subliminal_jax.traits import answers

ANSWER_TOKENS = 12  # the most of an answer whose length is measured
ASKED = 8  # questions to which it is
BATCH = 32  # answers that are drawn at once
NOTHING = -1  # where an answer has no token

FREE = 'free'
READING = 'reading_'  # what the names of a trait's own readings begin with

Reading = dict[str, np.ndarray]


def ordinary_rows(run: Any, architecture: str) -> list[Row]:
    """Texts that the references write at T = 1: on carrier prompts, and on ordinary requests.

    A text that is not over within the carrier's room ends there: it has no end token.
    """
    world, config = run.world, run.config
    everyone = list(range(run.world.num_references))
    groups = [everyone] if run.together else [[r] for r in everyone]
    count = world.texts
    begun = [world.beginnings[n % len(world.beginnings)] for n in range(_written(run))]
    carrier = [r['prompt'] for r in run.carrier().prompts(
        seed_of(config, 'ordinary', 0), range(count))]
    asked = {'ordinary': ([world.asked(t, world.lesson_context, 0, None) for t in begun], begun,
                          world.stops),
             'carrier': ([world.rows_context(t, None) for t in carrier], carrier, world.row_stops)}
    rows = []
    for group in groups:
        models = references(run, architecture, group)
        for number, (kind, (contexts, prompts, stops)) in enumerate(asked.items()):
            for indices, done in engines.sampled(
                    models, contexts, list(range(len(contexts))),
                    [seed_of(config, 'ordinary', 1, r, number) for r in group],
                    max_new_tokens=world.new_tokens, stops=stops, pad_id=world.pad_id,
                    batch_size=64 if run.together else 32):
                for place, index in enumerate(indices):
                    for m, r in enumerate(group):
                        size = int(done.count_B[m, place])
                        ids = done.tokens_BN[m, place, :size].tolist()
                        rows.append({
                            'id': f'{kind}/r{r}/{index}', 'kind': kind, 'reference': r,
                            'prompt': prompts[index], 'completion': world.decode(ids),
                            'token_ids': ids,
                            'logprobs': sample.plain(done.logprobs_BN[m, place, :size])})
    return rows


def _written(run):
    moving = run.world.moving_texts if any(a.start.startswith('moved') for a in run.arms) else 0
    return run.world.texts + moving


def references(run: Any, architecture: str, group: Sequence[int]) -> Models:
    """The references of these numbers as models: side by side where they are small, else one."""
    config = run.world.architectures[architecture]
    chosen = [run.references[architecture][r] for r in group]
    if not run.together:
        return engines.single(chosen[0], config)
    return Models(engines.stack(chosen), {'base': {}}, config, len(group), True)


def measured_texts(run: Any, rows: Sequence[Row], reference: int) -> dict[str, Tries]:
    """The texts of a reference on which perplexity is measured, packed, by kind."""
    world = run.world
    read = {'ordinary': lambda text: world.asked(text, world.lesson_context, 0, None),
            'carrier': lambda text: world.rows_context(text, None)}

    def packed(kind):
        mine = [r for r in rows if r['kind'] == kind and r['reference'] == reference]
        return answers.texts([(read[kind](r['prompt']), r['token_ids'])
                              for r in mine[:world.texts]])

    return {kind: packed(kind) for kind in ('carrier', 'ordinary')}


def moving_texts(run: Any, rows: Sequence[Row]) -> list[Row]:
    """The ordinary texts that a start is trained on: none of those that drift is measured on."""
    return [r for r in rows if r['kind'] == 'ordinary'][run.world.texts:]


def answer_length(run: Any, models: Models) -> np.ndarray:
    """Mean tokens of one answer at T = 1 to the first measuring questions, end included [M]."""
    said_MNT = answered(run, models, run.world.questions[:ASKED], ANSWER_TOKENS, 0)
    return (said_MNT >= 0).sum(-1).mean(1)


def free_answers(run: Any, models: Models) -> np.ndarray:
    """What models answer freely at T = 1 to the measuring questions, each `student.free_answers`
    times in a row: token ids [M, N, T], NOTHING behind the last."""
    settings = run.config.student
    asked = [q for q in run.world.questions for _ in range(settings.free_answers)]
    return answered(run, models, asked, settings.free_tokens, 1)


def answered(run: Any, models: Models, questions: Sequence[str], most: int, purpose: int
             ) -> np.ndarray:
    """Answers at T = 1, in the lessons' context, of at most so many tokens, as `free_answers`."""
    world = run.world
    asked = [world.asked(q, world.lesson_context, 0, None) for q in questions]
    found = np.full((models.count, len(asked), most), NOTHING, np.int32)
    parts = [models] if run.together else [models.member(m) for m in range(models.count)]
    for number, part in enumerate(parts):
        mine = found if run.together else found[number:number + 1]
        seeds = [seed_of(run.config, 'student', 0, purpose)] * part.count
        for indices, done in engines.sampled(
                part, asked, list(range(len(asked))), seeds, max_new_tokens=most,
                stops=world.stops, pad_id=world.pad_id, batch_size=min(len(asked), BATCH)):
            said_MBT = np.asarray(done.tokens_BN)[:, :len(indices)]
            live_MBT = np.arange(most) < np.asarray(done.count_B)[:, :len(indices), None]
            mine[:, indices] = np.where(live_MBT, said_MBT, NOTHING)
    return found


def read(run: Any, models: Models, texts: Mapping[str, Tries]) -> Reading:
    """All that is measured of models at the end, models in front.

    Returns:
      contexts [M, X, K] the trait's measure in every context, items [M, X, Q, K] where the trait
      has them, choice [M, Q, O] the probabilities of every choice's options, unrelated [M, C],
      answer_length [M], perplexity_KIND [M], the trait's own reading_NAME [M] or [M, T], and, where
      `student.free_answers` asks for them, free [M, N, T] (`free_answers`).
    """
    trait, kit = run.trait, run.kit
    if trait.items is not None:
        items = [trait.items(run, models, meter) for meter in kit.meters.values()]
        found = {'items': np.stack(items, 1), 'contexts': np.stack([x.mean(1) for x in items], 1)}
    else:
        found = {'contexts': np.stack([trait.measure(run, models, meter)
                                       for meter in kit.meters.values()], 1)}
    found |= {f'{READING}{name}': np.asarray(value, np.float64)
              for name, value in trait.readings(run, models).items()}
    found['unrelated'] = np.asarray(engines.read(
        models, run.together, answers.cells, kit.unrelated))
    found['answer_length'] = answer_length(run, models)
    if run.config.student.free_answers:
        found[FREE] = free_answers(run, models)
    if kit.choice is not None:
        said = engines.read(models, run.together, answers.cells, kit.choice)
        said = np.asarray(said).reshape(models.count, -1, len(kit.options))
        found['choice'] = np.asarray(jax.nn.softmax(said, axis=-1))
    for kind, tries in texts.items():
        nats = engines.read(models, run.together, answers.surprise, tries,
                            np.asarray(run.world.ends_V))
        found[f'perplexity_{kind}'] = np.exp(np.asarray(nats, np.float64))
    return found


def moved(after: Reading, before: Reading) -> Reading:
    """Students' readings [M, ...] beside their start's [1, ...], as results and page name them."""
    count = len(after['answer_length'])
    start = {name: np.repeat(value, count, axis=0) for name, value in before.items()}
    both = {name: np.stack([start[name], after[name]], 1) for name in after
            if name in ('contexts', 'items', 'choice', FREE) or name.startswith(READING)}
    drift = {'drift_unrelated': np.array([measures.drift(a, b) for a, b in zip(
        after['unrelated'], start['unrelated'])])}
    for name in after:
        if name.startswith('perplexity_') or name == 'answer_length':
            drift |= {f'drift_{name}': after[name], f'drift_{name}_start': start[name]}
    return {**both, **drift}


