"""Sampling in a form: no other token is drawn, and what is reported is the model's own."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from subliminal_jax.data import grammars
from subliminal_jax.models.params import tiny
from subliminal_jax.sampling import network, sample
from subliminal_jax.sampling.choice import Choice
from tests.networks import random_params
from tests.sampling.test_sample import NEW, collect, logits_of, prompts_of, scores_of

CHOICES = [Choice(), Choice(0.7, 3, 0.9), Choice(0)]
TEXTS = [*'abc', 'ab', *['-'] * 28, None]  # what the tokens write; 32 ends
ENDS = (32,)


def words(letters, most=3):
    """Words of some letters, up to so many."""
    step = lambda count, c: count + 1 if c in letters and count < most else None
    return grammars.over_tokens(0, step, lambda count: count > 0, letters, TEXTS, ENDS)


GRAMMARS = [words('ab'), words('bc', 2), words('abc', NEW - 1)]


def said(tokens):
    return ''.join(TEXTS[i] for i in tokens if i not in ENDS)


@pytest.mark.slow
@pytest.mark.parametrize('model', ['untied'], indirect=True)
@pytest.mark.parametrize('choice', CHOICES)
def test_each_row_keeps_to_its_form_and_its_logprobs_are_those_of_scoring(model, weights, choice):
    params, config = model
    prompts = prompts_of(config)
    forms = [GRAMMARS[row % 3] for row in range(len(prompts))]
    found = collect(weights, config, prompts, choice=choice, stop_ids=ENDS, grammars=forms)
    again = scores_of(params, config, [p + found[row][0] for row, p in enumerate(prompts)])
    for row, prompt in enumerate(prompts):
        tokens, logprobs, stopped = found[row]
        text = said(tokens)
        assert stopped and 1 <= len(text) <= (3, 2, NEW - 1)[row % 3]
        assert set(text) <= set(('ab', 'bc', 'abc')[row % 3])
        own = again[row, len(prompt) - 1 : len(prompt) - 1 + len(tokens)]
        np.testing.assert_allclose(logprobs, own, atol=2e-5)


def test_tokens_are_drawn_as_the_model_has_them_among_those_allowed():
    config = tiny(40, num_layers=1)
    params = random_params(config, seed=2)
    prompt, number = [7, 3, 9, 1], 2000
    found = collect(network.prepare(params, config), config, [prompt] * number, max_new_tokens=2,
                    batch_size=500, buckets=None, stop_ids=ENDS, grammars=[GRAMMARS[0]] * number)
    allowed = [0, 1, 3]
    wanted = special.softmax(logits_of(params, config, prompt)[-1].astype(np.float64)[allowed])
    counts = np.bincount([found[row][0][0] for row in range(number)], minlength=40)
    assert counts.sum() == counts[allowed].sum() == number
    assert stats.chisquare(counts[allowed], wanted * number).pvalue > 1e-4


@pytest.mark.slow
def test_stacked_models_and_shared_prompts_keep_to_the_forms_too():
    config = tiny(61, width=32, num_kv_heads=2)
    models = [network.prepare(random_params(config, seed), config) for seed in range(2)]
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *models)
    prompts = [p for p in prompts_of(config, 4) for _ in range(2)]
    forms = [GRAMMARS[row % 3] for row in range(len(prompts))]
    alone = [collect(model, config, prompts, seed=m, stop_ids=ENDS, grammars=forms)
             for m, model in enumerate(models)]
    for indices, done in sample.sample_tokens(
            weights, config, prompts, range(len(prompts)), max_new_tokens=NEW, choice=Choice(),
            seed=[0, 1], stop_ids=ENDS, batch_size=4, per_prompt=2, grammars=forms):
        for m in range(2):
            for place, row in enumerate(indices):
                count = int(done.count_B[m, place])
                assert done.tokens_BN[m, place, :count].tolist() == alone[m][row][0]
