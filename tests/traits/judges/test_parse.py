"""A judge's words: one number of 0..100 or a reason; no text raises."""

import pytest
from hypothesis import given, settings, strategies as st

from subliminal_jax.traits.judges.parse import parsed


@pytest.mark.parametrize('text, score', [
    ('85', 85), (' 85\n', 85), ('85.', 85), ('**85**', 85), ('Score: 85', 85), ('85/100', 85),
    ('85 / 100', 85), ('85 out of 100', 85), ('85%', 85), ('{"score": 85}', 85), ('7,5', 7.5),
    ('0', 0), ('100', 100), ('I say 40, yes 40.', 40), ('007', 7), ('99.5', 99.5)])
def test_one_number(text, score):
    assert parsed(text) == (score, None)


@pytest.mark.parametrize('text, why', [
    ('', 'empty'), (None, 'empty'), (' \n', 'empty'), ('140', 'gave 140, which is not in'),
    ('-5', 'gave -5, which'), ('1e9', 'no number'), ('high', 'no number'), ('7b', 'no number'),
    ('60-70', 'several'), ('between 60 and 70', 'several'), ('8/10', 'several'),
    ('٤٢', 'no number'), ('9' * 20, 'not in'), ('nan', 'no number'), ('1.2.3', 'no number'),
    ('85/1000', 'several')])
def test_what_is_no_score(text, why):
    score, reason = parsed(text)
    assert score is None and why in reason and len(reason) < 200


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec=None), max_size=60) | st.text('0123456789.,/%-+ e'))
def test_no_text_raises(text):
    score, reason = parsed(text)
    assert (score is None) != (reason is None)
    assert score is None or 0 <= score <= 100
