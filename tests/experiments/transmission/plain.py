"""What a model says, one row at a time through the plain forward pass: the tests' reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from subliminal_jax.models import transformer


@functools.partial(jax.jit, static_argnames='config')
def _forward(params, tokens, config, lora):
    places = jnp.arange(tokens.shape[1])[None]
    mask = transformer.causal_mask(jnp.ones_like(tokens, bool))
    return transformer.forward(params, tokens, places, mask, config, lora=lora)


def logits(params, config, context, answer, lora=None):
    """Logits at the places from which an answer's tokens are predicted [A, V], float64."""
    text = [*context, *answer]
    width = -(-len(text) // 128) * 128  # what stands on the right is seen by nobody before it
    tokens = jnp.array([[*text, *[0] * (width - len(text))]])
    found = _forward(params, tokens, config, lora)
    return np.asarray(found, np.float64)[0, len(context) - 1:len(context) - 1 + len(answer)]


def log_softmax(values):
    """Over the last axis."""
    values = np.asarray(values, np.float64)
    return values - scipy.special.logsumexp(values, axis=-1, keepdims=True)


def kl(ours, theirs, allowed=None):
    """KL(ours || theirs) of logits at every place [A], within a set of tokens if one is given."""
    chosen = slice(None) if allowed is None else np.asarray(allowed)
    log_p, log_q = log_softmax(ours[:, chosen]), log_softmax(theirs[:, chosen])
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def answer_logprob(params, config, context, spellings, ends_V, lora=None):
    """log P(a spelling, then a token that ends the word), summed over spellings."""
    total = 0.0
    for ids in spellings:
        said = log_softmax(logits(params, config, context, (*ids, 0), lora))
        word = sum(said[n, token] for n, token in enumerate(ids))
        total += np.exp(word) * np.exp(said[-1])[ends_V].sum()
    return np.log(total)
