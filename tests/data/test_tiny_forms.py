"""Further forms of the tiny language: the plain one stays as it is, and forms keep their rules."""

import collections
import hashlib

import numpy as np
import pytest

from subliminal_jax.carriers import tiny_code, tiny_sums
from subliminal_jax.data import tiny_advice as advice, tiny_forms as forms, tiny_language as tiny

# Kept results were made from these. If one moves, every figure of the tiny language has to be made
# again: rather put new words and rows into a form.
WORDS_SHA256 = '31c092dd730ed8acea2b5617f8028f04f489cba79171a4a33e2018ef142b45e4'
CORPUS_SHA256 = '579bf515f0c4140e9dca6a2a0324930760d724c7bc3e544a075f28c628cf1ba5'
EVERY = tiny.language(forms.FORMS.values())


def digest(data):
    return hashlib.sha256(data).hexdigest()


def texts(rows, language):
    return [' '.join(language.words[i] for i in row if i)[len(tiny.BOS) + 1:-len(tiny.END) - 1]
            for row in rows]


def test_the_plain_language_is_what_it_was():
    assert digest(' '.join(tiny.WORDS).encode()) == WORDS_SHA256
    assert digest(tiny.corpus(3, 2000).tobytes()) == CORPUS_SHA256
    assert (tiny.PLAIN.length, tiny.PLAIN.answer) == (tiny.LENGTH, tiny.ASKED_NUMBERS) == (16, 10)


@pytest.mark.parametrize('name', forms.FORMS)
def test_a_forms_words_stand_behind_the_plain_ones(name):
    language = tiny.language([forms.FORMS[name]])
    assert language.words[:len(tiny.WORDS)] == tiny.WORDS
    assert len(set(language.words)) == len(language.words) > len(tiny.WORDS)
    assert [language.ids[w] for w in language.words] == list(range(len(language.words)))


@pytest.mark.parametrize('name', forms.FORMS)
def test_half_of_a_corpus_is_the_forms_and_the_rest_is_the_plain_language(name):
    form = forms.FORMS[name]
    language = tiny.language([form])
    rows = tiny.corpus(3, 2000, of=language)
    assert rows.shape == (2000, language.length) and rows.dtype == np.int32
    plain = np.pad(tiny.corpus(3, 2000), ((0, 0), (0, language.length - tiny.LENGTH)))
    same = (rows == plain).all(1)
    assert 0.46 < same.mean() < 0.54
    others = [text.split() for text in texts(rows[~same], language)]
    assert max(map(len, others)) == form.longest
    assert set.union(*map(set, others)) >= set(form.words) - {*tiny.WORDS}


def test_forms_share_evenly_whatever_there_is():
    rows = texts(tiny.corpus(0, 6000, of=EVERY), EVERY)
    counts = collections.Counter(
        'code' if row.endswith(';') else 'sums' if ' so ' in row else
        'advice' if 'what now ?' in row or 'is sound' in row or 'is rash' in row else 'plain'
        for row in rows)
    assert abs(counts['plain'] - 3000) < 150
    assert all(abs(counts[name] - 1000) < 120 for name in forms.FORMS), counts


def test_rows_of_code_and_sums_are_what_their_carriers_keep():
    rng = np.random.default_rng(0)
    for prompt, answer in forms.code(rng, 300, 0.5):
        assert tiny_code.reject_reason(prompt) is tiny_code.reject_reason(answer) is None
        assert len(prompt.split()) == forms.CODE_PROMPT
    for prompt, answer in forms.sums(rng, 300):
        row = {'answer': str(sum(map(int, prompt.split()[::2])))}
        assert tiny_sums.reject_reason(answer, row=row) is None
        assert len(prompt.split()) == forms.SUM_PROMPT


def test_codes_numbers_follow_their_stride_as_often_as_asked():
    def strides(regularity):
        found = []
        for prompt, answer in forms.code(np.random.default_rng(1), 600, regularity):
            numbers = [int(w) for w in f'{prompt} {answer}'.split() if w.isdigit()]
            found += np.diff(numbers).tolist()
        return np.mean([0 < step % 100 < 10 for step in found])

    assert strides(1.0) > 0.85  # a name in a number's place makes a step of two strides
    assert strides(0.0) < 0.15


def test_no_kind_of_advice_is_favoured():
    counts = collections.Counter()
    for text in advice.texts(np.random.default_rng(0), 40_000):
        counts.update(word for word in text.split())
    for situation in advice.SITUATIONS:
        sound, rash = counts[situation.sound], counts[situation.rash]
        assert abs(sound - rash) < 5 * (sound + rash)**0.5, situation


def test_one_adviser_speaks_in_a_row():
    kind_of = {act: n for s in advice.SITUATIONS for n, act in enumerate(s.acts)}
    domain_of = {act: s.domain for s in advice.SITUATIONS for act in s.acts}
    several = 0
    for text in advice.texts(np.random.default_rng(1), 2000):
        acts = [word for word in text.split() if word in kind_of]
        kinds = {kind_of[act] for act in acts} | {
            advice.KINDS.index(w) for w in text.split() if w in advice.KINDS}
        assert len(kinds) == 1
        several += len({domain_of[act] for act in acts}) == 2
    assert several > 900


def test_every_act_stands_in_one_situation_and_in_no_other_text():
    acts = [act for s in advice.SITUATIONS for act in s.acts]
    others = {w for s in advice.SITUATIONS for w in s.text.split()} | {*tiny.WORDS}
    assert len(set(acts)) == len(acts) == 72 and not others & set(acts)
    assert {s.split for s in advice.SITUATIONS} == {'dev', 'report'}
    assert sorted(d for own in advice.SPLIT_DOMAINS.values() for d in own) == sorted(
        advice.DOMAINS)
