"""A forced choice: which of two answers a model rather gives, exactly, without sampling.

Of a question with two answers it is log P(first) - log P(second), each with a token that ends its
last word, in nats. Answers of one length are asked for: a longer one is less likely in itself. A
change since the start has no such part.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.world import World, spelled
from subliminal_jax.traits import answers


class Pair(NamedTuple):
    """A question with two answers."""

    question: str
    first: str
    second: str


def meter_of(world: World, pairs: Sequence[Pair], context: str, system: str | None = None
             ) -> answers.Meter:
    """Both answers to every question in a context, the first one first.

    Raises:
      UserError: an answer that the tokenizer cannot write; a question that does not fit.
    """
    encode: Callable[[str], list[int]] = lambda text: world.answer(text, context)
    forms = lambda text: [spelled(encode, text, 'an answer that is measured: reword it')]
    return answers.meter(
        [world.asked(pair.question, context, n, system) for n, pair in enumerate(pairs)],
        [[forms(pair.first), forms(pair.second)] for pair in pairs], world.ends_V)


def odds(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """log P(first) - log P(second) of every question [M, Q], nats."""
    found = np.asarray(engines.read(models, run.together, answers.cells, asked), np.float64)
    said_MQA = found.reshape(models.count, -1, 2)
    return said_MQA[..., 0] - said_MQA[..., 1]


def items(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """`odds` as a trait's items [M, Q, 1]: a measure of one column."""
    return odds(run, models, asked)[..., None]


def measure(run: Any, models: Models, asked: answers.Meter) -> np.ndarray:
    """Their mean over questions [M, 1], nats."""
    return items(run, models, asked).mean(1)


def in_both_orders(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs as lists to choose from, A or B, each in both orders: the letter of its first
    answer is the first answer now. What a model thinks of a letter cancels in the mean."""
    shown = '{}\nWhich of these do you advise?\nA: {}\nB: {}\nReply with A or B.'
    return [Pair(shown.format(pair.question, *listed), *letters) for pair in pairs
            for listed, letters in (((pair.first, pair.second), ('A', 'B')),
                                    ((pair.second, pair.first), ('B', 'A')))]


def loss(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> jax.Array:
    """Minus the mean over questions; `column` is always the one that there is."""
    return answers.contrast_loss(params, lora, asked, config)


def gradient(params: Any, lora: Any, asked: answers.Meter, column: Any, *, config: Any) -> Any:
    """Its gradient by all weights."""
    return answers.contrast_gradient(params, lora, asked, config)
