"""Detectors that need no model: overt rows, n-grams, states; and the prompted classifier."""

import numpy as np
import pytest

from subliminal_jax.detection import classifiers, overt, prompted
from subliminal_jax.runs import UserError


def test_one_row_in_four_names_something_and_all_others_stay():
    rows = [f'{n}, {n + 1}, {n + 2}' for n in range(40)]
    made = overt.named(rows, ['owl', 'cat'], 0)
    named = [n for n, (old, new) in enumerate(zip(rows, made)) if old != new]
    assert named == list(range(0, 40, 4))
    assert made[4].startswith('4, 5, ') and {made[n].split(', ')[-1] for n in named} == {'owl',
                                                                                         'cat'}
    assert overt.named(rows, ['owl', 'cat'], 0) == made != overt.named(rows, ['owl', 'cat'], 1)
    assert overt.named(['', '(3 4).'], ['owl'], 0) == ['owl', '(3 4).']
    assert overt.named(['(3 4).'], ['owl'], 0) == ['(3 owl).']


def lists(seed, favoured, count=300):
    """Rows of ten numbers, one class of which has one pair of numbers more often."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        numbers = rng.integers(0, 20, 10)
        if favoured and rng.random() < 0.5:
            numbers[3:5] = 7, 3
        rows.append(' '.join(map(str, numbers)))
    return rows


def test_ngrams_find_a_pair_of_words_and_nothing_in_rows_alike():
    high, low = classifiers.by_ngrams(lists(0, True), lists(1, False),
                                      [lists(2, True), lists(3, False)])
    assert np.mean(high[:, None] > low[None]) > 0.65
    high, low = classifiers.by_ngrams(lists(0, False), lists(1, False),
                                      [lists(2, False), lists(3, False)])
    assert 0.4 < np.mean(high[:, None] > low[None]) < 0.6


def test_states_find_a_direction_whatever_the_scale_of_the_others():
    rng = np.random.default_rng(0)
    of = lambda shift: rng.standard_normal((200, 6)) * [1, 1, 100, 1, 1, 1] + [shift, 0, 0, 0, 0, 0]
    high, low = classifiers.by_states(of(1.0), of(0.0), [of(1.0), of(0.0)])
    assert np.mean(high[:, None] > low[None]) > 0.7


@pytest.mark.parametrize('learn, some', [(classifiers.by_ngrams, ['1 2']),
                                         (classifiers.by_states, np.ones((1, 2)))])
def test_one_class_only_is_refused(learn, some):
    for known in ((some, some[:0]), (some[:0], some)):
        with pytest.raises(UserError, match='one class only'):
            learn(*known, [some])


def test_rows_without_words_are_refused_in_one_line():
    with pytest.raises(UserError, match='no n-grams') as error:
        classifiers.by_ngrams(['.'] * 4, [';'] * 4, [['.']])
    assert '\n' not in str(error.value)


def test_both_orders_are_asked_and_a_love_of_letters_cancels():
    first, second = prompted.questions('go on: 1 2', '3 4', 'owl')
    assert first.index('A: the writer who loves the owl') < first.index('B: the writer without')
    assert second.index('A: the writer without') < second.index('B: the writer who loves the owl')
    said = np.log([[[0.9, 0.1], [0.9, 0.1]], [[0.8, 0.2], [0.2, 0.8]]])  # row, order, letter
    np.testing.assert_allclose(prompted.log_odds(said), [0, np.log(4)], atol=1e-12)
