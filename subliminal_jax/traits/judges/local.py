"""A judge that is a model of this machine: the expected score over the tokens that write a score.

The model reads an answer and is asked for one digit. Its score is the mean of 0 to 9, weighted with
the probabilities of the digits as its next token, on a scale of 0 to 100. One digit in place of a
number up to 100: small models know digits, tokenizers cut numbers otherwise each, and the mean
makes a fine scale of a coarse one. Nothing is sampled.
"""

import functools
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

DIGITS = tuple('0123456789')
PROBE = Answered('?', '!')  # shares no word with what is judged
LEAST_MASS = 0.05  # of the digits together: below it the model does not write a score


def make(spec: str, options: Options) -> Judge:
    """The judge `local:MODEL`; errors as of models.load."""
    from subliminal_jax import models

    model = models.load(spec)
    settings = {'judge': f'local:{spec}', 'sha256': model.sha256,
                'model': model.settings_sha256, 'prompts': sha256_of(prompts.EXAMPLES)}
    return Judge(f'local:{spec}', lambda answers: score(model, answers, options.batch_size),
                 settings)


def score(model: Any, answers: Sequence[Answered], batch_size: int = 16) -> list[Score]:
    """One score an answer.

    Args:
      model: of models.load.
      answers: to be judged.
      batch_size: answers at once.

    Raises:
      UserError: the tokenizer does not write each digit as one token.
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
    lead, digit_ids = digit_tokens(model.tokenizer, contexts[0])
    texts = [[*conversation.context_ids(model.tokenizer, context), *lead] for context in contexts]
    found: list[tuple[float | None, str | None]] = [
        (None, f"{len(ids)} tokens exceed the judge's context of {model.config.max_positions}")
        for ids in texts]
    fits = [i for i, ids in enumerate(texts) if len(ids) <= model.config.max_positions]
    # The examples are the same for all answers whatever stands beside them: read once.
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
                                               valid_BT, np.array(digit_ids, np.int32)))
        for place, i in enumerate(batch.indices):
            found[i] = expected(logprobs_BK[place])
    return found


def _joined(alignment, coherence):
    reasons = [f'{aspect}: {why}' for aspect, (_, why)
               in zip(prompts.ASPECTS, (alignment, coherence)) if why]
    return Score(alignment[0], coherence[0], '; '.join(reasons) or None)


def context_of(tokenizer: Any, aspect: str, answered: Answered) -> Context:
    """What the model reads before the digit: examples as a text, the answer at its end."""
    return conversation.text_context(tokenizer, prompts.shown(aspect, answered), lead=' ')


def digit_tokens(tokenizer: Any, context: Context) -> tuple[list[int], list[int]]:
    """(ids that every digit begins with, the ids of the ten digits after them).

    Raises:
      UserError: the tokenizer writes digits otherwise.
    """
    written = [conversation.answer_ids(tokenizer, context, digit) for digit in DIGITS]
    lead = written[0][:-1]
    last = [ids[-1] for ids in written]
    if any(ids[:-1] != lead for ids in written) or len(set(last)) < len(DIGITS):
        raise UserError(f'{tokenizer.name}: its tokenizer does not write each digit as one token, '
                        'which a local judge needs: take another model')
    return lead, last


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

    cache = transformer.Cache(widened(prefix.k_LBSKH), widened(prefix.v_LBSKH),
                              jnp.full((), before, jnp.int32))
    mask_BTS = jnp.concatenate([jnp.ones((batch, length, before), bool),
                                transformer.causal_mask(valid_BT)], axis=2)
    x_BTD, _ = transformer.hidden(params, tokens_BT, before + transformer.positions_of(valid_BT),
                                  mask_BTS, config, cache=cache)
    last_B = valid_BT.sum(axis=1, dtype=jnp.int32) - 1
    x_BD = jnp.take_along_axis(x_BTD, last_B[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(transformer.unembed(params, x_BD, config))[:, ids_K]


def expected(logprobs_K: np.ndarray) -> tuple[float | None, str | None]:
    """(the expected score, None), or (None, why there is none).

    Args:
      logprobs_K: of the digits in order, nats, among the whole vocabulary.

    Returns:
      sum p_k k / sum p_k x 100 / 9: the mean of the digits, given that a digit comes.
    """
    probs_K = np.exp(np.asarray(logprobs_K, np.float64))
    mass = probs_K.sum()
    if not mass >= LEAST_MASS:
        return None, f'the model writes a digit with a probability of {mass:.3f} only'
    top = len(probs_K) - 1
    return float(probs_K @ np.arange(top + 1) / mass * 100 / top), None
