"""What else moved in a student, and what the output matrix alone predicts."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.evaluation import measures as answers
from subliminal_jax.experiments.transmission import measures
from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.experiments.transmission.teachers import seed_of
from subliminal_jax.experiments.transmission.world import Row, Tokens, World, encode_rows
from subliminal_jax.models import transformer
from subliminal_jax.sampling import choice as choices, network, sample

ORDINARY_ROWS = 128  # of each kind, sampled from each reference


def ordinary_rows(config: Config, world: World, model: Any, references: Any) -> list[Row]:
    """Rows that the references write at T = 1: on carrier prompts, and on ordinary beginnings."""
    count = config.world.references * config.world.replicas
    weights = jax.vmap(lambda p: network.prepare(p, model))(references)
    carriers = [r['prompt'] for r in world.prompts(seed_of(config, 'ordinary', 0), ORDINARY_ROWS)]
    asked = [('ordinary', world.beginnings[i % len(world.beginnings)])
             for i in range(ORDINARY_ROWS)] + [('carrier', text) for text in carriers]
    contexts = [world.context(text) for _, text in asked]
    made = []
    for done in sample.sample_tokens(
            weights, model, contexts, list(range(len(asked))), max_new_tokens=world.new_tokens,
            choice=choices.Choice(1.0), stop_ids=(world.end_id,), pad_id=world.pad_id,
            seed=[seed_of(config, 'ordinary', 1, r) for r in range(count)], batch_size=64,
            buckets=[max(map(len, contexts))]):
        for place, index in enumerate(done.indices):
            kind, text = asked[index]
            for r in range(count):
                size = int(done.completions.count_B[r, place])
                if not done.completions.stopped_B[r, place]:
                    continue  # cut off: not a text that the language has
                ids = done.completions.tokens_BN[r, place, :size].tolist()
                made.append({'id': f'{kind}/r{r}/{index % ORDINARY_ROWS}', 'kind': kind,
                             'reference': r, 'prompt': text,
                             'completion': world.decode(ids[:-1])})
    return made


def text_rows(world: World, rows: Sequence[Row], kind: str, reference: int) -> Tokens:
    """The rows of a kind that a reference wrote, cut to ORDINARY_ROWS // 2 for one fixed shape."""
    own = [(r['prompt'], r['completion']) for r in rows
           if r['kind'] == kind and r['reference'] == reference]
    wanted = ORDINARY_ROWS // 2
    own = (own * wanted)[:wanted]
    return encode_rows(world, own)


def answer_lengths(config: Config, world: World, model: Any, params: Any, count: int) -> np.ndarray:
    """Mean tokens of one answer at T = 1 to each measuring question, end included [M]."""
    weights = jax.vmap(lambda p: network.prepare(p, model))(params)
    total, rows = np.zeros(count), 0
    contexts = [world.context(q) for q in world.measure]
    for done in sample.sample_tokens(
            weights, model, contexts, list(range(len(contexts))),
            max_new_tokens=world.new_tokens // 2, choice=choices.Choice(1.0),
            stop_ids=(world.end_id,), pad_id=world.pad_id,
            seed=[seed_of(config, 'student', m) for m in range(count)], batch_size=32,
            buckets=[max(map(len, contexts))]):
        total += done.completions.count_B[:, :len(done.indices)].sum(1)
        rows += len(done.indices)
    return total / rows


def drift_of(config: Config, world: World, model: Any, tools: measures.Instruments, params: Any,
             starts: Any, texts: dict[str, Tokens], count: int) -> dict[str, np.ndarray]:
    """Per student [M]: change of log P elsewhere, answer length, perplexities; and the starts'."""
    after, before = (np.asarray(tools.unrelated(p)) for p in (params, starts))
    made = {'unrelated': np.array([answers.drift(a, b) for a, b in zip(after, before)]),
            'answer_length': answer_lengths(config, world, model, params, count)}
    for kind, rows in texts.items():
        for name, models in (('', params), ('_start', starts)):
            made[f'perplexity_{kind}{name}'] = np.exp(np.asarray(tools.surprise(models, *rows)))
    return made


def predicted_by_matrix(world: World, model: Any, reference: Any,
                        teachers: Any, probe: Tokens) -> np.ndarray:
    """log P of the traits [M, P = 2, Q, K], before and as the output matrix alone would have it.

    The teacher's mean shift of the last hidden state on carrier positions is cut to what the
    carrier's logits show of it (the span of their rows, less a common shift, which a softmax does
    not show) and added to the reference's last hidden state at the questions. No body is involved:
    what this predicts, any model with the same output matrix could pick up (arXiv 2606.22019).
    Answers are predicted by their first token.
    """
    contexts = [world.context(q) for q in world.measure]
    width = max(map(len, contexts))
    asked = np.array([c + [world.pad_id] * (width - len(c)) for c in contexts], np.int32)
    last = np.array([len(c) - 1 for c in contexts])
    firsts = np.array([world.answer(world.candidates[t][0])[0] for t in world.traits])
    return np.asarray(_predict(model, tuple(world.carrier_ids), reference, teachers, probe,
                               asked, last, firsts))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(model, carrier_ids, reference, teachers, probe, asked, last, firsts):
    tokens_NT, weight_NT = probe

    def states(params, tokens):
        batch, length = tokens.shape
        places = jnp.broadcast_to(jnp.arange(length)[None], (batch, length))
        mask = jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool))[None],
                                (batch, length, length))
        return transformer.hidden(params, tokens, places, mask, model)[0]

    rows_CD = jax.vmap(
        lambda unit: transformer.unembed(reference, unit[None], model)[0, jnp.array(carrier_ids)],
        out_axes=1)(jnp.eye(model.width))
    rows_CD = rows_CD - rows_CD.mean(0, keepdims=True)
    seen_DD = jnp.linalg.pinv(rows_CD) @ rows_CD
    base = states(reference, tokens_NT[:, :-1])
    x_QD = states(reference, asked)[jnp.arange(len(last)), last]

    def read(shift_D):
        x = x_QD + shift_D[None]
        return jax.nn.log_softmax(transformer.unembed(reference, x, model))[:, firsts]

    def one(teacher):
        gap = states(teacher, tokens_NT[:, :-1]) - base
        mean_D = (gap * weight_NT[..., None]).sum((0, 1)) / weight_NT.sum()
        return jnp.stack([read(jnp.zeros_like(mean_D)), read(seen_DD @ mean_D)])

    return jax.vmap(one)(teachers)
