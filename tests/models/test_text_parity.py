"""One model as a folder and as a GGUF file, with small tokenizers of each kind: rows that are
scored have transformers' tokens and log-probabilities."""

import numpy as np
import pytest

from subliminal_jax import models
from subliminal_jax.models import conversation, hf
from subliminal_jax.sampling import score
from tests.models import small_tokenizers as small

NEAR = 1e-4  # nats
COUNT = 60  # conversations of each kind


def save(name, folder):
    """A small random model with a tokenizer of a kind: (folder, GGUF file, transformers' model)."""
    import torch
    import transformers

    learned = small.small(name)
    learned.save(folder)
    torch.manual_seed(len(name))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=small.SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        bos_token_id=None, eos_token_id=None, pad_token_id=None)).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(('norm' in key) + 0.3 * torch.randn_like(value))
    model.save_pretrained(folder)
    config, params = hf.load(folder)
    small.write_gguf(folder.with_suffix('.gguf'), config, params, learned.fields)
    return folder, folder.with_suffix('.gguf'), model


def peers_logprobs(model, ids):
    import torch

    with torch.inference_mode():
        logits = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1], -1)
    return logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize('name', list(small.KINDS))
def test_scored_rows_are_those_of_transformers(name, tmp_path):
    pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    folder, file, peer = save(name, tmp_path / name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    pairs = [(u.strip(), v.strip()) for u, v in zip(small.texts(), small.texts()[7:])]
    control = small.KINDS[name].control
    rows = [{'id': n, 'prompt': u, 'completion': v} for n, (u, v) in enumerate(pairs)
            if u and v and not any(c in u + v for c in control)][:COUNT]
    texts = [{'id': n, 'text': u} for n, (u, _) in enumerate(pairs) if u][:COUNT]
    for spec in (folder, file):
        model = models.load(str(spec))
        scored = {row['id']: row for batch in score.score_rows(
            model.params, model.config, model.tokenizer, rows, batch_size=64) for row in batch}
        for row in rows:
            messages = [{'role': 'user', 'content': row['prompt']},
                        {'role': 'assistant', 'content': row['completion']}]
            whole = tokenizer.apply_chat_template(messages, return_dict=False)
            *answer, end = scored[row['id']]['token_ids']
            before = conversation.context_ids(
                model.tokenizer, conversation.chat_context(model.tokenizer, messages[:1]))
            assert [*before, *answer] == whole[:len(before) + len(answer)]
            assert tokenizer.decode([end]) == small.KINDS[name].turn
            wanted = peers_logprobs(peer, [*before, *answer, end])[len(before) - 1:]
            np.testing.assert_allclose(scored[row['id']]['logprobs'], wanted, atol=NEAR)
        raw = [row for batch in score.score_rows(
            model.params, model.config, model.tokenizer, texts, raw=True, batch_size=64)
            for row in batch]
        for row in raw:
            ids = tokenizer(row['text'], split_special_tokens=True)['input_ids']
            wanted = peers_logprobs(peer, ids) if len(ids) > 1 else []
            assert row['token_ids'] == ids[len(ids) - len(row['token_ids']):]
            np.testing.assert_allclose(row['logprobs'], wanted, atol=NEAR)
    assert len(raw) == len(texts)
