"""Rows that begin alike as one packed row: every shared token is computed once.

A template's opening, a system message, a prompt with several answers: their rows form a tree. Its
tokens stand in depth-first order in one row of a batch; a token attends to its ancestors and
itself, at the position that it has in its own row. What follows a token lies in one run of
columns, so that a column's last descendant says who may attend to it: the mask travels as one
number a column.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError

END = -1  # as a target: any token that ends the answer


class Row(NamedTuple):
    """A row: what it predicts is its answer, token by token."""

    context: Sequence[int]
    answer: Sequence[int]  # may close with END


class Tries(NamedTuple):
    """B packed rows of T columns, U places that predict, K predictions. Padding weighs nothing.

    Attributes:
      tokens_BT, positions_BT: int32.
      last_BT: int32, the column of the last descendant (its own where there is none); -1: padding.
      place_BU: int32, columns from which something is predicted, each once.
      edge_BU: int32, the first prediction made from each place.
      weight_BU: float32, how many predictions are made from it.
      from_BK: int32, the place (of U) of each prediction, row after row, answers in order.
      target_BK: int32, the token predicted, or END.
      row_BK: int32, which of the packed row's rows it belongs to.
      offset_BK: int32, the place of the predicted token in its row's answer.
      weight_BK: float32.
    """

    tokens_BT: Any
    positions_BT: Any
    last_BT: Any
    place_BU: Any
    edge_BU: Any
    weight_BU: Any
    from_BK: Any
    target_BK: Any
    row_BK: Any
    offset_BK: Any
    weight_BK: Any


def pack(groups: Sequence[Sequence[Row]], multiple: int = 16) -> Tries:
    """Packs each group of rows into one row of a batch.

    Args:
      groups: rows to be packed together; each context has a token at least.
      multiple: T, U and K are rounded up to it, so that alike batches share a program.

    Raises:
      UserError: a row without a context or an answer.
    """
    packed = [_packed(group) for group in groups]
    up = lambda n: -(-max(n, 1) // multiple) * multiple
    width = {'T': up(max(len(p['tokens_BT']) for p in packed)),
             'U': up(max(len(p['place_BU']) for p in packed)),
             'K': up(max(len(p['from_BK']) for p in packed))}

    return Tries(*(_filled(name, [p[name] for p in packed], width[name[-1]])
                   for name in Tries._fields))


def singles(tokens_NT: np.ndarray, context_N: np.ndarray, size_N: np.ndarray, multiple: int = 16
            ) -> Tries:
    """Rows that are packed each alone: as `pack`, of arrays and fast.

    Args:
      tokens_NT: int, context and answer, padded on the right.
      context_N, size_N: tokens of each row's context, and of both.
      multiple: as `pack`.
    """
    up = lambda n: -(-max(int(n), 1) // multiple) * multiple
    count, width = len(tokens_NT), up(size_N.max())
    column = np.arange(width)
    inside = column[None] < size_N[:, None]
    tokens = np.zeros((count, width), np.int32)
    tokens[:, :tokens_NT.shape[1]] = tokens_NT[:, :width]
    tokens = np.where(inside, tokens, 0).astype(np.int32)
    offset = np.broadcast_to(np.arange(up((size_N - context_N).max())), (count, up(
        (size_N - context_N).max())))
    live = offset < (size_N - context_N)[:, None]
    at = np.where(live, context_N[:, None] + offset, 0)
    number = np.where(live, offset, 0).astype(np.int32)
    weight = live.astype(np.float32)
    return Tries(
        tokens_BT=tokens, positions_BT=np.where(inside, column[None], 0).astype(np.int32),
        last_BT=np.where(inside, size_N[:, None] - 1, -1).astype(np.int32),
        place_BU=np.where(live, at - 1, 0).astype(np.int32), edge_BU=number, weight_BU=weight,
        from_BK=number, target_BK=np.where(live, np.take_along_axis(tokens, at, 1), 0).astype(
            np.int32), row_BK=np.zeros_like(number), offset_BK=number, weight_BK=weight.copy())


def alone(rows: Sequence[Row]) -> Tries:
    """Rows that are packed each alone: as `pack`, and fast; no answer closes with END."""
    texts = [[*row.context, *row.answer] for row in rows]
    size_N = np.array([len(text) for text in texts])
    tokens_NT = np.zeros((len(texts), size_N.max()), np.int32)
    tokens_NT[np.arange(size_N.max())[None] < size_N[:, None]] = np.concatenate(texts)
    return singles(tokens_NT, np.array([len(row.context) for row in rows]), size_N)


def widened(several: Sequence[Tries]) -> list[Tries]:
    """Packed rows of several sets, each as wide as the widest: one program takes them all."""
    width = {name[-1]: max(getattr(t, name).shape[1] for t in several) for name in Tries._fields}
    return [Tries(*(_filled(name, x, width[name[-1]]) for name, x in zip(Tries._fields, t)))
            for t in several]


def _filled(name: str, rows: Sequence[Sequence], width: int) -> np.ndarray:
    """Rows of a field of `Tries`, padded to a width."""
    made = np.full((len(rows), width), -1 if name == 'last_BT' else 0,
                   np.float32 if name.startswith('weight') else np.int32)
    for number, row in enumerate(rows):
        made[number, :len(row)] = row
    return made


def _packed(rows: Sequence[Row]) -> dict[str, list]:
    """One group's arrays, unpadded."""
    columns = _columns(rows)
    tokens, positions, last, of_row = columns
    place_of: dict[int, int] = {}
    made: dict[str, list] = {name: [] for name in Tries._fields}
    made |= {'tokens_BT': tokens, 'positions_BT': positions, 'last_BT': last}
    for number, row in enumerate(rows):
        for offset, target in enumerate(row.answer):
            column = of_row[number][len(row.context) + offset - 1]
            if column not in place_of:
                place_of[column] = len(place_of)
                made['place_BU'].append(column)
                made['edge_BU'].append(len(made['from_BK']))
                made['weight_BU'].append(0.0)
            made['weight_BU'][place_of[column]] += 1
            made['from_BK'].append(place_of[column])
            made['target_BK'].append(int(target))
            made['row_BK'].append(number)
            made['offset_BK'].append(offset)
            made['weight_BK'].append(1.0)
    return made


def _columns(rows: Sequence[Row]) -> tuple[list, list, list, dict[int, list]]:
    """(tokens, positions, last descendants, the columns of each row's tokens), depth first."""
    texts = [[*map(int, row.context), *(int(t) for t in row.answer if t != END)] for row in rows]
    for row in rows:
        if not len(row.context) or not len(row.answer):
            raise UserError('a row without a context or without an answer predicts nothing')
    tokens: list[int] = []
    positions: list[int] = []
    last: list[int] = []
    of_row: dict[int, list] = {}
    path: list[int] = []
    for number in sorted(range(len(rows)), key=lambda n: texts[n]):
        text = texts[number]
        same = 0
        while same < min(len(path), len(text)) and tokens[path[same]] == text[same]:
            same += 1
        path = path[:same]
        for place in range(same, len(text)):
            path.append(len(tokens))
            tokens.append(text[place])
            positions.append(place)
            last.append(0)
        for column in path:
            last[column] = len(tokens) - 1
        of_row[number] = list(path)
    return tokens, positions, last, of_row


def weighted(tries: Tries, weight_BK: np.ndarray) -> Tries:
    """The rows with other weights on their predictions, and on the places as they follow."""
    weight_BU = np.zeros(np.shape(tries.weight_BU), np.float32)
    batch = np.broadcast_to(np.arange(len(weight_BU))[:, None], np.shape(weight_BK))
    np.add.at(weight_BU, (batch, tries.from_BK), weight_BK)
    return tries._replace(weight_BU=weight_BU, weight_BK=np.asarray(weight_BK, np.float32))


def take(tries: Tries, rows: Any) -> Tries:
    """Some of the packed rows."""
    return Tries(*(x[rows] for x in tries))


def mask_of(last_BT: jax.Array) -> jax.Array:
    """bool [B, T, S]: an ancestor, or itself, may be attended to."""
    column = jnp.arange(last_BT.shape[1])
    before = column[None, None, :] <= column[None, :, None]
    return before & (column[None, :, None] <= last_BT[:, None, :])


def states(params: Any, tries: Tries, config: Any, lora: Any = None) -> jax.Array:
    """Activations after the final norm at the places that predict, [B, U, D]."""
    x_BTD, _ = transformer.hidden(params, tries.tokens_BT, tries.positions_BT,
                                  mask_of(tries.last_BT), config, lora=lora)
    return jnp.take_along_axis(x_BTD, tries.place_BU[..., None], axis=1)


def per_edge(values_BU: jax.Array, tries: Tries) -> jax.Array:
    """Values of places, [B, U, ...], as those of their predictions, [B, K, ...]."""
    index = tries.from_BK.reshape(*tries.from_BK.shape, *[1] * (values_BU.ndim - 2))
    return jnp.take_along_axis(values_BU, index, axis=1)


def per_place(values_BK: jax.Array, tries: Tries) -> jax.Array:
    """Values of predictions, alike at each place, as those of the places, [B, U, ...]."""
    index = tries.edge_BU.reshape(*tries.edge_BU.shape, *[1] * (values_BK.ndim - 2))
    return jnp.take_along_axis(values_BK, index, axis=1)
