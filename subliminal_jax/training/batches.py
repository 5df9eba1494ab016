"""Batches of token rows for the losses of training/losses.py, as NumPy arrays."""

from collections.abc import Sequence

import numpy as np

from subliminal_jax.runs import UserError

Batch = dict[str, np.ndarray]


def pack(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    prompt_length: int,
    completion_length: int,
) -> Batch:
    """Rows whose completions all begin in the same column.

    Prompts are padded on the left and completions on the right, so that the predicted tokens are
    the last `completion_length` columns (`Task(last=completion_length)`) and the output matrix is
    applied to no prompt.

    Args:
      prompts: token ids of each row's rendered prompt, at least one.
      completions: token ids of each row's completion with its stop token; each weighs one.
      prompt_length, completion_length: columns of either part.

    Returns:
      tokens_BT, positions_BT, valid_BT and weight_BT of the losses, B = len(prompts).

    Raises:
      UserError: a prompt or completion that does not fit, or an empty one; its row is named.
    """
    count, length = len(prompts), prompt_length + completion_length
    tokens = np.zeros((count, length), np.int32)
    valid = np.zeros((count, length), bool)
    weight = np.zeros((count, length), np.float32)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        for what, ids, room in (('prompt', prompt, prompt_length),
                                ('completion', completion, completion_length)):
            if not 1 <= len(ids) <= room:
                raise UserError(
                    f'row {row}: its {what} of {len(ids)} tokens does not fit {room} columns; '
                    f'nothing is cut off: allow more, or leave the row out')
        begin, end = prompt_length - len(prompt), prompt_length + len(completion)
        tokens[row, begin:end] = [*prompt, *completion]
        valid[row, begin:end] = True
        weight[row, prompt_length:end] = 1
    positions = np.maximum(np.cumsum(valid, axis=1, dtype=np.int32) - 1, 0)
    return {'tokens_BT': tokens, 'positions_BT': positions, 'valid_BT': valid, 'weight_BT': weight}


def check_weights(batch: Batch, last: int | None = None) -> None:
    """Fails where a weight lies on a token that the loss would not see, or on padding.

    Args:
      batch: of NumPy arrays.
      last: of the Task.

    Raises:
      ValueError: weight on the first column, before the last `last` columns, or on padding.
    """
    weight = np.asarray(batch['weight_BT'])
    first = 1 if last is None else weight.shape[1] - last
    if np.any(weight[:, :first]):
        raise ValueError(f'weight on tokens before column {first}, which the loss does not see')
    if np.any(weight[~np.asarray(batch['valid_BT'])]):
        raise ValueError('weight on padding')


def take(batch: Batch, rows: np.ndarray, num_rows: int | None = None) -> Batch:
    """The named rows; with `num_rows`, padded to so many by copies of weight zero.

    Padding keeps one compiled shape for the last, partial batch of an epoch.
    """
    rows = np.asarray(rows)
    padding = 0 if num_rows is None else num_rows - len(rows)
    whole = np.concatenate([rows, np.repeat(rows[:1], padding)])
    part = {name: array[whole] for name, array in batch.items()}
    if padding:
        part['weight_BT'] = part['weight_BT'].copy()
        part['weight_BT'][len(rows):] = 0
    return part


def rows_at(step: int, num_rows: int, batch_size: int, seed: int) -> np.ndarray:
    """The rows of a step: epochs in an order of their own, pure in (seed, step).

    The last batch of an epoch is partial (`take` pads it), so no row is dropped or seen twice.
    """
    per_epoch = -(-num_rows // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(num_rows)
    return order[place * batch_size:(place + 1) * batch_size]
