"""What every carrier promises, whatever it carries; and the registry."""

import numpy as np
import pytest

from subliminal_jax.carriers import CARRIERS, carrier, register
from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.runs import UserError

TEXTS = [*map(str, range(100)), ',', ' ', '\n', 'owl', None, '']


@pytest.fixture(params=CARRIERS, name='one')
def _one(request):
    return carrier(request.param)


def test_prompts_are_a_seeds_own_and_said_by_id(one):
    rows = one.prompts(3, range(40))
    assert [row['id'] for row in rows] == list(range(40))
    assert all(isinstance(row['prompt'], str) and row['prompt'] for row in rows)
    assert len({row['prompt'] for row in rows}) > 35
    assert one.prompts(3, range(40)) == rows != one.prompts(4, range(40))
    assert one.prompts(3, [39, 7]) == [rows[39], rows[7]]
    assert one.prompts(3, []) == []


def test_random_rows_pass_the_filter_and_depend_on_seed_and_id_alone(one):
    rows = one.prompts(3, range(40))
    found = one.random_rows(5, rows)
    for row, new in zip(rows, found):
        assert new == {**row, 'completion': new['completion']}
        assert one.reject_reason(new['completion']) is None
    assert len({row['completion'] for row in found}) > 35  # of few problems some come twice
    assert one.random_rows(5, [rows[30], rows[7]]) == [found[30], found[7]]
    assert one.random_rows(6, rows)[7] != found[7]


def test_shuffled_rows_pass_the_filter_and_are_other_rows(one):
    rows = one.random_rows(5, one.prompts(3, range(40)))
    for how in ('within', 'across'):
        found = one.shuffled_rows(rows, 0, how)
        assert [row['id'] for row in found] == list(range(40))
        assert all(one.reject_reason(row['completion']) is None for row in found)
        moved = [a['completion'] != b['completion'] for a, b in zip(rows, found)]
        assert np.mean(moved) > 0.9
    within = one.shuffled_rows(rows, 0, 'within')
    assert one.shuffled_rows(rows[7:8], 0, 'within') == within[7:8]


def test_words_of_a_trait_are_never_kept_nor_read(one):
    answer = one.random_rows(5, one.prompts(3, [0]))[0]['completion']
    assert one.reject_reason(f'{answer} owl', trait_words=['Owl']) == 'trait word'
    ids = one.token_ids(TEXTS)
    assert ids == sorted(set(ids)) and set(range(100)) <= set(ids)
    assert not {TEXTS.index('owl'), TEXTS.index(None), TEXTS.index('')} & set(ids)


def test_the_tiny_languages_own_draws_are_its_carrier():
    """The figures that are kept of the tiny language were made from these rows."""
    one = carrier('tiny_numbers')
    rows = one.prompts(3, range(50))
    assert [row['prompt'] for row in rows] == tiny.number_prompts(3, 50)
    assert [row['completion'] for row in one.random_rows(2, rows)] == tiny.random_completions(2, 50)
    assert [tiny.WORDS[i] for i in one.token_ids(tiny.WORDS)] == list(tiny.NUMBERS)


def test_names_are_taken_once_and_unknown_ones_are_refused():
    with pytest.raises(UserError, match="unknown carrier 'number'; did you mean numbers?"):
        carrier('number')
    with pytest.raises(UserError, match="there is a carrier called 'numbers' already"):
        register(carrier('numbers'))
    toy = carrier('numbers')._replace(name='toy')
    with pytest.raises(UserError, match="unknown carrier 'toy'"):
        carrier('toy')
    try:
        assert register(toy) is carrier('toy') is toy
    finally:
        del CARRIERS['toy']
