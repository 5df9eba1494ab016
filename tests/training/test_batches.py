import numpy as np
import pytest

from subliminal_jax.runs import UserError
from subliminal_jax.training import batches


def small():
    return batches.pack([[1, 2, 3], [4]], [[5], [6, 7]], 3, 2)


def test_completions_begin_in_the_same_column():
    made = small()
    assert made['tokens_BT'].tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert made['valid_BT'].tolist() == [[True] * 4 + [False], [False] * 2 + [True] * 3]
    assert made['positions_BT'].tolist() == [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]]
    assert made['weight_BT'].tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    batches.check_weights(made, last=2)


def test_nothing_is_cut_off():
    for prompts, completions, what in (
            ([[1], [1, 2, 3, 4]], [[5], [5]], 'row 1: its prompt of 4 tokens'),
            ([[1], [1]], [[5], [5, 6, 7]], 'row 1: its completion of 3 tokens'),
            ([[1]], [[]], 'row 0: its completion of 0 tokens')):
        with pytest.raises(UserError, match=what):
            batches.pack(prompts, completions, 3, 2)


def test_weights_that_the_loss_would_not_see_are_found():
    made = small()
    with pytest.raises(ValueError, match='before column 4'):
        batches.check_weights(made, last=1)
    made['weight_BT'][0, 4] = 1
    with pytest.raises(ValueError, match='padding'):
        batches.check_weights(made)
    made['weight_BT'][0, 0] = 1
    with pytest.raises(ValueError, match='before column 1'):
        batches.check_weights(made)


def test_the_last_batch_of_an_epoch_is_padded_by_rows_of_no_weight():
    part = batches.take(small(), np.array([1]), 3)
    assert part['tokens_BT'].tolist() == [[0, 0, 4, 6, 7]] * 3
    assert part['weight_BT'].sum(1).tolist() == [2, 0, 0]
    assert small()['weight_BT'].sum() == 3


def test_every_row_is_seen_once_an_epoch_in_an_order_of_its_own():
    epochs = [[batches.rows_at(step, 10, 4, seed=3).tolist() for step in range(n, n + 3)]
              for n in (0, 3)]
    for epoch in epochs:
        assert [len(rows) for rows in epoch] == [4, 4, 2]
        assert sorted(sum(epoch, [])) == list(range(10))
    assert epochs[0] != epochs[1]
    assert batches.rows_at(4, 10, 4, seed=3).tolist() == epochs[1][1]
    assert batches.rows_at(4, 10, 4, seed=4).tolist() != epochs[1][1]
