"""Automata over tokens: which may come is told by their characters, and nothing leads nowhere."""

import numpy as np

from subliminal_jax.data import grammars

TEXTS = ['a', 'b', 'ab', 'ba', None, 'x', 'aab', '']  # 8 ends a text


def of_form(form, texts=TEXTS, ends=(8,)):
    """The one text `form`."""
    step = lambda state, c: state + 1 if form[state:state + 1] == c else None
    return grammars.over_tokens(0, step, lambda state: state == len(form), 'ab', texts, ends)


def texts_of(grammar, begin, texts=TEXTS, ends=(8,)):
    """All that the automaton allows, as lists of tokens."""
    if not grammar.allowed_SC[begin].any():
        return []
    found = []
    for column in np.flatnonzero(grammar.allowed_SC[begin]):
        token = int(grammar.ids_C[column])
        rest = [[]] if token in ends else texts_of(
            grammar, grammar.next_SC[begin, column], texts, ends)
        found += [[token, *later] for later in rest]
    return found


def test_every_way_to_write_a_form_is_allowed_and_no_other():
    found = texts_of(of_form('aab'), 0)
    assert sorted(found) == [[0, 0, 1, 8], [0, 2, 8], [6, 8]]
    # 'ab' may begin 'abb' and no token goes on from there: it is not allowed at all
    assert texts_of(of_form('abb', ['ab', 'a', 'bb']), 0) == [[1, 2, 8]]


def test_a_token_that_ends_texts_writes_nothing():
    assert sorted(texts_of(of_form('ab', ends=(1, 8)), 0, ends=(1, 8))) == [[2, 1], [2, 8]]


def test_a_form_that_the_tokens_cannot_write_has_no_automaton():
    assert of_form('bb', ['a', 'ab']) is None


def test_automata_side_by_side_allow_what_each_does():
    one, two = of_form('aab'), of_form('ba')
    both = grammars.joined([one, two, one])
    assert both.ids_C.tolist() == [0, 1, 2, 3, 6, 8]
    assert [sorted(texts_of(both, begin)) for begin in both.start] == [
        sorted(texts_of(g, 0)) for g in (one, two, one)]
