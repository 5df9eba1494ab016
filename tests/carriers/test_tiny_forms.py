"""The tiny language's code and sums: what their filters keep, and what shuffling leaves."""

import collections

import pytest

from subliminal_jax.carriers import carrier, tiny_code, tiny_sums
from subliminal_jax.data import tiny_forms as forms, tiny_language as tiny

LANGUAGE = tiny.language([forms.CODE, forms.SUMS])


@pytest.mark.parametrize('text', ['x = 3 ;', 'y = x + 14 ;', 'z = ( 3 + y ) * 2 ; x = 0 ;',
                                  'x = ( ( 99 ) ) ;', 'x = 1 * ( 2 - 3 ) ;'])
def test_programs_are_kept(text):
    assert tiny_code.reject_reason(text) is None


@pytest.mark.parametrize('text, why', [
    ('', 'empty'), (' \n', 'empty'), ('x = 3 ; ', 'other blanks'), ('x  = 3 ;', 'other blanks'),
    ('x = 3', 'no whole statements'), ('x = ;', 'no whole statements'),
    ('3 = x ;', 'no whole statements'), ('x = 3 + ;', 'no whole statements'),
    ('x = ( 3 ;', 'no whole statements'), ('x = 3 ) ;', 'no whole statements'),
    ('x = 3 4 ;', 'no whole statements'), ('x = ( ) ;', 'no whole statements'),
    ('; x = 3 ;', 'no whole statements'), ('x = y = 3 ;', 'no whole statements'),
    ('x = 3 ; ;', 'no whole statements'), ('x = 100 ;', 'other text'),
    ('x = 07 ;', 'other text'), ('x = \u0663 ;', 'other text'), ('x = a ;', 'other text'),
    ('x = 3 ; ' * 3 + 'x = 3 ;', 'more than 14 words'),
    ('x = 13 ;', 'banned number'), ('x = owl ;', 'trait word'), ('x\0 = 3 ;', 'other text')])
def test_what_is_no_program_is_rejected(text, why):
    assert tiny_code.reject_reason(text, banned=(13,), trait_words=('owl',)) == why


def test_brackets_to_any_depth_are_read_without_recursion():
    deep = 'x = ' + '( ' * 10_000 + '3' + ' )' * 10_000 + ' ;'
    assert tiny_code.reject_reason(deep) == 'more than 14 words'
    assert tiny_code._is_statement(deep.split()[:-1])


SUM = '40 + 6 = 46 , 5 + 46 = 51 so 51'


def test_worked_sums_are_kept_with_the_right_answer_alone():
    assert tiny_sums.reject_reason(SUM) is None
    assert tiny_sums.reject_reason(SUM, row={'prompt': '40 + 6 + 5 ?', 'answer': '51'}) is None
    assert tiny_sums.reject_reason(SUM, row={'answer': '52'}) == 'wrong answer'
    assert tiny_sums.reject_reason(SUM, row={'prompt': 'of others'}) is None
    assert tiny_sums.reject_reason('0 + 0 = 0 so 0') is None


@pytest.mark.parametrize('text, why', [
    ('', 'empty'), ('40 + 6 = 46', 'other text'), ('so 46', 'other text'),
    ('40 + 6 = 47 so 47', 'wrong step'), ('40 + 6 = 46 so', 'other text'),
    ('40 + 6 = 46 so 046', 'other text'), ('40 + 6 = 46 so 146', 'other text'),
    ('40 + 6 = 46 so 46 ', 'other text'), ('40 + 6 = 46 so 46\n', 'other text'),
    ('40 + 6 = 46 , so 46', 'other text'), ('40  + 6 = 46 so 46', 'other text'),
    ('40 - 6 = 34 so 34', 'other text'), ('\u0664 + 1 = 5 so 5', 'other text'),
    (' , '.join(['1 + 1 = 2'] * 3) + ' so 2', 'more than 2 steps'),
    ('7 + 6 = 13 so 13', 'banned number'), ('owl so 3', 'trait word')])
def test_what_is_no_worked_sum_is_rejected(text, why):
    assert tiny_sums.reject_reason(text, banned=(13,), trait_words=('owl',)) == why


def test_rows_of_sums_say_the_answer_that_they_are_held_against():
    one = carrier('tiny_sums')
    rows = one.prompts(3, range(60))
    for row, made in zip(rows, one.random_rows(4, rows)):
        assert row['answer'] == str(sum(map(int, row['prompt'].split()[::2])))
        assert one.reject_reason(made['completion'], row=made) is None
    with pytest.raises(ValueError, match='no sum'):
        one.random_rows(0, [{'id': 0, 'prompt': '4 - 3 + 2 ?'}])


@pytest.mark.parametrize('name, read', [
    ('tiny_code', {*tiny.NUMBERS, '+', '-', '*', '=', '(', ')'}),
    ('tiny_sums', {*tiny.NUMBERS, '+', '='})])
def test_a_kl_reads_numbers_operators_and_brackets_alone(name, read):
    ids = carrier(name).token_ids(LANGUAGE.words)
    assert {LANGUAGE.words[i] for i in ids} == read


def words_of(rows):
    return collections.Counter(w for row in rows for w in row['completion'].split())


@pytest.mark.parametrize('name', ['tiny_code', 'tiny_sums'])
def test_shuffling_keeps_the_words_of_each_answer_or_of_all(name):
    one = carrier(name)
    rows = one.random_rows(5, one.prompts(3, range(50)))
    within, across = (one.shuffled_rows(rows, 0, how) for how in ('within', 'across'))
    for row, moved in zip(rows, within):
        assert words_of([row]) == words_of([moved])
    assert words_of(across) == words_of(rows)
    shape = lambda row: ['=' if w == '=' else w in tiny.NUMBERS or w in forms.NAMES
                         for w in row['completion'].split()]
    assert all(shape(a) == shape(b) for a, b in zip(rows, across))
    assert all(row.get('answer', '') == row['completion'].split()[-1]
               for row in across if name == 'tiny_sums')
    with pytest.raises(ValueError, match='within'):
        one.shuffled_rows(rows, 0, 'sideways')
