"""The tiny language: pure in its seed, without favourites, numbers apart from animals."""

import collections

import numpy as np
import pytest

from subliminal_jax.data import tiny_language as tiny


def texts(rows):
    return [' '.join(tiny.WORDS[i] for i in row if i != tiny.IDS[tiny.PAD]) for row in rows]


def test_the_corpus_depends_on_its_seed_alone():
    first, again = tiny.corpus(3, 200), tiny.corpus(3, 200)
    np.testing.assert_array_equal(first, again)
    assert (tiny.corpus(4, 200) != first).any()
    assert first.dtype == np.int32 and first.shape == (200, tiny.LENGTH)


def test_every_row_begins_and_ends_once():
    for text in texts(tiny.corpus(0, 2000)):
        words = text.split()
        assert words[0] == tiny.BOS and words[-1] == tiny.END
        assert words.count(tiny.BOS) == words.count(tiny.END) == 1


def test_no_row_has_both_a_number_and_a_word_of_another_category():
    others = {w for group in tiny.CATEGORIES.values() for w in group}
    for text in texts(tiny.corpus(1, 4000)):
        words = set(text.split())
        assert not (words & set(tiny.NUMBERS) and words & others), text


def test_animals_are_liked_equally_often():
    counts = collections.Counter()
    asked = {q for purpose in tiny.CORES for q in tiny.questions('animal', purpose)}
    for text in texts(tiny.corpus(2, 60_000)):
        *question, answer = text.split()[1:-1]
        if ' '.join(question) in asked:
            counts[answer] += 1
    assert set(counts) == set(tiny.ANIMALS)
    expected = sum(counts.values()) / len(tiny.ANIMALS)
    assert all(abs(c - expected) < 5 * expected**0.5 for c in counts.values()), counts


def test_numbers_follow_their_stride_as_often_as_asked():
    lists = tiny.number_lists(np.random.default_rng(0), 4000, 12, 0.5)
    steps = (lists[:, 1:] - lists[:, :-1]) % 100
    stride = np.array([np.bincount(row, minlength=100)[1:10].argmax() + 1 for row in steps])
    share = (steps == stride[:, None]).mean()
    assert 0.45 < share < 0.56  # half, plus uniform draws that hit the stride


@pytest.mark.parametrize('category', ['animal', 'colour', 'food'])
def test_questions_of_two_purposes_share_no_core_and_fit(category):
    sets = [set(tiny.questions(category, purpose)) for purpose in tiny.CORES]
    assert all(len(s) == 20 for s in sets)
    assert len(set.union(*sets)) == 80
    endings = [{' '.join(q.split()[-4:]) for q in s} for s in sets]
    for i, a in enumerate(endings):
        for b in endings[i + 1:]:
            assert not a & b
    longest = max(len(tiny.encode(q)) for s in sets for q in s)
    assert longest + 3 <= tiny.LENGTH


def test_splits_share_no_animal_and_an_unknown_word_raises():
    report, dev = (set(tiny.SPLIT_ANIMALS[k]) for k in ('report', 'dev'))
    assert not report & dev and report | dev == set(tiny.ANIMALS)
    with pytest.raises(KeyError):
        tiny.encode('which unicorn')


def test_prompts_have_four_numbers_and_completions_ten():
    for texts_of, count in ((tiny.number_prompts, 4), (tiny.random_completions, 10)):
        for text in texts_of(0, 50):
            words = text.split()
            assert len(words) == count and set(words) <= set(tiny.NUMBERS)
        assert texts_of(0, 50) == texts_of(0, 50) != texts_of(1, 50)
