"""Makes the golden files of tests/models with transformers on PyTorch.

  python tests/golden/make_golden.py [llama] [qwen2] [smollm2] [gemma3]

Small random checkpoints of Llama and Qwen2 (norms, biases and rotary settings non-trivial), their
logits, the residual stream after every layer and the gradient of one loss; and, for SmolLM2 and
Gemma 3 270M (launch/setup.sh --with gemma), token ids and log-probabilities of varied texts. Run it
again only if a family, a text or transformers' own results are meant to change; never to make a
failing test pass.
"""

import json
import pathlib
import re
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent

TEXTS = (
    'The harbour was quiet, and the boats lay on the sand.',
    'def area(r):\n    return 3.14159 * r ** 2\n',
    'for i in range(10):\n\tprint(i,  i*i)\n\n\n# end',
    'x =     42',
    'a  12',
    '\n\n3 apples and 4 pears',
    '7, 12, 105; 999\n 14\n\t15',
    '          10          spaces',
    'Größe: 1½ m² – déjà vu, 東京で会う, привет',
    'ok 👍🏽 and 🦉🦉 2 owls 👩‍👩‍👧',
    'trailing blanks   ',
    "It's 5 o'clock; they've 3 cats, we'll see 20.",
    '\u00a0non-breaking\u00a07 \u2003wide 8',
    '{"a": [1, 2, 3], "b": "\\n"}',
    '٣ arabic digits ४ and Ⅷ',
    '',
)
LONG = '\n'.join(f'{n}. {n * n % 97} boats, {n * 37 % 101} nets' for n in range(1, 61))


def checkpoint(family: str):
    """A small random model of a family, float32, with nothing left at its default."""
    import torch
    import transformers

    common = {
        'vocab_size': 96, 'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 3,
        'num_attention_heads': 4, 'num_key_value_heads': 2, 'max_position_embeddings': 64,
        'rms_norm_eps': 1e-3, 'bos_token_id': None, 'eos_token_id': 1}
    if family == 'llama':
        config = transformers.LlamaConfig(
            **common, head_dim=16, tie_word_embeddings=False, rope_parameters={
                'rope_type': 'llama3', 'rope_theta': 300.0, 'factor': 4.0, 'low_freq_factor': 1.0,
                'high_freq_factor': 3.0, 'original_max_position_embeddings': 16})
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.Qwen2Config(**common, tie_word_embeddings=True, rope_parameters={
            'rope_type': 'default', 'rope_theta': 500.0})
        model = transformers.Qwen2ForCausalLM(config)
    generator = torch.Generator().manual_seed(len(family))
    for name, value in model.named_parameters():
        scale, centre = 0.3, 0.0
        if 'norm' in name:
            centre = 1.0
        noise = torch.randn(value.shape, generator=generator)
        value.data = centre + scale * noise
    return model.eval()


def save(family: str, folder: pathlib.Path):
    """Writes a checkpoint (Qwen2: bfloat16 and sharded) and returns the model that it holds.

    It is read again: a model cast to bfloat16 and back has rotary frequencies of bfloat16.
    """
    import torch

    model = checkpoint(family)
    if family == 'qwen2':
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size='20KB')
    else:
        model.save_pretrained(folder)
    return type(model).from_pretrained(folder, dtype=torch.float32).eval()


def batch() -> tuple[np.ndarray, np.ndarray]:
    """(tokens [3, 20], valid [3, 20]): rows of 20, 13 and 5 tokens, padded on the left."""
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, 96, (3, 20))
    valid = np.arange(20)[None] >= np.array([0, 7, 15])[:, None]
    return tokens, valid


def results(model) -> dict[str, np.ndarray]:
    """Logits, residual streams and the gradient of the mean loss of the batch's next tokens.

    The last stream has passed the final norm, as transformers gives it.
    """
    import torch

    tokens, valid = (torch.tensor(x) for x in batch())
    positions = (valid.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=tokens, attention_mask=valid.long(), position_ids=positions,
                output_hidden_states=True)
    logprobs = torch.log_softmax(out.logits[:, :-1], -1)
    nll = -torch.gather(logprobs, -1, tokens[:, 1:, None])[..., 0]
    model.zero_grad()
    weight = valid[:, :-1].float()
    ((nll * weight).sum() / weight.sum()).backward()
    found = {'logits': out.logits.detach().numpy(),
             'streams': torch.stack(out.hidden_states).detach().numpy()}
    for name, value in model.named_parameters():
        found[f'grad/{name}'] = value.grad.numpy()
    return found


def reference_ids(tokenizer, text: str) -> list[int]:
    """Ids by the rule of the file: digits first, one by one; byte-level BPE on what is between.

    transformers' own pre-tokenizer is right wherever no digit is near.
    """
    ids = []
    for piece in re.split(r'(\d|[½²Ⅷ])', text):
        if piece:
            ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def smollm2() -> dict:
    """Token ids and log-probabilities of TEXTS, of SmolLM2 as transformers dequantises it."""
    tokenizer, model = peer('package:smollm2-135m-instruct')
    rows = []
    for text in TEXTS:
        ids = reference_ids(tokenizer, text)
        rows.append({'text': text, 'ids': ids, 'logprobs': logprobs(model, ids)})
    return {'rows': rows}


def gemma3() -> dict:
    """The same of Gemma 3 270M; the last text is longer than its window of 512 tokens. A text
    begins with the begin token, which `ids` leaves out."""
    tokenizer, model = peer('package:gemma3-270m')
    rows = []
    for text in (*TEXTS, LONG):
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        rows.append({'text': text, 'ids': ids,
                     'logprobs': logprobs(model, [tokenizer.bos_token_id, *ids])})
    return {'rows': rows}


def peer(name: str):
    """transformers' tokenizer and model of a package's GGUF file."""
    import torch
    import transformers

    from subliminal_jax import models

    folder, file = models.gguf_file(name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return tokenizer, transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32).eval()


def logprobs(model, ids: list[int]) -> list[float]:
    """log P of each token but the first, given those before it."""
    import torch

    if len(ids) < 2:
        return []
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return [round(float(x), 6) for x in chosen]


def main(names: list[str]) -> None:
    for family in ('llama', 'qwen2'):
        if family in names or not names:
            folder = HERE / family
            found = results(save(family, folder))
            np.savez_compressed(folder / 'expected.npz', **found)
    for name, made in (('smollm2', smollm2), ('gemma3', gemma3)):
        if name in names or not names:
            text = json.dumps(made(), indent=1, ensure_ascii=True)
            (HERE / f'{name}.json').write_text(text + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
