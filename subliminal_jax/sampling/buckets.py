"""Fixed shapes for rows of many lengths: few buckets, chosen so that little is padded.

The buckets, and the prefix that all prompts share, are functions of **all** rows of a call, not of
those still to do: a run that is resumed computes every row at the shapes of the first attempt.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

COMPILING = 128  # a program's compilation, in columns of a batch (a decoding step is one column)
MULTIPLE = 4  # bucket lengths are multiples of this, so that similar files share programs


class Batch(NamedTuple):
    """Rows to be computed together.

    Attributes:
      length: the bucket's length; every row of the batch is padded to it.
      indices: which rows (places in the call's list), at most the batch size.
    """

    length: int
    indices: list[int]


def choose_buckets(lengths: Sequence[int], batch_size: int = 1, columns: int = 0, most: int = 4,
                   multiple: int = MULTIPLE, compiling: int = COMPILING) -> list[int]:
    """The bucket lengths that cost least.

    A batch costs its length and `columns`, whether it is full or not; a bucket costs `compiling`.

    Args:
      lengths: the rows' lengths, at least 1 each.
      batch_size: rows in a batch.
      columns: what a batch costs besides its length: the tokens to be sampled.
      most: how many buckets at most.
      multiple: every bucket is a multiple of this.
      compiling: a further program's cost, in columns.

    Returns:
      Increasing lengths; the last holds the longest row. Empty without rows.
    """
    if not len(lengths):
        return []
    rounded = -(-np.asarray(lengths) // multiple) * multiple
    edges, counts = (x.tolist() for x in np.unique(rounded, return_counts=True))
    upto = np.cumsum([0, *counts]).tolist()

    def cost(first, last):  # of one bucket for the edges first .. last
        full = -(-(upto[last + 1] - upto[first]) // batch_size)
        return full * (edges[last] + columns) + compiling

    # best[j]: (cost, buckets) of the rows up to edge j; one more bucket in each round.
    best = [(cost(0, j), [edges[j]]) for j in range(len(edges))]
    for _ in range(most - 1):
        best = [min([best[j]] + [(best[i][0] + cost(i + 1, j), best[i][1] + [edges[j]])
                                 for i in range(j)]) for j in range(len(edges))]
    return best[-1][1]


def batch_rows(batch_size: int, rows: int, cut: int = 1) -> int:
    """The rows of every batch of a call: no more than its rows, rounded up to a multiple of 8 and
    of the devices that they are cut over."""
    multiple = math.lcm(8, cut)
    return min(batch_size, -(-rows // multiple) * multiple)


def batches(lengths: Sequence[int], buckets: Sequence[int], batch_size: int,
            wanted: Sequence[int]) -> Iterator[Batch]:
    """The wanted rows in batches of one bucket each, in the rows' order within a bucket.

    Args:
      lengths: the length of every row.
      buckets: increasing lengths, the last at least the longest of the wanted.
      batch_size: the most rows in a batch.
      wanted: places of the rows to be computed.
    """
    number = np.searchsorted(buckets, [lengths[i] for i in wanted])
    for bucket, length in enumerate(buckets):
        mine = [i for i, own in zip(wanted, number) if own == bucket]
        for begin in range(0, len(mine), batch_size):
            yield Batch(length, mine[begin : begin + batch_size])


def shared_prefix(prompts: Sequence[Sequence[int]], multiple: int = MULTIPLE) -> int:
    """How many leading tokens all prompts share, leaving each at least one of its own.

    Rounded down to a multiple, and 0 for a single prompt: nothing is shared.
    """
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)  # what the extremes share, all share
    longest = min(map(len, prompts)) - 1
    same = 0
    while same < longest and low[same] == high[same]:
        same += 1
    return same // multiple * multiple


def prompts_held(distinct: int, batch_size: int, per_prompt: int) -> int:
    """Prompts that a batch's program reads: its rows, halved as long as all of them fit.

    It stays at least batch_size / per_prompt, so that batches of any prompts share few programs.

    Args:
      distinct: prompts of the batch that differ.
      batch_size: its rows.
      per_prompt: rows that answer one prompt, as a rule.
    """
    held = batch_size
    while held % 2 == 0 and held // 2 >= max(distinct, batch_size / per_prompt):
        held //= 2
    return held


def padded(sequences: Sequence[Sequence[int]], length: int, rows: int, pad_id: int,
           left: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Sequences as an array of fixed shape; rows that are missing repeat the first.

    Args:
      sequences: at least one, each of 1 to `length` tokens.
      length: T.
      rows: B, at least their number.
      pad_id: what stands where nothing does.
      left: pad before the tokens (they end together) rather than after.

    Returns:
      (tokens int32 [B, T], valid bool [B, T]: where a token is a row's own).
    """
    tokens = np.full((rows, length), pad_id, np.int32)
    valid = np.zeros((rows, length), bool)
    for row in range(rows):
        own = sequences[row if row < len(sequences) else 0]
        place = slice(length - len(own), length) if left else slice(0, len(own))
        tokens[row, place] = own
        valid[row, place] = True
    return tokens, valid
