"""The sampler beside transformers on PyTorch."""

import numpy as np
import pytest

from subliminal_jax.models import hf
from subliminal_jax.sampling import network, sample
from subliminal_jax.sampling.choice import Choice

SIZES = {
    'vocab_size': 160, 'hidden_size': 48, 'intermediate_size': 96, 'num_hidden_layers': 3,
    'num_attention_heads': 6, 'num_key_value_heads': 2, 'max_position_embeddings': 128,
    'bos_token_id': None, 'eos_token_id': None, 'pad_token_id': None,
    'tie_word_embeddings': False}  # a small tied model only repeats itself
NEW = 24


@pytest.mark.parity
@pytest.mark.parametrize('family', ['Llama', 'Qwen2'])
def test_greedy_is_generate_token_for_token(tmp_path, family):
    torch, transformers = pytest.importorskip('torch'), pytest.importorskip('transformers')
    torch.manual_seed(0)
    config = getattr(transformers, f'{family}Config')(**SIZES)
    peer = getattr(transformers, f'{family}ForCausalLM')(config).eval()
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            if 'norm' in name or 'bias' in name:
                weight += 0.5 * torch.randn_like(weight)
            else:
                weight *= 3
    peer.save_pretrained(tmp_path)
    own_config, params = hf.load(tmp_path)
    rng = np.random.default_rng(0)
    first = rng.integers(160, size=12).tolist()
    prompts = [first + rng.integers(160, size=n).tolist() for n in (1, 5, 9, 14, 20)]
    tokens, valid = sample.shapes.padded(prompts, 32, 5, 0)
    wanted = peer.generate(
        torch.tensor(tokens, dtype=torch.long), attention_mask=torch.tensor(valid.astype(int)),
        do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW, pad_token_id=0,
        return_dict_in_generate=True, output_logits=True)
    logprobs = torch.stack(wanted.logits, 1).log_softmax(-1).numpy()
    wanted = wanted.sequences[:, 32:].numpy()
    for indices, done in sample.sample_tokens(
            network.prepare(params, own_config), own_config, prompts, range(5),
            max_new_tokens=NEW, choice=Choice(0), seed=0, stop_ids=(), batch_size=8):
        for place, row in enumerate(indices):
            assert done.tokens_BN[place].tolist() == wanted[row].tolist()
            chosen = logprobs[row][np.arange(NEW), wanted[row]]
            np.testing.assert_allclose(done.logprobs_BN[place], chosen, atol=1e-4)
    assert len({tuple(row) for row in wanted.tolist()}) == 5  # the prompts matter
