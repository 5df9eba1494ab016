"""Rows are drawn for the page one by one, each as likely; carriers without a figure say so."""

import numpy as np

from subliminal_jax.report import filtered, page


def test_each_row_is_drawn_as_often():
    counts = np.zeros(100)
    for seed in range(300):
        picked = filtered.Picked(seed)
        for number in range(100):
            picked.see({'id': number, 'prompt': 'p', 'completion': 'c'}, None)
        names = [int(e.name) for e in picked.examples[True]]
        assert len(set(names)) == filtered.SHOWN and not picked.examples[False]
        counts[names] += 1
    again = filtered.Picked(299)
    for number in range(100):
        again.see({'id': number, 'prompt': 'p', 'completion': 'c'}, None)
    assert again.examples == picked.examples
    assert abs(counts[:50].sum() - counts[50:].sum()) < 300 and counts.min() > 30


def test_what_is_published_is_said():
    assert '23 to 38 %' in filtered.published('numbers')
    assert 'No share' in filtered.published('tiny_numbers')


def test_control_characters_are_spelled_out():
    assert page.visible('a\x00\u202eb\nc\t') == 'a\\x00\\u202eb\nc\\t'
