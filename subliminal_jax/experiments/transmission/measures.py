"""What is measured of stacked models, compiled once a world and head: traits, drift, dose."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.evaluation import measures
from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.transmission.world import Tokens, World, encode_rows


class Meter(NamedTuple):
    """Rows to score, as constants of the compiled measures.

    Attributes:
      model: TransformerConfig.
      traits: answer rows of the measuring questions with the traits' spellings.
      candidates: the same with every candidate.
      unrelated: a row of each unrelated question with each of its answers.
      ends_V: bool, tokens that end an answer.
    """

    model: Any
    traits: measures.AnswerRows
    candidates: measures.AnswerRows
    unrelated: measures.AnswerRows
    ends_V: np.ndarray


def meter(world: World, head: str) -> Meter:
    """The meter of a world.

    Raises:
      UserError: a trait that the tokenizer cannot write.
    """
    contexts = [world.context(q) for q in world.measure]

    def rows(spellings: Mapping[str, Sequence[str]]):
        return measures.answer_rows(
            contexts, measures.encoded_spellings(spellings, world.answer), world.pad_id,
            world.length)

    unrelated = [(world.context(question), world.answer(answer))
                 for question, answers in world.unrelated for answer in answers]
    ends = np.zeros(len(world.vocabulary), bool)
    ends[world.end_id] = True
    return Meter(
        world.models[head], rows({t: world.candidates[t] for t in world.traits}),
        rows(world.candidates),
        measures.paired_rows(unrelated, world.pad_id, world.length), ends)


def score(model: Any, params: Any) -> measures.Score:
    """A `measures.Score` of one model."""
    return measures.gather_score(lambda tokens_BT: networks.logits(model, params, tokens_BT))


def trait_logprob(made: Meter, params: Any) -> jax.Array:
    """log P of every trait's answer to every measuring question [Q, K] of one model."""
    return measures.answer_logprob(score(made.model, params), made.traits, made.ends_V)


class Instruments(NamedTuple):
    """The compiled measures of stacked models; see `instruments`."""

    traits: Any
    candidates: Any
    unrelated: Any
    dose: Any
    surprise: Any


def instruments(made: Meter, trait_ids: Sequence[int]) -> Instruments:
    """Compiles the measures.

    Returns:
      Functions of stacked models: traits(params_M) -> [M, Q, K]; candidates(params_M) ->
      [M, Q, C]; unrelated(params_M) -> [M, answers]; dose(params_M, reference, tokens, weight) ->
      (KL from the reference on carrier positions [M], mass of trait words there [M]);
      surprise(params_M, tokens, weight) -> mean -log P of weighted tokens [M].
    """
    size = len(made.ends_V)
    trait_V = np.zeros(size, bool)
    trait_V[list(trait_ids)] = True

    def unrelated(params):
        return measures.answer_logprob(
            score(made.model, params), made.unrelated, made.ends_V).reshape(-1)

    def dose(params, reference, tokens_NT, weight_NT):
        places = jnp.broadcast_to(jnp.arange(weight_NT.shape[1])[None], weight_NT.shape)
        own, base = (score(made.model, p)(tokens_NT[:, :-1], places) for p in (params, reference))
        return (measures.kl(own, base, weight_NT),
                measures.token_mass(own, jnp.asarray(trait_V), weight_NT))

    def surprise(params, tokens_NT, weight_NT):
        log_p = jax.nn.log_softmax(networks.logits(made.model, params, tokens_NT[:, :-1]))
        said = jnp.take_along_axis(log_p, tokens_NT[:, 1:, None], axis=-1)[..., 0]
        return -(said * weight_NT).sum() / weight_NT.sum()

    candidates = lambda params: measures.answer_logprob(
        score(made.model, params), made.candidates, made.ends_V)
    over = lambda function, axes: jax.jit(jax.vmap(function, in_axes=axes))
    return Instruments(
        over(functools.partial(trait_logprob, made), 0), over(candidates, 0), over(unrelated, 0),
        over(dose, (0, None, None, None)), over(surprise, (0, None, None)))


def probe_rows(world: World, seed: int, count: int) -> Tokens:
    """Carrier rows that no model has written, to measure doses on: random numbers."""
    rows = world.random_rows(seed, world.prompts(seed, count))
    return encode_rows(world, [(row['prompt'], row['completion']) for row in rows])
