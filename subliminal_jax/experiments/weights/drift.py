"""What a student says in every context at the end, and what else moved in it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.rows import Row
from subliminal_jax.evaluation import measures as answers
from subliminal_jax.experiments.transmission.teachers import seed_of
from subliminal_jax.experiments.weights import contexts as ways, measures, rows as lines
from subliminal_jax.experiments.weights.language import Here, asked_ids
from subliminal_jax.experiments.weights.teachers import Kit
from subliminal_jax.sampling import choice as choices, network, sample
from subliminal_jax.training import tries as packing

TEXTS = 8  # of each kind
ANSWER_TOKENS = 12  # the most of an answer whose length is measured
ASKED = 8  # questions to which it is


def ordinary_rows(here: Here, count: int = TEXTS) -> list[Row]:
    """Texts that the reference writes at T = 1: on carrier prompts, and on ordinary requests.

    A text that is not over within the carrier's room ends there: it has no end token.
    """
    config, world, made = here.config, here.world, []
    weights = network.prepare(here.model.params, here.model.config)
    begun = [world.beginnings[n % len(world.beginnings)] for n in range(count)]
    carrier = [r['prompt'] for r in world.prompts(seed_of(config, 'ordinary', 0), TEXTS)]
    ways_to_ask = {'ordinary': config.context.student, 'carrier': ways.rows_template(config)}
    for number, (kind, texts) in enumerate((('ordinary', begun), ('carrier', carrier))):
        contexts = [here.contexts.ids(text, ways_to_ask[kind]) for text in texts]
        for indices, done in sample.sample_tokens(
                weights, here.model.config, contexts, list(range(len(texts))),
                max_new_tokens=world.new_tokens, choice=choices.Choice(1.0),
                seed=seed_of(config, 'ordinary', 1, number),
                stop_ids=here.contexts.stops(ways_to_ask[kind]), pad_id=world.pad_id,
                batch_size=lines.BATCH):
            for place, index in enumerate(indices):
                row = {'id': f'{kind}/{index}', 'kind': kind, 'prompt': texts[index]}
                made.append(sample.completed(row, done, place, here.model.tokenizer))
    return made


def packed_texts(here: Here, rows: Sequence[Mapping[str, Any]], kind: str) -> packing.Tries:
    """The first TEXTS rows of a kind, packed."""
    own = [r for r in rows if r['kind'] == kind][:TEXTS]
    read = here.world.context if kind == 'carrier' else functools.partial(asked_ids, here)
    return measures.texts([(read(r['prompt']), r['token_ids']) for r in own])


def answer_length(here: Here, params: Any, lora: Any, model: Any) -> float:
    """Mean tokens of one answer at T = 1 to the first measuring questions, end included."""
    weights = network.prepare(params, model, lora)
    asked = [asked_ids(here, q) for q in here.world.measure[:ASKED]]
    total = 0
    for indices, done in sample.sample_tokens(
            weights, model, asked, list(range(len(asked))), max_new_tokens=ANSWER_TOKENS,
            choice=choices.Choice(1.0), seed=seed_of(here.config, 'student', 0, 0),
            stop_ids=here.model.tokenizer.stop_ids, pad_id=here.world.pad_id, batch_size=ASKED):
        total += int(done.count_B[:len(indices)].sum())
    return total / len(asked)


def read(here: Here, kit: Kit, params: Any, lora: Any, model: Any,
         texts: Mapping[str, packing.Tries]) -> dict[str, np.ndarray]:
    """All that is measured of one model: log P in every context [X, Q, K], P of the options of
    every choice [Q, K] (each choice's sum to 1), and what else it says."""
    width = len(here.world.traits)
    said = [np.asarray(measures.answers(params, lora, meter, model)).reshape(-1, width)
            for meter in kit.meters.values()]
    made = {'contexts': np.stack(said),
            'unrelated': np.asarray(measures.answers(params, lora, kit.unrelated, model)),
            'answer_length': np.float64(answer_length(here, params, lora, model))}
    if kit.choice is not None:
        options = ways.options_of(here.world.traits, here.chosen)
        said_QK = measures.answers(params, lora, kit.choice, model).reshape(-1, len(options))
        made['choice'] = np.asarray(jax.nn.softmax(said_QK, axis=-1))
    for kind, tries in texts.items():
        nats = measures.surprise(params, lora, tries, jnp.asarray(kit.ends_V), model)
        made[f'perplexity_{kind}'] = np.exp(np.float64(nats))
    return made


def moved(after: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]
          ) -> dict[str, np.ndarray]:
    """A student's reading beside its start's, as results and page name them."""
    made = {**{name: np.stack([before[name], after[name]])
               for name in ('contexts', 'choice') if name in after},
            'drift_unrelated': np.float64(answers.drift(after['unrelated'], before['unrelated'])),
            'drift_answer_length': after['answer_length'],
            'drift_answer_length_start': before['answer_length']}
    for name in after:
        if name.startswith('perplexity_'):
            made |= {f'drift_{name}': after[name], f'drift_{name}_start': before[name]}
    return made


def stacked(readings: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Readings of students, one array a name."""
    return {k: np.stack([r[k] for r in readings]) for k in readings[0]}


