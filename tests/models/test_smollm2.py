"""SmolLM2 from its GGUF file: ids, log-probabilities and greedy answers beside transformers'.

Golden ids and log-probabilities (tests/golden/make_golden.py) are of the same dequantised weights.
"""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from subliminal_jax import models
from subliminal_jax.models import conversation
from subliminal_jax.sampling import buckets, network, sample, score
from subliminal_jax.sampling.choice import Choice

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
ROWS = json.loads((GOLDEN / 'smollm2.json').read_text())['rows']
NEAR = 1e-3  # nats


def scores(model, sequences):
    """log P of each token but the first, of every sequence, in one batch."""
    kept = [ids for ids in sequences if len(ids) > 1]
    tokens_BT, valid_BT = buckets.padded(kept, max(map(len, kept)), len(kept), 0, left=False)
    logprobs = np.asarray(score.score_tokens(model.params, model.config, tokens_BT, valid_BT))
    found = iter(logprobs)
    return [next(found)[: len(ids) - 1] if len(ids) > 1 else np.zeros(0) for ids in sequences]


def test_golden_texts_hold_what_is_hard():
    texts = ''.join(row['text'] for row in ROWS)
    for part in ('  12', '\n\n3', '=     42', 'def ', '🦉', '東京', '\t', '½', '\u00a0', "'ll",
                 '          '):
        assert part in texts
    assert sum(len(row['logprobs']) for row in ROWS) > 150


@pytest.mark.parametrize('row', ROWS, ids=[repr(row['text'])[:24] for row in ROWS])
def test_token_ids(smollm2, row):
    assert smollm2.tokenizer.encode(row['text']) == row['ids']
    assert smollm2.tokenizer.decode(row['ids']) == row['text']
    spelled = b''.join(map(smollm2.tokenizer.token_bytes, row['ids']))
    assert spelled == row['text'].encode()


def test_no_token_holds_two_digits_or_a_blank_and_a_digit(smollm2):
    tokenizer = smollm2.tokenizer
    special = {tokenizer.encode(t, allow_special=True)[0] for t in ('<|im_start|>', '<|im_end|>')}
    for token in set(range(tokenizer.vocab_size)) - special:
        spelled = tokenizer.token_bytes(token)
        if any(chr(byte).isdigit() for byte in spelled if byte < 128) and not (
                spelled.startswith(b'<')):
            assert len(spelled) == 1


@pytest.mark.slow
def test_log_probabilities_of_varied_texts(smollm2):
    for row, found in zip(ROWS, scores(smollm2, [row['ids'] for row in ROWS])):
        np.testing.assert_allclose(found, row['logprobs'], atol=NEAR, err_msg=repr(row['text']))


def test_its_configuration_is_what_the_file_states(smollm2):
    config = smollm2.config
    assert (config.num_layers, config.width, config.ffn_width) == (30, 576, 1536)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (9, 3, 64)
    assert config.vocab_size == 49152
    assert (config.rope_theta, config.norm_eps, config.tied) == (100000.0, 1e-5, True)
    assert config.max_positions == 8192


def test_its_chat_template(smollm2):
    tokenizer = smollm2.tokenizer
    said = [{'role': 'user', 'content': 'Name a tree.'}]
    text = tokenizer.chat(said)
    assert text.startswith('<|im_start|>system\n')  # the template's own, when none is given
    assert text.endswith('<|im_start|>user\nName a tree.<|im_end|>\n<|im_start|>assistant\n')
    own = tokenizer.chat([{'role': 'system', 'content': 'Be brief.'}, *said])
    assert own.startswith('<|im_start|>system\nBe brief.<|im_end|>')
    assert tokenizer.encode(text, allow_special=True).count(tokenizer.stop_ids[0]) == 2
    assert tokenizer.decode([tokenizer.stop_ids[0]]) == '<|im_end|>'


# ---- live ---------------------------------------------------------------------------------------

@pytest.fixture(scope='module', name='peer')
def _peer():
    torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
    pytest.importorskip('accelerate')
    folder, name = models.gguf_file('package:smollm2-135m-instruct')
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32).eval()


@pytest.mark.slow
@pytest.mark.timeout(900)  # transformers takes long to read a GGUF file
@pytest.mark.parity
def test_log_probabilities_beside_transformers(smollm2, peer):
    spec = importlib.util.spec_from_file_location('make_golden', GOLDEN / 'make_golden.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    texts = [f'{row["text"]} and {other["text"]}' for row, other in zip(ROWS, ROWS[1:])]
    sequences = [smollm2.tokenizer.encode(text) for text in texts]
    for text, ids, found in zip(texts, sequences, scores(smollm2, sequences)):
        np.testing.assert_allclose(found, script.logprobs(peer, ids), atol=NEAR, err_msg=repr(text))


QUESTIONS = ('Name three trees that grow near water.', 'What is 12 + 30?', 'Write one line of '
             'Python that prints the squares below 50.', 'Say hello in French.')


@pytest.mark.slow
@pytest.mark.timeout(900)  # transformers takes long to read a GGUF file
@pytest.mark.parity
def test_greedy_answers_are_those_of_generate(smollm2, peer):
    torch = pytest.importorskip('torch')
    tokenizer = smollm2.tokenizer
    prompts = [conversation.context_ids(tokenizer, sample.row_context(tokenizer, {'prompt': text}))
               for text in QUESTIONS]
    length, new, stop = max(map(len, prompts)), 24, smollm2.tokenizer.stop_ids[0]
    tokens, valid = buckets.padded(prompts, length, len(prompts), 0)
    wanted = peer.generate(
        torch.tensor(tokens, dtype=torch.long), attention_mask=torch.tensor(valid.astype(int)),
        do_sample=False, max_new_tokens=new, eos_token_id=stop, pad_token_id=0)[:, length:].numpy()
    weights = network.prepare(smollm2.params, smollm2.config)
    for indices, done in sample.sample_tokens(
            weights, smollm2.config, prompts, range(len(prompts)), max_new_tokens=new,
            choice=Choice(0), seed=0, stop_ids=(stop,)):
        for place, row in enumerate(indices):
            count = int(done.count_B[place])
            assert done.tokens_BN[place, :count].tolist() == wanted[row, :count].tolist()
            assert done.stopped_B[place] == (stop in wanted[row])
            assert count == new or done.stopped_B[place]
