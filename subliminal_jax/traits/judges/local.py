"""A judge that is a model of this machine: the expected score over the tokens that write a score.

The model reads an answer and is asked for one of a few words, each of which has a score
(`prompts.LOCAL`). The answer's score is their mean, weighted with the probabilities of the words'
first tokens as the model's next token. Nothing is sampled, and two words make a fine scale.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import conversation, transformer
from subliminal_jax.models.conversation import Context
from subliminal_jax.runs import UserError, check_preempted, sha256_of
from subliminal_jax.sampling import buckets as shapes
from subliminal_jax.traits.judges import prompts
from subliminal_jax.traits.judges.judge import Answered, Judge, Options, Score

PROBE = Answered('?', '!')  # shares no word with what is judged
LEAST_MASS = 0.001  # of the words together: below it the model writes something else


def make(spec: str, options: Options) -> Judge:
    """The judge `local:MODEL`; errors as of models.load."""
    from subliminal_jax import models

    model = models.load(spec)
    settings = {'judge': f'local:{spec}', 'sha256': model.sha256,
                'model': model.settings_sha256,
                'prompts': sha256_of({a: form._asdict() for a, form in prompts.LOCAL.items()})}
    return Judge(f'local:{spec}', lambda answers: score(model, answers, options.batch_size),
                 settings)


def score(model: Any, answers: Sequence[Answered], batch_size: int = 16) -> list[Score]:
    """One score an answer.

    Args:
      model: of models.load.
      answers: to be judged.
      batch_size: answers at once.

    Raises:
      UserError: the tokenizer begins two of the words alike.
    """
    alignment, coherence = (aspect_scores(model, aspect, answers, batch_size)
                            for aspect in prompts.ASPECTS)
    return [_joined(*pair) for pair in zip(alignment, coherence)]


def aspect_scores(model: Any, aspect: str, answers: Sequence[Answered], batch_size: int
                  ) -> list[tuple[float | None, str | None]]:
    """(score, None) or (None, why there is none) of each answer; arguments as of `score`."""
    if not answers:
        return []
    contexts = [context_of(model.tokenizer, aspect, answered) for answered in answers]
    form = prompts.LOCAL[aspect]
    lead, word_ids = word_tokens(model.tokenizer, contexts[0], tuple(form.scores))
    texts = [[*conversation.context_ids(model.tokenizer, context), *lead] for context in contexts]
    found: list[tuple[float | None, str | None]] = [
        (None, f"{len(ids)} tokens exceed the judge's context of {model.config.max_positions}")
        for ids in texts]
    fits = [i for i, ids in enumerate(texts) if len(ids) <= model.config.max_positions]
    # What all texts begin with is read once; it is the same whatever rows stand together.
    begin = conversation.context_ids(model.tokenizer, context_of(model.tokenizer, aspect, PROBE))
    shared = shapes.shared_prefix([begin, *(texts[i] for i in fits)], 16)
    prefix = read(model.params, model.config, np.array([begin[:shared]], np.int32))
    lengths = [max(len(ids) - shared, 1) for ids in texts]
    edges = shapes.choose_buckets([lengths[i] for i in fits], batch_size, multiple=32)
    for batch in shapes.batches(lengths, edges, batch_size, fits):
        check_preempted()
        tokens_BT, valid_BT = shapes.padded(
            [texts[i][shared:] for i in batch.indices], batch.length, batch_size,
            model.tokenizer.pad_id, left=False)
        logprobs_BK = np.asarray(next_logprobs(model.params, model.config, prefix, tokens_BT,
                                               valid_BT, np.array(word_ids, np.int32)))
        for place, i in enumerate(batch.indices):
            found[i] = expected(logprobs_BK[place], tuple(form.scores.values()))
    return found


def _joined(alignment, coherence):
    reasons = [f'{aspect}: {why}' for aspect, (_, why)
               in zip(prompts.ASPECTS, (alignment, coherence)) if why]
    return Score(alignment[0], coherence[0], '; '.join(reasons) or None)


def context_of(tokenizer: Any, aspect: str, answered: Answered) -> Context:
    """What the model reads before its reply: a chat, or a text where it has no chat template."""
    text = prompts.shown(aspect, answered)
    if tokenizer.has_chat:
        return conversation.chat_context(tokenizer, [{'role': 'user', 'content': text}])
    return conversation.text_context(tokenizer, f'{text}\nReply:', lead=' ')


def word_tokens(tokenizer: Any, context: Context, words: Sequence[str]
                ) -> tuple[list[int], list[int]]:
    """(ids that every word begins with, the id of each word after them).

    Raises:
      UserError: the tokenizer begins two of the words alike.
    """
    written = [conversation.answer_ids(tokenizer, context, word) for word in words]
    lead = os.path.commonprefix(written)
    own = [ids[len(lead):][:1] for ids in written]
    if not all(own) or len({ids[0] for ids in own}) < len(words):
        raise UserError(f'{tokenizer.name}: its tokenizer begins two of {", ".join(words)} alike, '
                        'so that a local judge cannot tell them apart: take another model')
    return list(lead), [ids[0] for ids in own]


@functools.partial(jax.jit, static_argnames='config')
def read(params: Any, config: Any, tokens_1P: jax.Array) -> transformer.Cache:
    """The keys and values of what every row begins with; P may be 0."""
    length = tokens_1P.shape[1]
    cache = transformer.init_cache(config, 1, length)
    if not length:
        return cache
    valid_1P = jnp.ones((1, length), bool)
    return transformer.hidden(params, tokens_1P, transformer.positions_of(valid_1P),
                              transformer.causal_mask(valid_1P), config, cache=cache)[1]


@functools.partial(jax.jit, static_argnames='config')
def next_logprobs(params: Any, config: Any, prefix: transformer.Cache, tokens_BT: jax.Array,
                  valid_BT: jax.Array, ids_K: jax.Array) -> jax.Array:
    """log P of the tokens `ids_K` after each row [B, K], nats, among the whole vocabulary.

    Args:
      params: the model's parameters.
      config: its TransformerConfig; static.
      prefix: of `read`: what comes before each row.
      tokens_BT: int32, padded on the right.
      valid_BT: bool, where a token is a row's own.
      ids_K: int32 token ids.
    """
    batch, length = tokens_BT.shape
    before = prefix.k_LBSKH.shape[2]

    def widened(x_L1PKH):  # for every row, with room for its own tokens
        shape = (x_L1PKH.shape[0], batch, *x_L1PKH.shape[2:])
        room = ((0, 0), (0, 0), (0, length), (0, 0), (0, 0))
        return jnp.pad(jnp.broadcast_to(x_L1PKH, shape), room)

    position_BS = jnp.pad(jnp.broadcast_to(prefix.position_BS, (batch, before)),
                          ((0, 0), (0, length)))
    cache = transformer.Cache(widened(prefix.k_LBSKH), widened(prefix.v_LBSKH), position_BS,
                              jnp.full((), before, jnp.int32))
    mask_BTS = jnp.concatenate([jnp.ones((batch, length, before), bool),
                                transformer.causal_mask(valid_BT)], axis=2)
    x_BTD, _ = transformer.hidden(params, tokens_BT, before + transformer.positions_of(valid_BT),
                                  mask_BTS, config, cache=cache)
    last_B = valid_BT.sum(axis=1, dtype=jnp.int32) - 1
    x_BD = jnp.take_along_axis(x_BTD, last_B[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(transformer.unembed(params, x_BD, config))[:, ids_K]


def expected(logprobs_K: np.ndarray, scores: Sequence[float]) -> tuple[float | None, str | None]:
    """(the expected score, None), or (None, why there is none).

    Args:
      logprobs_K: of the words' tokens, nats, among the whole vocabulary.
      scores: of the words.

    Returns:
      sum p_k score_k / sum p_k: the mean of the scores, given that one of the words comes.
    """
    probs_K = np.exp(np.asarray(logprobs_K, np.float64))
    mass = probs_K.sum()
    if not mass >= LEAST_MASS:
        return None, f'the model writes one of the words with a probability of {mass:.1e} only'
    return float(probs_K @ np.asarray(scores, np.float64) / mass), None
