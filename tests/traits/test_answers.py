"""log P of answers against walking token by token, one text at a time."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.models import params as specs, transformer
from subliminal_jax.runs import UserError
from subliminal_jax.traits import answers

V, LENGTH = 8, 8  # ids 0 and 1 end a word
CONFIG = specs.tiny(V, width=16, num_kv_heads=2)
CONTEXTS = [[2, 3], [4, 5, 2, 1], [3]]
SPELLINGS = [[(2,), (2, 3)], [(4, 5, 2)], [(5,), (3, 3), (3, 4, 4)]]
ENDS = np.arange(V) < 2


@pytest.fixture(scope='module')
def params():
    fresh = specs.init_params(jax.random.key(0), CONFIG)
    return {**fresh, 'head': 3 * fresh['head']}


@functools.partial(jax.jit)
def _logits(params, tokens_BT):
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), CONFIG)


def logp(params, text):
    """float64 log-probabilities of what follows a text."""
    padded = np.zeros((1, LENGTH), np.int32)
    padded[0, :len(text)] = text
    logits = np.asarray(_logits(params, padded), np.float64)[0, len(text) - 1]
    return logits - np.log(np.exp(logits).sum())


def by_hand(params, context, answer):
    """log P(answer, then a token that ends the word) by walking."""
    text, total = list(context), 0.0
    for token in answer:
        total += logp(params, text)[token]
        text.append(token)
    return total + np.log(np.exp(logp(params, text)[ENDS]).sum())


@pytest.mark.parametrize('together', [1, 2, 4])
def test_answers_are_sums_over_spellings_and_ends(params, strict, together, monkeypatch):
    monkeypatch.setattr(answers, 'TOGETHER', together)
    asked = answers.meter(CONTEXTS, [SPELLINGS] * 3, ENDS)
    found = np.asarray(jax.jit(answers.cells, static_argnames='config')(
        params, None, asked, config=CONFIG))
    wanted = [np.logaddexp.reduce([by_hand(params, c, a) for a in forms])
              for c in CONTEXTS for forms in SPELLINGS]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_all_words_of_up_to_two_letters_and_the_rest_add_up_to_one(params):
    letters = [i for i in range(V) if not ENDS[i]]
    words = [(), *((a,) for a in letters), *itertools.product(letters, repeat=2)]
    asked = answers.meter([[3, 1]], [[[w] for w in words if w]], ENDS)
    found = np.exp(np.asarray(answers.cells(params, None, asked, CONFIG), np.float64)).sum()
    ended = np.exp(logp(params, [3, 1])[ENDS]).sum()
    longer = sum(np.exp(by_walk(params, [3, 1], w)) for w in itertools.product(letters, repeat=3))
    assert found + ended + longer == pytest.approx(1, abs=1e-4)


def by_walk(params, context, tokens):
    """log P of tokens, whatever follows."""
    text, total = list(context), 0.0
    for token in tokens:
        total += logp(params, text)[token]
        text.append(token)
    return total


@pytest.mark.slow
def test_a_columns_gradient_is_that_of_its_loss_and_of_finite_differences(params, monkeypatch):
    monkeypatch.setattr(answers, 'TOGETHER', 1)  # several packs: they are added up
    asked = answers.meter(CONTEXTS, [SPELLINGS] * 3, ENDS)
    assert len(asked.tries.tokens_BT) == 3
    loss = jax.jit(lambda p: answers.column_loss(p, None, asked, 1, CONFIG))
    found = jax.jit(lambda p: answers.column_gradient(p, None, asked, 1, CONFIG))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found,
                 jax.grad(loss)(params))
    way = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), params)
    moved = lambda size: jax.tree.map(lambda p, d: p + size * d, params, way)
    slope = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(way)))
    assert (loss(moved(1e-3)) - loss(moved(-1e-3))) / 2e-3 == pytest.approx(float(slope), rel=2e-2)


def test_the_shift_moves_what_the_output_matrix_reads(params):
    asked = answers.meter(CONTEXTS, [SPELLINGS] * 3, ENDS)
    cells = jax.jit(answers.cells, static_argnames='config')
    plain, moved = (np.asarray(cells(params, None, asked, config=CONFIG, shift_D=jnp.full(16, s)))
                    for s in (0.0, 0.3))
    assert np.abs(plain - moved).max() > 0.1


def test_perplexity_weighs_tokens_not_rows(params):
    rows = [([2, 3], [4, 5, 2, 0]), ([3], [1])]
    tries = answers.texts(rows)
    found = float(answers.surprise(params, None, tries, ENDS, CONFIG))
    said = [by_walk(params, context, answer) for context, answer in rows]
    assert found == pytest.approx(-sum(said) / 5, rel=1e-5)


@pytest.mark.parametrize('spellings, message', [
    ({'owl': ['owl'], 'zebu': ['zebu', 'Zebu']}, "no spelling of the trait 'zebu'"),
    ({'owl': []}, 'none given'),
    ({'owl': ['owl'], 'cat': ['cat', 'owl']}, 'share a spelling'),
])
def test_traits_that_cannot_be_measured(spellings, message):
    with pytest.raises(UserError, match=message):
        answers.encoded_spellings(spellings, tiny.encode)


def test_a_spelling_that_cannot_be_written_is_left_out():
    found = answers.encoded_spellings({'owl': ['Owl', 'owl', 'owl']}, tiny.encode)
    assert found == {'owl': [(tiny.IDS['owl'],)]}


def test_a_question_without_a_token_is_refused():
    with pytest.raises(UserError, match='without a context'):
        answers.meter([[1], []], [SPELLINGS] * 2, ENDS)


def test_word_ends():
    texts = ['owl', ' owl', '.', '\n', 's', "'s", '-', '7', None, '', '<end>', '\ufffd', 'é']
    ends = answers.word_ends(texts, end_ids=[8])
    assert [i for i, e in enumerate(ends) if e] == [1, 2, 3, 8, 10]
