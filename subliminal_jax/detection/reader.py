"""A reference as detectors read it: rows in, readings out. Needs no run, no teacher and no student.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.detection import prefix as prefixes, readings
from subliminal_jax.detection.detectors import MOST_CONTEXT
from subliminal_jax.training import tries as packing
from subliminal_jax.training.tries import Row, Tries
from subliminal_jax.traits import answers

MULTIPLE = 64  # lengths of contexts are multiples of it, so that alike ones share a program


class Reader(NamedTuple):
    """A reference, and what it is asked.

    Attributes:
      params, config: the reference.
      rising: K trees in one: the direction in which log P of each trait rises fastest, minus the
        gradient of its loss; None: not known.
      random: D trees in one (`readings.matched_directions`); None: none.
      metric: one tree: what each weight's part of an inner product is multiplied with, in readings
        with a metric (`metric_of`); None: there are none.
      asked: answers to a few questions, the K traits first, then others; None: not asked.
      traits: K.
      packed: rows that are packed together where they are read.
      chunk: packed rows in one program.
      at_once: row gradients, and contexts, that exist at one time.
      contexts: the most contexts that are read of a list of rows, of each length.
    """

    params: Any
    config: Any
    rising: Any = None
    random: Any = None
    metric: Any = None
    asked: answers.Meter | None = None
    traits: int = 0
    packed: int = 1
    chunk: int = 256
    at_once: int = 64
    contexts: int = 64


@functools.partial(jax.jit, static_argnames=('function', 'statics'))
def _compiled(params, batch, *args, function, statics):
    return function(params, None, batch, *args, **dict(statics))


def call(reader: Reader, function: Callable, batch: Any, /, *args: Any, **static: Any) -> Any:
    """A function of `readings` or `prefix` of the reference, compiled once."""
    return _compiled(reader.params, batch, *args, function=function,
                     statics=tuple(sorted({'config': reader.config, **static}.items())))


def pack(rows: Sequence[Row], size: int) -> Tries:
    """Rows packed `size` together."""
    if size == 1:
        return packing.alone(rows)
    return packing.pack([rows[n:n + size] for n in range(0, len(rows), size)])


def by_chunks(tries: Tries, chunk: int, read: Callable[[Tries], Any]) -> Any:
    """read(some packed rows) -> arrays [B, ...], over all of them; every part is equally long."""
    count = len(tries.tokens_BT)
    parts = []
    for begin in range(0, count, chunk):
        index = np.minimum(np.arange(begin, begin + chunk), count - 1)
        part = jax.tree.map(np.asarray, read(packing.take(tries, index)))
        parts.append(jax.tree.map(lambda x, left=count - begin: x[:left], part))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def read(reader: Reader, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """All that a reference says of rows, as `detectors.Side.readings` names it.

    Raises:
      UserError: a model that cannot embed.
    """
    readings.check_embeds(reader.params)
    count, size = len(rows), reader.packed
    tries = pack(rows, size)
    order = lambda values: readings.in_order(values, count)
    over = lambda function: order(by_chunks(tries, reader.chunk, lambda part: call(
        reader, function, part, rows=size)))
    found = {'tokens': np.array([len(row.answer) for row in rows]),
             'logprob': over(readings.logprobs), 'state': over(readings.states)}
    return found | held_against(reader, rows) | in_context(reader, rows)


def held_against(reader: Reader, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Lengths of the rows' gradients, and their products with directions; {} without directions."""
    known = {name: tree for name, tree in (('inner', reader.rising), ('random', reader.random))
             if tree is not None}
    if not known:
        return {}
    if reader.metric is not None:
        known |= {f'{name}_metric': jax.tree.map(jnp.multiply, tree, reader.metric)
                  for name, tree in known.items()}
    directions = jax.tree.map(lambda *x: jnp.concatenate(x), *known.values())
    norm, inner = by_chunks(pack(rows, 1), reader.chunk, lambda part: call(
        reader, readings.gradients, part, directions, at_once=reader.at_once))
    found = {'norm': readings.in_order(norm, len(rows))}
    inner_NJ, begin = readings.in_order(inner, len(rows)), 0
    for name, tree in known.items():
        count = len(jax.tree.leaves(tree)[0])
        found[name] = inner_NJ[:, begin:begin + count]
        begin += count
    return found


def in_context(reader: Reader, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """What is said with rows in the context, by how many: context:1, :4, :16 [B, K]; {} where
    nothing is asked. The rows stand one after another, each as the model reads it."""
    found = {}
    if reader.asked is None:
        return found
    size = 1
    while size <= min(MOST_CONTEXT, len(rows)):
        some = [[token for row in rows[n:n + size] for token in (*row.context, *row.answer)]
                for n in range(0, len(rows) - size + 1, size)][:reader.contexts]
        width = -(-max(map(len, some)) // MULTIPLE) * MULTIPLE
        length_C = np.array([len(text) for text in some])
        valid_CS = np.arange(width)[None] < length_C[:, None]
        tokens_CS = np.zeros(valid_CS.shape, np.int32)
        tokens_CS[valid_CS] = np.concatenate(some)
        found[f'context:{size}'] = np.asarray(call(
            reader, prefixes.said_in_context, tokens_CS, valid_CS, reader.asked,
            at_once=reader.at_once))[:, :reader.traits]
        size *= 4
    return found


def rising(reader: Reader) -> Any:
    """`Reader.rising` of the traits that a reader asks about."""
    each = [call(reader, answers.column_gradient, reader.asked, column)
            for column in range(reader.traits)]
    return jax.tree.map(lambda *x: -jnp.stack(x), *each)


def metric_of(reader: Reader, rows: Sequence[Row]) -> Any:
    """`Reader.metric` of Adam, by these rows' gradients. Students that train with it move so."""
    return readings.adam_metric(call(reader, readings.second_moments, pack(rows, 1)))


def matched(reader: Reader, rows: Sequence[Row], draws: int, seed: int) -> Any:
    """`Reader.random`: directions with the covariance of these rows' gradients."""
    rng = np.random.default_rng([seed, 0xC0F])
    weights_DB = rng.standard_normal((draws, len(rows))).astype(np.float32)
    return call(reader, readings.matched_directions, pack(rows, 1), weights_DB)


class Amplified(NamedTuple):
    """How prefixes are trained: columns, steps of Adam, its rate, and rows in a step at most."""

    columns: int = 4
    steps: int = 20
    learning_rate: float = 0.1
    rows: int = 16


def amplified(reader: Reader, lists: Sequence[Sequence[Row]], sizes: Sequence[int], bags: int,
              how: Amplified, seed: int, side_by_side: int = 1_000) -> list[dict[str, np.ndarray]]:
    """What is said behind prefixes that are trained on bags of every size.

    All prefixes begin alike. A step reads the next `how.rows` rows of its bag, around.

    Args:
      reader: with questions.
      lists: of rows.
      sizes: of bags.
      bags: of a list and size, at most.
      how: of the training.
      seed: of the keys that prefixes begin with.
      side_by_side: prefixes that train in one program.

    Returns:
      of every list prefix:SIZE [B, K], prefix_others:SIZE [B] and prefix_loss:SIZE [B].
    """
    found: list[dict[str, np.ndarray]] = [{} for _ in lists]
    for size in sizes:
        groups = [rows[n * size:(n + 1) * size] for rows in lists
                  for n in range(min(bags, len(rows) // size))]
        parts = [_trained(reader, groups[n:n + side_by_side], how, seed)
                 for n in range(0, len(groups), side_by_side)]
        said, loss = (np.concatenate(part) for part in zip(*parts))
        begin = 0
        for own, rows in zip(found, lists):
            end = begin + min(bags, len(rows) // size)
            own[f'prefix:{size}'] = said[begin:end, :reader.traits]
            own[f'prefix_others:{size}'] = said[begin:end, reader.traits:].mean(1)
            own[f'prefix_loss:{size}'] = loss[begin:end]
            begin = end
    return found


def _trained(reader: Reader, groups: Sequence[Sequence[Row]], how: Amplified, seed: int
             ) -> tuple[np.ndarray, np.ndarray]:
    size = len(groups[0])
    tries = packing.alone([row for rows in groups for row in rows])
    held = min(how.rows, size)

    def batch_at(step):
        index = (step * held + np.arange(held)) % size
        return jax.tree.map(lambda x: x.reshape(len(groups), size, *x.shape[1:])[:, index], tries)

    trees, loss_M = prefixes.trained(
        reader.params, batch_at, len(groups), config=reader.config, columns=how.columns,
        steps=how.steps, learning_rate=how.learning_rate, key=jax.random.key(seed))
    return np.asarray(call(reader, prefixes.said_after, trees, reader.asked,
                           at_once=reader.at_once)), loss_M

