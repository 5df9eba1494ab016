"""Gemma 3 270M from its packages: ids and log-probabilities beside transformers' of the same file.

Skipped where they are not installed (launch/setup.sh --with gemma). Golden values are of
tests/golden/make_golden.py; the last text is longer than the window of 512 tokens.
"""

import json
import pathlib

import jax
import numpy as np
import pytest

from subliminal_jax import models
from subliminal_jax.models import conversation, packages
from subliminal_jax.runs import UserError
from subliminal_jax.sampling import buckets, network, sample, score
from subliminal_jax.sampling.choice import Choice

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'gemma3.json'
NEAR = 1e-3  # nats


@pytest.fixture(scope='module', name='gemma')
def _gemma():
    try:
        packages.file_of('gemma3-270m')
    except UserError as error:
        pytest.skip(str(error))
    return models.load('package:gemma3-270m')


@pytest.fixture(scope='module', name='rows')
def _rows():
    return json.loads(GOLDEN.read_text())['rows']


def scores(model, sequences):
    """log P of each token but the first, of every sequence, in one batch."""
    tokens_BT, valid_BT = buckets.padded(
        sequences, max(map(len, sequences)), len(sequences), 0, left=False)
    found = np.asarray(score.score_tokens(model.params, model.config, tokens_BT, valid_BT))
    return [row[:len(ids) - 1] for row, ids in zip(found, sequences)]


def test_golden_texts_reach_beyond_the_window(rows):
    assert len(rows[-1]['ids']) > 600 and sum(len(row['logprobs']) for row in rows) > 800


def test_token_ids(gemma, rows):
    tokenizer = gemma.tokenizer
    for row in rows:
        assert tokenizer.encode(row['text']) == row['ids']
        assert tokenizer.decode(row['ids']) == row['text']


def test_log_probabilities(gemma, rows):
    begin = gemma.tokenizer.bos_id
    few = [row for row in rows[:-1] if row['ids']]
    for group in (few, rows[-1:]):
        for row, found in zip(group, scores(gemma, [[begin, *row['ids']] for row in group])):
            np.testing.assert_allclose(found, row['logprobs'], atol=NEAR, err_msg=row['text'][:40])


def test_its_architecture(gemma):
    config = gemma.config
    assert (config.num_layers, config.width, config.ffn_width) == (18, 640, 2048)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (4, 1, 256)
    assert [n for n in range(18) if not config.slides(n)] == [5, 11, 17]
    assert (config.sliding_window, config.rope_theta, config.local_rope_theta) == (512, 1e6, 1e4)
    assert config.tied and config.embed_scale == 640**0.5
    assert sum(x.size for x in jax.tree.leaves(gemma.params)) == 268_098_176


def test_it_has_no_template_and_says_what_to_do(gemma):
    assert not gemma.tokenizer.has_chat
    with pytest.raises(UserError, match='no chat template'):
        conversation.chat_context(gemma.tokenizer, [{'role': 'user', 'content': 'Hello'}])
    context = conversation.text_context(gemma.tokenizer, 'Question: 1 + 1?\nAnswer:', ' ')
    assert context.begin == (gemma.tokenizer.bos_id,)


def test_what_it_writes_has_the_log_probabilities_of_scoring_it(gemma):
    """Beyond its window, by the sampler and by the model."""
    begin, tokenizer = gemma.tokenizer.bos_id, gemma.tokenizer
    text = ', '.join(str(n) for n in range(100, 232))
    prompts = [[begin, *tokenizer.encode(f'{text},')]]
    assert len(prompts[0]) > 520
    (_, done), = sample.sample_tokens(
        network.prepare(gemma.params, gemma.config), gemma.config, prompts, range(1),
        max_new_tokens=8, choice=Choice(0), seed=0, stop_ids=(), batch_size=1)
    answer = done.tokens_BN[0].tolist()
    assert tokenizer.decode(answer).startswith(' 232')
    wanted = scores(gemma, [[*prompts[0], *answer]])[0][-8:]
    np.testing.assert_allclose(done.logprobs_BN[0], wanted, atol=NEAR)
