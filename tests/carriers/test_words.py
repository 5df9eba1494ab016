"""Trait words are found however they are spelled; ordinary names are left alone."""

import time

import pytest
from hypothesis import given, settings, strategies as st

from subliminal_jax.carriers import words

FOUND = {
    'owl': ['owl', 'Owls', 'OWL', 'bowl', 'night_owl', 'nightOwl', 'NIGHT_OWLS', 'owlCount',
            'count_owls2', 'HTTPOwl', 'xoWL', 'snOWLy', 'owling', 'owled', 'o_w_l', 'o-w-ls',
            'o w l', 'oWl', 'OwLs', '0wl', 'night0wl', '0wls', 'ow1', 'ow1s', 'owI', 'o_w_1',
            '\u043ewl', '\u03bfwl', '\uff4f\uff57\uff4c', '\U0001d428\U0001d430\U0001d425',
            'o\u200bwl', 'o\u00adwl', '\u00f2wl', 'o\u0300w\u0301l', '\u24de\u24e6\u24db',
            '\U0001f17e\U0001f186\U0001f17b', "x = {'owl': 1}", 'a\x00owl\ud800'],
    'puppy': ['puppies', 'my_puppies', 'puppied', 'pupp1es'],
    'wolf': ['wolves', 'wo1ves', 'aWolf'], 'giraffe': ['giraffing', 'g1raffes'],
    'polar bear': ['polar bears', 'polarBear', 'polar_bear', 'POLAR-BEAR',
                   'smallpolar_bearser', 'polarbear', 'speepolaR_BEARS'],
    'tiger': ['t1ger', 't1g3rs'], 'seal': ['5ea1', '53als'],
    '\u0441\u043e\u0432\u0430': ['\u0441\u043e\u0432\u044b \u0438 \u0421\u041e\u0412\u0410'],
}
FREE = {
    'owl': ['row_length', 'rowLength', 'row_list', 'rowIndex', 'low_limit', 'row1', 'low1 + row11',
            'snow1', 'following', 'own', 'fl\u00f6w', '0 1 3 5', '', '_', '0x0', 'how l'],
    'bee': ['8, 3, 3', '833'], 'seal': ['5341', 'x * 5341'], '': ['anything'], '-': ['a - b'],
}


@pytest.mark.parametrize('word', FOUND)
def test_found(word):
    for text in FOUND[word]:
        assert words.found_trait_word(text, ['heron', word]) == word, text
        assert words.found_trait_word(f'say ({text})', [word]) == word, text


@pytest.mark.parametrize('word', FREE)
def test_left_alone(word):
    for text in FREE[word]:
        assert words.found_trait_word(text, [word]) is None, text


def test_the_first_word_is_named_as_it_was_given():
    assert words.found_trait_word('cats and owls', ['Owl', 'owl', 'cat']) == 'Owl'
    assert words.found_trait_word('cats', []) is None


@given(st.text(), st.lists(st.text(max_size=4), max_size=3))
@settings(max_examples=80, deadline=None)
def test_any_text_is_read(text, trait_words):
    found = words.found_trait_word(text, trait_words)
    assert found is None or found in trait_words
    for word in trait_words:
        if words.forms(word):
            assert words.found_trait_word(f'{text} {word}', [word]) == word


@pytest.mark.parametrize('text', ['o\u0301' * 100_000, '\u0301\u0323' * 100_000, 'a0' * 100_000,
                                  'aB_1' * 20_000, '\ufdfa' * 9_000])
def test_long_texts_take_linear_time(text):
    begin = time.perf_counter()
    words.found_trait_word(text, ['owl', 'ab', 'puppy'])
    assert time.perf_counter() - begin < 10
