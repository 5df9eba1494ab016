"""The sampler against the model itself: the cache, padding, prefix, batches and stacks of models
change nothing, and what it reports is what scoring the text gives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from subliminal_jax.models import transformer
from subliminal_jax.models.lora import init_lora, merge_lora
from subliminal_jax.models.params import tiny
from subliminal_jax.sampling import choice as choices, network, sample, score
from subliminal_jax.sampling.choice import Choice
from tests.networks import random_params

NEW = 9
LONGEST = 40


def prompts_of(config, number=10, shared=8, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.integers(1, config.vocab_size, shared).tolist()
    return [first + rng.integers(1, config.vocab_size, rng.integers(1, 16)).tolist()
            for _ in range(number)]


def collect(weights, config, prompts, **changed):
    """{row: (tokens, logprobs, stopped)}."""
    settings = {'max_new_tokens': NEW, 'choice': Choice(), 'seed': 0, 'stop_ids': (),
                'batch_size': 4, 'names': range(len(prompts)), 'buckets': [16], **changed}
    found = {}
    for indices, done in sample.sample_tokens(weights, config, prompts, **settings):
        for place, index in enumerate(indices):
            count = int(done.count_B[place])
            found[index] = (done.tokens_BN[place, :count].tolist(),
                            done.logprobs_BN[place, :count], bool(done.stopped_B[place]))
    return found


@partial(jax.jit, static_argnums=1)
def forward(params, config, tokens):
    length = tokens.shape[1]
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    return transformer.forward(params, tokens, jnp.arange(length)[None], mask, config)[0]


def logits_of(params, config, tokens):
    """The model's own logits at every place of one text, alone: [T, V]."""
    later = [0] * (LONGEST - len(tokens))
    return np.asarray(forward(params, config, np.array([tokens + later])))[: len(tokens)]


def scores_of(params, config, texts, lora=None):
    """Scores of texts, [B, LONGEST - 1]."""
    tokens, valid = sample.shapes.padded(texts, LONGEST, 10, 0, left=False)
    return np.asarray(score.score_tokens(params, config, tokens, valid, lora))


@pytest.mark.slow
@pytest.mark.parametrize('share', [False, True])
def test_decoding_with_the_cache_is_the_full_forward_pass(model, weights, share):
    params, config = model
    prompts = prompts_of(config)
    for row, (tokens, logprobs, _) in collect(
            weights, config, prompts, share_prefix=share,
            buckets=[16 if share else 24]).items():
        text = prompts[row] + tokens
        logp = special.log_softmax(logits_of(params, config, text), axis=-1)
        wanted = logp[len(prompts[row]) - 1 : -1]
        np.testing.assert_allclose(logprobs, wanted[np.arange(NEW), tokens], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize('choice', [Choice(0.7, 50, 0.6), Choice(0)])
def test_reported_logprobs_are_those_of_scoring_the_text_again(model, weights, choice):
    params, config = model
    prompts = prompts_of(config)
    found = collect(weights, config, prompts, choice=choice)
    again = scores_of(params, config, [p + found[row][0] for row, p in enumerate(prompts)])
    for row, prompt in enumerate(prompts):
        own = again[row, len(prompt) - 1 : len(prompt) - 1 + NEW]
        np.testing.assert_allclose(found[row][1], own, atol=2e-5)


def test_greedy_is_the_argmax_of_every_place(model, weights):
    params, config = model
    prompts = prompts_of(config)
    for row, (tokens, _, _) in collect(weights, config, prompts, choice=Choice(0)).items():
        logits = logits_of(params, config, prompts[row] + tokens)[len(prompts[row]) - 1 : -1]
        assert tokens == np.argmax(logits, axis=-1).tolist()


def test_left_and_right_padding_give_the_same_scores(model):
    params, config = model
    prompts = prompts_of(config)
    for left in (False, True):
        tokens, valid = sample.shapes.padded(prompts, LONGEST, len(prompts), 3, left)
        logprobs = np.asarray(score.score_tokens(params, config, tokens, valid))
        for row, prompt in enumerate(prompts):
            follows = valid[row][1:] & valid[row][:-1]
            logp = special.log_softmax(logits_of(params, config, prompt), axis=-1)
            wanted = logp[np.arange(len(prompt) - 1), prompt[1:]]
            np.testing.assert_allclose(logprobs[row][follows], wanted, atol=2e-5)
            assert (logprobs[row][~follows] == 0).all()


def test_a_prompt_padded_further_gives_the_same_tokens(model, weights):
    _, config = model
    prompts = prompts_of(config)
    near, far = (collect(weights, config, prompts, share_prefix=False, buckets=[length])
                 for length in (24, 40))
    for row, (tokens, logprobs, _) in near.items():
        assert tokens == far[row][0]
        np.testing.assert_allclose(logprobs, far[row][1], atol=2e-5)


def test_a_row_does_not_depend_on_its_batch_or_place(model, weights):
    _, config = model
    prompts = prompts_of(config)
    wanted = collect(weights, config, prompts)
    order = np.random.default_rng(1).permutation(len(prompts)).tolist()
    for _ in range(2):  # another order, then another order of half of them
        moved = collect(weights, config, [prompts[i] for i in order], names=order,
                        wanted=range(len(prompts)))
        assert {order[i]: row[0] for i, row in moved.items()} == {
            i: row[0] for i, row in wanted.items()}
        order = order[::-1]
    some = collect(weights, config, prompts, wanted=[7, 2, 5])
    assert {i: row[0] for i, row in some.items()} == {i: wanted[i][0] for i in (2, 5, 7)}
    for i in (2, 5, 7):
        np.testing.assert_array_equal(some[i][1], wanted[i][1])


def test_prompts_of_many_lengths_need_few_programs():
    config = tiny(40, width=16, num_layers=1, num_heads=2, max_positions=128)
    weights = network.prepare(random_params(config), config)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(40, size=n).tolist() for n in range(1, 61)] * 3
    before = sample.generate._cache_size()
    found = collect(weights, config, prompts, buckets=None, batch_size=8, stop_ids=(1, 2))
    assert len(found) == 180
    assert 2 <= sample.generate._cache_size() - before <= 4
    collect(weights, config, prompts[::-1], buckets=None, batch_size=8, stop_ids=(1, 2), seed=3)
    assert sample.generate._cache_size() - before <= 4


def test_names_and_seeds_change_the_draw(model, weights):
    _, config = model
    prompts, alone = [[3, 4, 5]] * 6, {'share_prefix': False, 'buckets': [24]}
    drawn = [row[0] for seed in (0, 1)
             for row in collect(weights, config, prompts, seed=seed, **alone).values()]
    assert len({tuple(tokens) for tokens in drawn}) == 12
    same = collect(weights, config, prompts, names=['a'] * 6, **alone)
    assert len({tuple(row[0]) for row in same.values()}) == 1


@pytest.mark.parametrize('model', ['untied'], indirect=True)
def test_rows_end_at_their_stop_token(model, weights):
    _, config = model
    prompts = prompts_of(config)
    free = collect(weights, config, prompts)
    stop_ids = (free[0][0][3], free[1][0][0])
    for row, (tokens, logprobs, stopped) in collect(
            weights, config, prompts, stop_ids=stop_ids).items():
        ends = [i for i, token in enumerate(free[row][0]) if token in stop_ids]
        count = ends[0] + 1 if ends else NEW
        assert tokens == free[row][0][:count]
        assert stopped == bool(ends)
        np.testing.assert_array_equal(logprobs, free[row][1][:count])


def test_sampled_first_tokens_follow_the_model():
    config = tiny(40, num_layers=1)
    params = random_params(config, seed=2)
    prompt, number = [7, 3, 9, 1], 4000
    found = collect(network.prepare(params, config), config, [prompt] * number, max_new_tokens=2,
                    batch_size=500, buckets=None)
    for place, before in ((0, prompt), (1, None)):
        pairs = [found[i][0] for i in range(number)]
        if before is None:  # the second token, given the most common first one
            first = np.bincount([p[0] for p in pairs]).argmax()
            pairs, before = [p for p in pairs if p[0] == first], [*prompt, first]
        wanted = special.softmax(logits_of(params, config, before)[-1].astype(np.float64))
        counts = np.bincount([p[place] for p in pairs], minlength=40)
        rare = wanted * len(pairs) < 5
        observed = np.append(counts[~rare], counts[rare].sum())
        theory = np.append(wanted[~rare], wanted[rare].sum()) / wanted.sum() * len(pairs)
        assert stats.chisquare(observed[theory > 0], theory[theory > 0]).pvalue > 1e-4


# Prompts that several rows answer.

PLACES = {'all': None, 'some of most': [0, 2, 3, 5, 7, 9, 11, 12, 14, 20, 21], 'one of each':
          [1, 6, 9, 13, 17, 22]}


@pytest.fixture
def read_by(monkeypatch):
    """How many prompts each batch that is sampled has read."""
    counts, own = [], sample.generate

    def counting(weights, prompts, *args, **settings):
        counts.append(len(prompts.tokens_PT))
        return own(weights, prompts, *args, **settings)

    monkeypatch.setattr(sample, 'generate', counting)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize('places', PLACES)
def test_rows_that_share_a_prompt_come_out_as_if_each_read_it(model, weights, read_by, places):
    _, config = model
    prompts = [p for p in prompts_of(config, 6) for _ in range(4)]
    settings = {'batch_size': 8, 'wanted': PLACES[places], 'stop_ids': (3, 4, 5)}
    alone = collect(weights, config, prompts, **settings)
    assert set(read_by) == {8}
    read_by.clear()
    shared = collect(weights, config, prompts, per_prompt=4, **settings)
    assert read_by == {'all': [2, 2, 2], 'some of most': [4, 2], 'one of each': [8]}[places]
    assert shared.keys() == alone.keys() == set(PLACES[places] or range(24))
    for row, (tokens, logprobs, stopped) in shared.items():
        assert (tokens, stopped) == (alone[row][0], alone[row][2])
        np.testing.assert_allclose(logprobs, alone[row][1], atol=1e-5)
    assert len({tuple(row[0]) for row in shared.values()}) == len(shared)  # answers of their own


@pytest.mark.slow
@pytest.mark.parametrize('per_prompt', [1, 2])
def test_stacked_models_sample_as_each_alone(per_prompt):
    config = tiny(61, width=32, num_kv_heads=2)
    models = [network.prepare(random_params(config, seed), config) for seed in range(3)]
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *models)
    prompts = [p for p in prompts_of(config, 5) for _ in range(2)]
    alone = [collect(model, config, prompts, seed=10 + m, stop_ids=(5, 6))
             for m, model in enumerate(models)]
    for indices, done in sample.sample_tokens(
            weights, config, prompts, range(len(prompts)), max_new_tokens=NEW, choice=Choice(),
            seed=[10, 11, 12], stop_ids=(5, 6), batch_size=4, per_prompt=per_prompt):
        for m in range(3):
            for place, row in enumerate(indices):
                count = int(done.count_B[m, place])
                assert done.tokens_BN[m, place, :count].tolist() == alone[m][row][0]
                np.testing.assert_allclose(
                    done.logprobs_BN[m, place, :count], alone[m][row][1], atol=2e-5)


def test_an_adapter_samples_as_the_merged_model(model, key):
    params, config = model
    lora = init_lora(key, config, 4, targets=('q', 'v', 'down'))
    lora = jax.tree.map(lambda x: x + 0.1, lora)
    prompts = prompts_of(config)
    direct = scores_of(params, config, prompts, lora)
    merged = scores_of(merge_lora(params, lora, config), config, prompts)
    np.testing.assert_allclose(direct, merged, atol=1e-4)
    assert np.abs(direct - scores_of(params, config, prompts)).max() > 0.1
    found = collect(network.prepare(params, config, lora), config, prompts)
    again = scores_of(params, config, [p + found[row][0] for row, p in enumerate(prompts)], lora)
    for row, prompt in enumerate(prompts):
        own = again[row, len(prompt) - 1 : len(prompt) - 1 + NEW]
        np.testing.assert_allclose(found[row][1], own, atol=1e-4)


def test_model_functions_hold_under_strict_promotion(model, strict):
    """Promotion is a matter of tracing: nothing has to be compiled for it."""
    params, config = model

    def run(params, tokens_BT, valid_BT):
        weights = network.prepare(params, config)
        prefix = network.prefix_cache(weights, jnp.array([8, 9]), config)
        logits_VB, cache = network.prefill(weights, tokens_BT, valid_BT, prefix, config, 2)
        token_B = choices.choose(
            logits_VB, choices.row_keys(0, jnp.zeros((2, 2), jnp.uint32)), Choice(0.7, 50, 0.6))
        return token_B, network.decode(weights, token_B, jnp.array([4, 5]), cache, jnp.int32(3),
                                       jnp.ones((2, 5), bool), prefix, config)[0]

    token_B, logits_VB = jax.eval_shape(run, params, jnp.zeros((2, 3), jnp.int32),
                                        jnp.ones((2, 3), bool))
    assert (token_B.shape, token_B.dtype) == ((2,), jnp.int32)
    assert (logits_VB.shape, logits_VB.dtype) == ((config.vocab_size, 2), jnp.float32)
    with pytest.raises(ValueError, match='promotion'):  # the check can fail
        jax.eval_shape(lambda x: x + jnp.int32(1), logits_VB)


@pytest.mark.parametrize('model', ['untied'], indirect=True)
def test_scores_do_not_depend_on_how_many_places_are_made_at_once(model, monkeypatch):
    params, config = model
    texts = prompts_of(config)
    wanted = scores_of(params, config, texts)
    monkeypatch.setattr(score, 'PLACES_AT_ONCE', 7)
    anew = jax.jit(lambda *given: score.score_tokens.__wrapped__(params, config, *given))
    found = anew(*sample.shapes.padded(texts, LONGEST, 10, 0, left=False))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
