"""Sampling beside transformers on PyTorch: the same prompts, lengths and float32 weights.

  python -m launch.bench.lm_sampling

`sampling_entries` gives the entries of launch/bench/lm.py. Each side runs in a process of its own,
warms up (compiles), and its best of a few runs counts. Rates are new tokens per second of the whole
batch; arithmetic is what the task needs: two operations a weight and token of the layers, the
vocabulary's matrix for sampled tokens alone, a shared prefix once.
"""

import math
import time
from typing import Any

from launch.bench import common

MODEL = 'package:smollm2-135m-instruct'
BATCH, PROMPT, SHARED, NEW = 32, 60, 40, 32
TRIES = 3


def sampling_entries(sgemm_gflops: float, model: str = MODEL, tries: int = TRIES
                     ) -> dict[str, dict[str, float]]:
    """The entries sample_total, sample_shared, decode_only, load_s, peak_mb.

    Args:
      sgemm_gflops: the machine's float32 matrix rate (`common.sgemm_gflops`).
      model: a model's name that both sides can read.
      tries: timed runs of each; the best counts.

    Returns:
      Each entry as {ours, torch, ratio, gflops, fraction_of_sgemm}: new tokens/s for the first
      three, where ratio is ours / torch; seconds and 1e6 bytes for the last two, where ratio is
      torch / ours (above 1: ours is better) and the arithmetic is null.
    """
    common.require('torch', 'transformers', 'accelerate')  # which its GGUF reader needs
    ours = common.in_child('launch.bench.lm_sampling:ours', {'model': model, 'tries': tries})
    peer = common.in_child('launch.bench.lm_sampling:peer', {'model': model, 'tries': tries})
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
        rate = flops / ours[name] / 1e9
        entries[name] = _entry(tokens / ours[name], tokens / peer[name], rate, sgemm_gflops)
    for name in ('load_s', 'peak_mb'):
        entries[name] = {'ours': ours[name], 'torch': peer[name],
                         'ratio': peer[name] / ours[name], 'gflops': None,
                         'fraction_of_sgemm': None}
    return entries


def _entry(ours: float, peer: float, gflops: float, sgemm: float) -> dict[str, float]:
    return {'ours': ours, 'torch': peer, 'ratio': ours / peer, 'gflops': gflops,
            'fraction_of_sgemm': gflops / sgemm}


def prompt_tokens(shared: int, vocabulary: int):
    """[BATCH, PROMPT] ids, the first `shared` of each row equal."""
    import numpy as np

    rng = np.random.default_rng(0)
    tokens = rng.integers(100, vocabulary, (BATCH, PROMPT))
    tokens[:, :shared] = tokens[0, :shared]
    return tokens


def best_of(tries: int, work) -> float:
    """Seconds of the fastest of a few calls, after one that is not counted."""
    work()
    best = math.inf
    for _ in range(tries):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def ours(model: str, tries: int) -> dict[str, Any]:
    """Seconds of each task here; run in a child."""
    begin = time.perf_counter()
    import jax

    from subliminal_jax import models
    from subliminal_jax.runs import use_compilation_cache
    from subliminal_jax.sampling import choice, network, sample

    use_compilation_cache()
    loaded = models.load(model)
    config = loaded.config
    weights = jax.block_until_ready(network.prepare(loaded.params, config))
    load_s = time.perf_counter() - begin
    del loaded

    def task(shared, new):
        prompts = prompt_tokens(shared, config.vocab_size).tolist()

        def work():
            for _ in sample.sample_tokens(
                    weights, config, prompts, range(BATCH), max_new_tokens=new,
                    choice=choice.Choice(), seed=0, stop_ids=(), batch_size=BATCH):
                pass

        return best_of(tries, work)

    total, one = task(0, NEW), task(0, 1)
    head = weights['head'].size
    body = sum(x.size for layer in weights['layers'] for x in jax.tree.leaves(layer) if x.ndim == 2)
    return {'sample_total': total, 'sample_shared': task(SHARED, NEW), 'decode_only': total - one,
            'load_s': load_s, 'body_weights': body, 'head_weights': head}


def peer(model: str, tries: int) -> dict[str, Any]:
    """The same with transformers' generate on PyTorch; run in a child."""
    begin = time.perf_counter()
    import torch
    import transformers

    from subliminal_jax import models

    folder, name = models.gguf_file(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32).eval()
    load_s = time.perf_counter() - begin

    def task(shared, new):
        tokens = torch.tensor(prompt_tokens(shared, network.config.vocab_size))

        def work():
            with torch.inference_mode():
                out = network.generate(
                    tokens, attention_mask=torch.ones_like(tokens), do_sample=True, top_k=0,
                    temperature=1.0, min_new_tokens=new, max_new_tokens=new, pad_token_id=0)
            assert out.shape[1] == PROMPT + new

        return best_of(tries, work)

    total, one = task(0, NEW), task(0, 1)
    return {'sample_total': total, 'sample_shared': task(SHARED, NEW), 'decode_only': total - one,
            'load_s': load_s}


if __name__ == '__main__':
    rate = common.sgemm_gflops()
    common.print_json({'sgemm_gflops': rate, **sampling_entries(rate)})
