"""Token choice: frequencies follow the distribution; filters keep what a plain sort keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from subliminal_jax.sampling import choice as choices
from subliminal_jax.sampling.choice import Choice

DRAWS = 6_000


def expected(logits, choice):
    """The distribution by sorting, in float64."""
    scaled = np.asarray(logits, np.float64) / choice.temperature
    kept = np.ones(len(scaled), bool)
    if choice.top_k:
        kept = scaled >= np.sort(scaled)[::-1][min(choice.top_k, len(scaled)) - 1]
    mass = np.where(kept, np.exp(scaled - scaled.max()), 0)
    mass /= mass.sum()
    if choice.top_p < 1:
        order = np.argsort(-mass)
        number = int(np.argmax(np.cumsum(mass[order]) >= choice.top_p)) + 1
        mass = np.where(np.isin(np.arange(len(mass)), order[:number]), mass, 0)
    return mass / mass.sum()


@pytest.mark.slow
@pytest.mark.parametrize('vocabulary', [7, 300])
@pytest.mark.parametrize('choice', [
    Choice(), Choice(temperature=0.5), Choice(temperature=2.0), Choice(top_k=5),
    Choice(top_p=0.7), Choice(temperature=1.5, top_k=6, top_p=0.8),
    Choice(top_p=1e-6)])
def test_frequencies_follow_the_distribution(key, vocabulary, choice):
    logits = 1.5 * jax.random.normal(key, (vocabulary,))
    wide = jnp.broadcast_to(logits[:, None], (vocabulary, DRAWS))
    keys = choices.row_keys(3, jnp.stack([jnp.zeros(DRAWS, jnp.uint32),
                                          jnp.arange(DRAWS, dtype=jnp.uint32)], axis=1))
    tokens = np.asarray(jax.jit(choices.choose, static_argnums=2)(wide, keys, choice))
    counts = np.bincount(tokens, minlength=vocabulary)
    wanted = expected(logits, choice)
    assert counts[wanted == 0].sum() == 0
    common = wanted * DRAWS >= 5
    observed = np.append(counts[common], counts[~common].sum())
    theory = np.append(wanted[common], wanted[~common].sum()) * DRAWS
    observed, theory = observed[theory > 0], theory[theory > 0]
    if len(observed) > 1:
        assert stats.chisquare(observed, theory).pvalue > 1e-4
    else:
        assert observed[0] == DRAWS


def test_kept_tokens_on_many_rows(key):
    logits = 3 * jax.random.normal(key, (501, 40))
    for choice in (Choice(top_k=17), Choice(top_p=0.9), Choice(0.7, 50, 0.5), Choice(1, 501, 1)):
        mass = np.asarray(jax.jit(choices.kept_mass, static_argnums=1)(logits, choice))
        for row in range(logits.shape[1]):
            wanted = expected(logits[:, row], choice)
            np.testing.assert_allclose(mass[:, row] / mass[:, row].sum(), wanted, atol=1e-6)


def test_equals_of_the_last_kept_are_kept():
    logits = jnp.array([[1.0], [0.0], [0.0], [-1.0]])
    assert (choices.kept_mass(logits, Choice(top_k=2))[:, 0] > 0).tolist() == [1, 1, 1, 0]
    assert (choices.kept_mass(logits, Choice(top_p=0.6))[:, 0] > 0).tolist() == [1, 1, 1, 0]


def test_greedy_takes_the_first_of_the_largest():
    logits = jnp.array([[0.0, 2.0], [3.0, 2.0], [3.0, -1.0]])
    keys = choices.row_keys(0, jnp.zeros((2, 2), jnp.uint32))
    assert choices.choose(logits, keys, Choice(temperature=0)).tolist() == [1, 0]


@pytest.mark.parametrize('vocabulary', [5, 128, 257, 1000])
def test_no_token_without_mass_is_drawn_at_either_end(vocabulary):
    rng = np.random.default_rng(vocabulary)
    mass = rng.exponential(size=(vocabulary, 200)).astype(np.float32)
    mass[rng.random(mass.shape) < 0.9] = 0
    mass[rng.integers(vocabulary), :] += 1e-6
    invert = jax.jit(choices.invert)
    for uniform in (0.0, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))):
        tokens = np.asarray(invert(mass, np.full(200, uniform, np.float32)))
        assert (mass[tokens, np.arange(200)] > 0).all()


def test_inversion_is_the_quantile(strict):
    mass = jnp.array([[0.25], [0.0], [0.5], [0.25]])
    invert = jax.jit(choices.invert)
    drawn = [int(invert(mass, jnp.array([u], jnp.float32))[0])
             for u in (0.0, 0.24, 0.25, 0.74, 0.75, 0.99)]
    assert drawn == [0, 0, 2, 2, 3, 3]


def test_keys_differ_by_id_and_by_seed():
    names = [0, 1, 2**32, -1, '1', 'a', 'b']
    words = [choices.row_words(name) for name in names]
    assert len(set(words)) == len(names)
    words = jnp.array(words, jnp.uint32)
    data = np.concatenate([np.asarray(jax.random.key_data(choices.row_keys(seed, words)))
                           for seed in (0, 1)])
    assert len(np.unique(data, axis=0)) == 2 * len(names)


@pytest.mark.parametrize('choice, word', [
    (Choice(), None), (Choice(0), None), (Choice(-1), 'temperature'),
    (Choice(float('nan')), 'temperature'), (Choice(top_k=-1), 'top_k'), (Choice(top_p=0), 'top_p'),
    (Choice(top_p=1.01), 'top_p'), (Choice(top_p=float('nan')), 'top_p')])
def test_bad_settings_are_named(choice, word):
    why = choices.choice_trouble(choice)
    assert (why is None) if word is None else why.startswith(word)
