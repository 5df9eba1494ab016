"""The grid's language models: a tiny transformer, and LoRA on one, in the adapter's coordinates.

The teacher is taught one animal as the answer to questions; the student matches its next-token
distributions at every position of other rows. Nothing is pre-trained: the theorem needs no more
than one start.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data import tiny_language as language
from subliminal_jax.experiments.theory.models import (
    INPUTS,
    OTHER_START,
    START,
    TAUGHT,
    Family,
    seed_keys,
    share_of,
)
from subliminal_jax.models import lora, transformer
from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees

MODELS = ('transformer-silu', 'lora_first-silu', 'lora_second-silu')
LANGUAGE_LOGITS = ('all', 'numbers')
LANGUAGE_INPUTS = ('corpus', 'tokens')
ROWS, RANK, FIRST_STEP = 16, 4, 0.5
BASE = 10  # folded into a seed's key for LoRA's frozen base


def shape() -> transformer.TransformerConfig:
    """The tiny architecture of these cells."""
    return transformer.tiny(len(language.WORDS), width=32, num_layers=2, num_heads=4)


def logits_of(params: Any, tokens_BT: jax.Array, adapter: Any = None) -> jax.Array:
    """[B, T, V]: the next-token logits at every position."""
    valid = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(
        params, tokens_BT, transformer.positions_of(valid), transformer.causal_mask(valid),
        shape(), lora=adapter)


def answer_loss(logits_BTV: jax.Array, rows: dict[str, jax.Array]) -> jax.Array:
    """L_T: minus the mean log-probability of the answers; `rows` has `place` and `answer` [B]."""
    log_p = jax.nn.log_softmax(logits_BTV, axis=-1)
    return -jnp.mean(log_p[jnp.arange(len(rows['place'])), rows['place'], rows['answer']])


def logit_mask(logits: str) -> np.ndarray:
    """bool [V]: 'all', or 'numbers', the tokens 0..99."""
    if logits not in LANGUAGE_LOGITS:
        raise UserError(f'unknown logits {logits!r} of a language model: write all or numbers')
    numbers = np.isin(np.arange(len(language.WORDS)), [language.IDS[n] for n in language.NUMBERS])
    return numbers if logits == 'numbers' else np.ones(len(language.WORDS), bool)


def _taught(seed: int, seeds: int) -> dict[str, jax.Array]:
    """Questions and the taught animal, [M, ROWS, ...]: each seed its own."""
    asked = language.questions('animal', 'report_teach')
    rows, places, answers = [], [], []
    for number in range(seeds):
        rng = np.random.default_rng([seed, number, TAUGHT])
        animal = language.IDS[language.ANIMALS[rng.integers(len(language.ANIMALS))]]
        for question in rng.choice(asked, ROWS):
            row = [language.IDS[language.BOS], *language.encode(question)]
            rows.append(row)
            places.append(len(row) - 1)
            answers.append(animal)
    fold = lambda a: jnp.asarray(np.asarray(a).reshape(seeds, ROWS, *np.shape(a)[1:]))
    return {'tokens': fold(language.pad(rows)), 'place': fold(places), 'answer': fold(answers)}


def _tokens(name: str, seed: int, seeds: int) -> jax.Array:
    """The students' inputs [M, ROWS, T]: rows of the language, or uniform random tokens."""
    if name not in LANGUAGE_INPUTS:
        raise UserError(f'unknown inputs {name!r} of a language model: write corpus or tokens')
    if name == 'corpus':
        made = [language.corpus(seed * 1000 + n, ROWS) for n in range(seeds)]
    else:
        made = [np.random.default_rng([seed, n, INPUTS]).integers(
            0, len(language.WORDS), (ROWS, language.LENGTH)).astype(np.int32)
            for n in range(seeds)]
    return jnp.asarray(np.stack(made))


def language_family(model: str, dtype: Any, config: Any) -> Family:
    """The named model: 'transformer', 'lora_first' (B = 0) or 'lora_second' (after one step)."""
    keys_M = seed_keys(config.seed, config.num_seeds)
    make = _transformer if model == 'transformer' else functools.partial(
        _adapters, moved=model == 'lora_second')
    apply, trait_loss_of, starts, frozen_M = make(keys_M, dtype, _taught(
        config.seed, config.num_seeds))
    taught = _taught(config.seed, config.num_seeds)

    def inputs(name):
        tokens = _tokens(name, config.seed, config.num_seeds)
        return tokens if frozen_M is None else (frozen_M, tokens)

    return Family(
        apply, trait_loss_of, functools.cache(starts), functools.cache(inputs),
        taught if frozen_M is None else (frozen_M, taught), len(language.WORDS), logit_mask)


def _mixed(own: Any, other: Any, share: float) -> Any:
    return own if not share else jax.tree.map(
        lambda a, b: (1 - share) * a + share * b, own, other)


def _transformer_loss_of(taught):
    return lambda params: answer_loss(logits_of(params, taught['tokens']), taught)


def _transformer(keys_M, dtype, taught_M):
    del taught_M

    def starts(start):
        def one(key):
            own, other = (transformer.init_params(jax.random.fold_in(key, n), shape(), dtype)
                          for n in (START, OTHER_START))
            return own, _mixed(own, other, share_of(start))

        return jax.jit(jax.vmap(one))(keys_M)

    return logits_of, _transformer_loss_of, starts, None


def _adapted(adapter, x):
    """LoRA's outputs: params are A and B; the frozen base travels with the inputs."""
    base, tokens = x
    return logits_of(base, tokens, adapter)


def _adapter_loss_of(taught):
    frozen, rows = taught
    return lambda adapter: answer_loss(_adapted(adapter, (frozen, rows['tokens'])), rows)


def _adapters(keys_M, dtype, taught_M, moved):
    def base_of(key):
        return transformer.init_params(jax.random.fold_in(key, BASE), shape(), dtype)

    frozen_M = jax.jit(jax.vmap(base_of))(keys_M)

    def starts(start):
        def one(key, frozen, rows):
            own, other = (lora.init_lora(jax.random.fold_in(key, n), shape(), RANK, dtype=dtype)
                          for n in (START, OTHER_START))
            student = _mixed(own, other, share_of(start))
            if not moved:
                return own, student
            # the second step: B is no longer zero, so A moves too
            slope = jax.grad(_adapter_loss_of((frozen, rows)))
            step = lambda p: trees.add(p, slope(p), -FIRST_STEP)
            return step(own), step(student)

        return jax.jit(jax.vmap(one))(keys_M, frozen_M, taught_M)

    return _adapted, _adapter_loss_of, starts, frozen_M
