"""A world: where an experiment happens. The pipeline knows nothing else of models and texts.

Only a world's maker (worlds/) knows whether its models were pre-trained a minute ago or downloaded.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from subliminal_jax.carriers.carrier import Carrier
from subliminal_jax.experiments.transmission.engines import Engine
from subliminal_jax.runs import UserError
from subliminal_jax.traits.trait_set import TraitSet

Params = Any


class World(NamedTuple):
    """What an experiment needs to know of models and texts.

    Attributes:
      name: of the world.
      sha256: of the weights; '' where they follow from the seed.
      inputs: what was read from outside of the run, with its SHA-256.
      architectures: TransformerConfig by name; 'main' first.
      num_references: how many references there are, replicas among them.
      replicas: groups of teachers that a reference serves under as many numbers.
      engine: what is trained ('all', parts, lora:RANK) -> how many models are held at once.
      references: (run, architecture) -> parameters of every reference, in order; a stage.
      reference_inputs: (architecture) -> the artefacts that they are read from.
      reference_facts: (run, architecture, its texts) -> what the reference is beside the model it
        was made of; a stage; or None where it is no prepared one.
      moved: (run, architecture, steps) -> the references trained further; a stage; or None.
      redrawn: (run, architecture, parts) -> references with these parts kept and all others
        trained anew; a stage; or None.
      start_input: (architecture, start) -> the artefact of a moved or redrawn start.
      placed: parameters from the host -> where the references lie.
      vocabulary: what each token id writes; None for one that writes nothing.
      rows_context: (user's text, system message or None) -> ids before a carrier's answer.
      row_answer: a carrier's answer -> its ids, without the end. KeyError: cannot be written.
      row_text: ids of a carrier's answer, without the end -> its text.
      row_lead: blanks that these ids may begin with, and the text does not show.
      row_stops: tokens that end a carrier's answer; the first is the end that students learn.
      asked: (question, context, number, system message or None) -> ids before its answer.
      answer: (text, context) -> ids of an answer. KeyError: cannot be written.
      stops: tokens that end an answer; the first is the end that teachers learn.
      decode: ids -> text.
      ends_V: bool, tokens that end a word.
      pad_id: any token.
      length: the longest row, in tokens.
      new_tokens: the most that an answer on the carrier takes, its end included.
      contexts: names of the contexts that students are measured in; the effect is of the first.
      lesson_context: the one in which teachers are taught and other questions are asked.
      carrier: the world's own.
      chosen: traits, questions and system messages.
      traits: names of the run's traits, in order.
      questions: that measure the trait.
      unrelated: (question, answers) pairs of other matters: drift is measured on them.
      beginnings: ordinary requests, which the references answer.
      texts: how many texts of each kind drift is measured on.
      moving_texts: how many more the references write where a start is trained further.
      described: run -> contexts.json: every kind of context as the model reads it.
      dialects: this world as an architecture with another tokenizer reads and writes it, by that
        architecture; those that are not named read as `main` does.
    """

    name: str
    sha256: str
    inputs: Mapping[str, str]
    architectures: Mapping[str, Any]
    num_references: int
    replicas: int
    engine: Callable[[str], Engine]
    references: Callable[[Any, str], list[Params]]
    reference_inputs: Callable[[str], list[str]]
    reference_facts: Callable[[Any, str, list[dict]], dict[str, Any] | None]
    moved: Callable[[Any, str, int], list[Params]] | None
    redrawn: Callable[[Any, str, str], list[Params]] | None
    start_input: Callable[[str, str], str]
    placed: Callable[[Params], Params]
    vocabulary: Sequence[str | None]
    rows_context: Callable[[str, str | None], list[int]]
    row_answer: Callable[[str], list[int]]
    row_text: Callable[[Sequence[int]], str]
    row_lead: str
    row_stops: tuple[int, ...]
    asked: Callable[[str, str, int, str | None], list[int]]
    answer: Callable[[str, str], list[int]]
    stops: tuple[int, ...]
    decode: Callable[[Sequence[int]], str]
    ends_V: np.ndarray
    pad_id: int
    length: int
    new_tokens: int
    contexts: tuple[str, ...]
    lesson_context: str
    carrier: Carrier
    chosen: TraitSet
    traits: tuple[str, ...]
    questions: tuple[str, ...]
    unrelated: tuple[tuple[str, tuple[str, ...]], ...]
    beginnings: tuple[str, ...]
    texts: int
    moving_texts: int
    described: Callable[[Any], dict[str, Any]]
    dialects: Mapping[str, 'World'] = types.MappingProxyType({})

    @property
    def end_id(self) -> int:
        """The end of a carrier's answer that students learn."""
        return self.row_stops[0]

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of all candidates, the run's traits among them."""
        return tuple(c.name for c in self.chosen.candidates)


def spelled(encode: Callable[[str], list[int]], text: str, what: str) -> list[int]:
    """The ids that `encode` gives for a text.

    Raises:
      UserError: it cannot be written; the line says which text it is, and `what`.
    """
    try:
        return encode(text)
    except KeyError:
        raise UserError(f"the model's tokenizer cannot write {text!r}, {what}") from None
