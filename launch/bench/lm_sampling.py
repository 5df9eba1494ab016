"""Sampling beside transformers on PyTorch: the same prompts, lengths and float32 weights.

  python -m launch.bench.lm --only=sampling

`sampling_entries` gives the entries of launch/bench/lm.py. Each side runs in a process of its own
and warms up (compiles) before it is timed. Rates are new tokens per second of the whole
batch; arithmetic is what the task needs: two operations a weight and token of the layers, the
vocabulary's matrix for sampled tokens alone, a shared prefix once.
"""

import time
from typing import Any

from launch.bench import common

BATCH, PROMPT, SHARED, NEW = 32, 60, 40, 32


def sampling_entries(sgemm_gflops: float, model: str = common.MODEL, runs: int = 5
                     ) -> dict[str, dict[str, Any]]:
    """The entries sample_total, sample_shared, decode_only, load_s, peak_mb.

    Args:
      sgemm_gflops: the machine's float32 matrix rate (`common.sgemm_gflops`).
      model: a model's name that both sides can read, or common.RANDOM.
      runs: how often each is timed.

    Returns:
      As `common.compared`: new tokens/s for the first three; seconds and 1e6 bytes, once, for the
      last two, whose ratio is torch / ours (above 1: ours is better).
    """
    common.require('torch', 'transformers', 'accelerate')  # which its GGUF reader needs
    ours = common.in_child('launch.bench.lm_sampling:ours', {'model': model, 'runs': runs})
    peer = common.in_child('launch.bench.lm_sampling:peer', {'model': model, 'runs': runs})
    body, head = ours['body_weights'], ours['head_weights']
    first = 2 * BATCH * head
    decode = 2 * BATCH * (NEW - 1) * (body + head)
    work = {
        'sample_total': 2 * BATCH * PROMPT * body + first + decode,
        'sample_shared': 2 * (SHARED + BATCH * (PROMPT - SHARED)) * body + first + decode,
        'decode_only': decode,
    }
    entries = {}
    for name, flops in work.items():
        tokens = BATCH * (NEW - 1 if name == 'decode_only' else NEW)
        entries[name] = common.compared(
            [tokens / s for s in ours[name]], [tokens / s for s in peer[name]], flops / tokens,
            sgemm_gflops)
    for name in ('load_s', 'peak_mb'):
        entries[name] = {**common.compared([ours[name]], [peer[name]]),
                         'ratio': peer[name] / ours[name]}
    return entries


def prompt_tokens(shared: int, vocabulary: int):
    """[BATCH, PROMPT] ids, the first `shared` of each row equal."""
    import numpy as np

    rng = np.random.default_rng(0)
    tokens = rng.integers(100, vocabulary, (BATCH, PROMPT))
    tokens[:, :shared] = tokens[0, :shared]
    return tokens


def tasks(task) -> dict[str, list[float]]:
    """Seconds of each run of every task; task: (shared tokens, new tokens) -> those of one."""
    total, one = task(0, NEW), task(0, 1)
    return {'sample_total': total, 'sample_shared': task(SHARED, NEW),
            'decode_only': [a - b for a, b in zip(total, one)]}


def ours(model: str, runs: int) -> dict[str, Any]:
    """Seconds of each task here; run in a child."""
    begin = time.perf_counter()
    import jax

    from subliminal_jax.runs import use_compilation_cache
    from subliminal_jax.sampling import choice, network, sample

    use_compilation_cache()
    params, config = common.our_model(model)
    weights = jax.block_until_ready(network.prepare(params, config))
    load_s = time.perf_counter() - begin
    del params

    def task(shared, new):
        prompts = prompt_tokens(shared, config.vocab_size).tolist()

        def work():
            for _ in sample.sample_tokens(
                    weights, config, prompts, range(BATCH), max_new_tokens=new,
                    choice=choice.Choice(), seed=0, stop_ids=(), batch_size=BATCH):
                pass

        return common.timed(runs, work)

    head = weights['head'].size
    body = sum(x.size for layer in weights['layers'] for x in jax.tree.leaves(layer) if x.ndim == 2)
    return {**tasks(task), 'load_s': load_s, 'body_weights': body, 'head_weights': head}


def peer(model: str, runs: int) -> dict[str, Any]:
    """The same with transformers' generate on PyTorch; run in a child."""
    begin = time.perf_counter()
    import torch

    network = common.peer_model(model).eval()
    load_s = time.perf_counter() - begin

    def task(shared, new):
        tokens = torch.tensor(prompt_tokens(shared, network.config.vocab_size))

        def work():
            with torch.inference_mode():
                out = network.generate(
                    tokens, attention_mask=torch.ones_like(tokens), do_sample=True, top_k=0,
                    temperature=1.0, min_new_tokens=new, max_new_tokens=new, pad_token_id=0)
            assert out.shape[1] == PROMPT + new

        return common.timed(runs, work)

    return {**tasks(task), 'load_s': load_s}
