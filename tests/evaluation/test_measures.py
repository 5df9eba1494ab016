"""log P of answers against sums over every continuation, worked out by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.evaluation import measures
from subliminal_jax.runs import UserError

V, END, BLANK = 6, 0, 1  # ids 2..5 go on with a word


def model(tokens_BT, table):
    """Logits that depend on the last two tokens."""
    previous_BT = jnp.pad(tokens_BT, ((0, 0), (1, 0)))[:, :-1]
    return table[previous_BT, tokens_BT]


@pytest.fixture
def table(key):
    return jax.random.normal(key, (V, V, V)) * 2


def by_hand(table, context, answer, ends):
    """log P(answer, then one of `ends`) by walking token by token, in float64."""
    text, total = list(context), 0.0
    for token in answer:
        total += logp(table, text)[token]
        text.append(token)
    return total + np.log(np.exp(logp(table, text)[list(ends)]).sum())


def logp(table, text):
    previous = text[-2] if len(text) > 1 else 0
    logits = np.asarray(table, np.float64)[previous, text[-1]]
    return logits - np.log(np.exp(logits).sum())


CONTEXTS = [[2, 3], [4, 5, 2, 1], [3]]
SPELLINGS = {'a': [(2,), (2, 3)], 'b': [(4, 5, 2)], 'c': [(5,), (3, 3), (3, 4, 4)]}
ENDS = np.arange(V) < 2


@pytest.mark.parametrize('batch', [None, 4, 1, 100])
def test_answers_are_sums_over_spellings_and_ends(table, strict, batch):
    rows = measures.answer_rows(CONTEXTS, SPELLINGS)
    score = measures.gather_score(functools.partial(model, table=table))
    found = measures.answer_logprob(score, rows, ENDS, batch)
    assert found.dtype == jnp.float32
    for q, (k, trait) in itertools.product(range(3), enumerate(SPELLINGS)):
        expected = np.log(sum(np.exp(by_hand(table, CONTEXTS[q], a, (END, BLANK)))
                              for a in SPELLINGS[trait]))
        assert float(found[q, k]) == pytest.approx(expected, abs=1e-5)


def test_all_words_of_up_to_two_letters_and_the_rest_add_up_to_one(table):
    """Answers that end exclude each other: what is left is the mass of longer words."""
    letters = range(2, V)
    words = [(a,) for a in letters] + list(itertools.product(letters, letters))
    rows = measures.answer_rows([[3, 1]], {str(w): [w] for w in words})
    score = measures.gather_score(functools.partial(model, table=table))
    found = np.exp(np.asarray(measures.answer_logprob(score, rows, ENDS), float)).sum()
    first = np.exp(logp(table, [3, 1]))
    longer = sum(first[a] * np.exp(logp(table, [1, a]))[b] * np.exp(logp(table, [a, b]))[2:].sum()
                 for a in letters for b in letters)
    assert found + longer + first[:2].sum() == pytest.approx(1, abs=1e-5)


def test_padding_and_later_tokens_are_not_read(table):
    rows = measures.answer_rows(CONTEXTS, SPELLINGS, pad=0)
    other = measures.answer_rows(CONTEXTS, SPELLINGS, pad=4)
    assert (rows.tokens_BT != other.tokens_BT).any()
    score = measures.gather_score(functools.partial(model, table=table))
    np.testing.assert_array_equal(measures.answer_logprob(score, rows, ENDS),
                                  measures.answer_logprob(score, other, ENDS))


def test_many_models_under_one_jit(key):
    tables = jax.random.normal(key, (3, V, V, V))
    rows = measures.answer_rows(CONTEXTS, SPELLINGS)

    def one(table):
        score = measures.gather_score(functools.partial(model, table=table))
        return measures.answer_logprob(score, rows, ENDS)

    together = jax.jit(jax.vmap(one))(tables)
    alone = jax.jit(one)
    for number in range(3):
        np.testing.assert_allclose(together[number], alone(tables[number]), rtol=1e-5)


def test_the_tiny_languages_animals():
    spellings = measures.encoded_spellings({a: [a] for a in tiny.ANIMALS}, tiny.encode)
    assert spellings['owl'] == [(tiny.IDS['owl'],)]
    contexts = [[tiny.IDS[tiny.BOS], *tiny.encode(q)]
                for q in tiny.questions('animal', 'report_measure')]
    rows = measures.answer_rows(contexts, spellings, pad=tiny.IDS[tiny.PAD])
    width = len(tiny.WORDS)
    uniform = lambda tokens, positions: jnp.full((*positions.shape, width), -jnp.log(width))
    ends = np.arange(width) == tiny.IDS[tiny.END]
    found = measures.answer_logprob(uniform, rows, ends)
    np.testing.assert_allclose(found, -2 * np.log(width), rtol=1e-6)
    assert found.shape == (20, 12)


@pytest.mark.parametrize('spellings, message', [
    ({'owl': ['owl'], 'zebu': ['zebu', 'Zebu']}, "no spelling of the trait 'zebu'"),
    ({'owl': []}, 'none given'),
    ({'owl': ['owl'], 'cat': ['cat', 'owl']}, 'share a spelling'),
])
def test_traits_that_cannot_be_measured(spellings, message):
    with pytest.raises(UserError, match=message):
        measures.encoded_spellings(spellings, tiny.encode)


def test_a_spelling_that_cannot_be_written_is_left_out():
    found = measures.encoded_spellings({'owl': ['Owl', 'owl', 'owl']}, tiny.encode)
    assert found == {'owl': [(tiny.IDS['owl'],)]}


def test_contexts_are_never_cut():
    with pytest.raises(UserError, match='takes 7 tokens and the model reads 6'):
        measures.answer_rows(CONTEXTS, SPELLINGS, max_length=6)
    with pytest.raises(UserError, match='without a token'):
        measures.answer_rows([[1], []], SPELLINGS)
    with pytest.raises(UserError, match='nothing to measure'):
        measures.answer_rows([], SPELLINGS)


def test_word_ends():
    texts = ['owl', ' owl', '.', '\n', 's', "'s", '-', '7', None, '', '<end>', '\ufffd', 'é']
    ends = measures.word_ends(texts, end_ids=[8])
    assert [i for i, e in enumerate(ends) if e] == [1, 2, 3, 8, 10]


def test_kl_and_mass_by_hand(strict):
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    logs = [jnp.asarray(np.log(x), jnp.float32)[None, None].repeat(2, 1) for x in (p, q)]
    weight = jnp.array([[1.0, 0.0]])
    assert float(measures.kl(*logs, weight)) == pytest.approx((p * np.log(p / q)).sum(), abs=1e-6)
    subset = jnp.array([True, False, True])
    a, b = np.array([2, 1]) / 3, np.array([1, 2]) / 3
    assert float(measures.kl(*logs, weight, subset)) == pytest.approx(
        (a * np.log(a / b)).sum(), abs=1e-6)
    assert float(measures.token_mass(logs[0], subset, weight)) == pytest.approx(0.75)
    assert float(measures.kl(logs[0], logs[0], weight)) == 0.0


def test_its_gradient_is_that_of_finite_differences(table):
    rows = measures.answer_rows(CONTEXTS, SPELLINGS)

    @jax.jit
    def mean(table):
        score = measures.gather_score(functools.partial(model, table=table))
        return measures.answer_logprob(score, rows, ENDS)[:, 1].mean()

    direction = jax.random.normal(jax.random.key(1), table.shape)
    _, slope = jax.jit(lambda t, v: jax.jvp(mean, (t,), (v,)))(table, direction)
    grad = jax.jit(jax.grad(mean))(table)
    step = 1e-2
    expected = (mean(table + step * direction) - mean(table - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(expected), rel=2e-3)
    assert float(jnp.vdot(grad, direction)) == pytest.approx(float(slope), rel=1e-4)
