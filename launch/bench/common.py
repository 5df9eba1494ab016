"""What the benchmarks share: the machine's matrix rate, children that are timed and weighed, JSON.

Each side of a comparison runs in a child process of its own, so that neither warms the other's
memory or threads, and so that the peak of memory is its own.
"""

import importlib
import importlib.util
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch.kept import growing
from subliminal_jax.runs import UserError, local_path, versions, write_text

INSTALL = 'launch/setup.sh cpu --with bench'
MODEL = 'package:smollm2-135m-instruct'
RANDOM = 'random'  # in a model's place: a small one with weights of its own, for a smoke run
SMALL = {'vocab_size': 256, 'num_layers': 2, 'width': 32, 'num_heads': 2, 'num_kv_heads': 1,
         'head_dim': 16, 'ffn_width': 64}
_MARK = 'bench-child-result: '


def require(*modules: str) -> None:
    """Fails at once, with the command that helps, where a peer's package is not installed.

    Args:
      *modules: import names, e.g. 'torch', 'transformers'.

    Raises:
      UserError: one cannot be found.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f'this benchmark compares with {" and ".join(missing)}, which is not installed: '
            f'run {INSTALL}'
        )


def in_child(
    target: str, args: dict[str, Any] | None = None, env: dict[str, str | None] | None = None
) -> dict[str, Any]:
    """Calls a function in a new Python process.

    Args:
      target: 'package.module:function'.
      args: its keyword arguments, as JSON can carry them.
      env: environment variables to set, or to remove where the value is None.

    Returns:
      What the function returned ({'result': it} if it is no dict), with 'seconds' (the call alone,
      imports of its module left out, unless the function gave its own) and 'peak_mb' (the child's
      largest resident memory, 1e6 bytes).

    Raises:
      RuntimeError: the child failed; the end of what it wrote is in the message.
    """
    settings = {**os.environ}
    for name, value in (env or {}).items():
        settings.pop(name, None)
        if value is not None:
            settings[name] = value
    child = subprocess.run(
        [sys.executable, '-m', 'launch.bench.common', target, json.dumps(args or {})],
        env=settings, capture_output=True, text=True, check=False,
    )
    lines = [line for line in child.stdout.splitlines() if line.startswith(_MARK)]
    if child.returncode or not lines:
        tail = '\n'.join((child.stdout + child.stderr).splitlines()[-15:])
        raise RuntimeError(f'{target} failed with status {child.returncode}:\n{tail}')
    return json.loads(lines[-1][len(_MARK):])


def sgemm_gflops() -> float:
    """numpy's float32 matrix rate in GFLOP/s: the best of five 2048^3 products, in a child.

    OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are removed from its environment: either may pin
    OpenBLAS to kernels that are slower than the machine's own. Measure before and after a benchmark
    and take the larger: a shared machine has bad moments.
    """
    unset = {'OPENBLAS_CORETYPE': None, 'OPENBLAS_L2_SIZE': None}
    return in_child('launch.bench.common:measure_sgemm', env=unset)['gflops']


def measure_sgemm(size: int = 2048, tries: int = 5) -> dict[str, float]:
    """The measurement of `sgemm_gflops`, in this process."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    a @ b  # starts the threads
    best = math.inf
    for _ in range(tries):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return {'gflops': 2 * size**3 / best / 1e9}


def timed(runs: int, work: Callable[[], Any]) -> list[float]:
    """Seconds of each of some calls, after one that is not counted: it compiles."""
    work()
    found = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return found


def compared(ours: Sequence[float], peer: Sequence[float], flops: float | None = None,
             sgemm_gflops: float | None = None) -> dict[str, Any]:
    """An entry of a comparison: of rates, the more the better.

    Args:
      ours, peer: of each run.
      flops: the arithmetic here for one unit of the rate; None where there is none.
      sgemm_gflops: the machine's float32 matrix rate in the same run.

    Returns:
      {ours, torch: medians, ours_range, torch_range: [least, most], ratio of the medians, gflops,
      fraction_of_sgemm}.
    """
    middle, other = statistics.median(ours), statistics.median(peer)
    rate = None if flops is None else flops * middle / 1e9
    return {'ours': middle, 'torch': other, 'ours_range': [min(ours), max(ours)],
            'torch_range': [min(peer), max(peer)], 'ratio': middle / other, 'gflops': rate,
            'fraction_of_sgemm': rate and sgemm_gflops and rate / sgemm_gflops}


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Entries as text: medians, and the range of ours and of the peer behind them."""
    span = lambda low_high: f'[{low_high[0]:.3g}, {low_high[1]:.3g}]'
    rows = [f'{"":14s} {"ours":>9s} {"range":>18s} {"torch":>9s} {"range":>18s} {"ratio":>7s} '
            f'{"GFLOP/s":>8s} {"of sgemm":>8s}']
    for name, entry in entries.items():
        rest = '' if entry['gflops'] is None else (
            f' {entry["gflops"]:8.1f} {entry["fraction_of_sgemm"]:8.2f}')
        rows.append(f'{name:14s} {entry["ours"]:9.2f} {span(entry["ours_range"]):>18s} '
                    f'{entry["torch"]:9.2f} {span(entry["torch_range"]):>18s} '
                    f'{entry["ratio"]:7.2f}{rest}')
    return '\n'.join(rows)


def our_model(name: str) -> tuple[Any, Any]:
    """(parameters in float32, architecture) of a model that both sides can read, or of RANDOM."""
    import jax

    from subliminal_jax import models
    from subliminal_jax.models.params import TransformerConfig, init_params

    if name == RANDOM:
        config = TransformerConfig(**SMALL)
        return init_params(jax.random.key(0), config), config
    loaded = models.load(name)
    return loaded.params, loaded.config


def peer_model(name: str) -> Any:
    """The same weights as a transformers model on PyTorch."""
    import torch
    import transformers

    if name != RANDOM:
        from subliminal_jax import models

        folder, file = models.gguf_file(name)
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32)
    params, config = our_model(name)
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.width, intermediate_size=config.ffn_width,
        num_hidden_layers=config.num_layers, num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads, head_dim=config.head_dim,
        rms_norm_eps=config.norm_eps, tie_word_embeddings=config.tied,
        rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta}))
    network.load_state_dict(_tensors(params), strict=not config.tied)
    return network


def _tensors(params: Any) -> dict[str, Any]:
    """Our parameters under transformers' names."""
    import jax
    import numpy as np
    import torch

    from subliminal_jax.models.families import HF_NAMES

    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        array = np.asarray(leaf)
        if name.startswith('layers/'):
            found |= {HF_NAMES[name].format(n): torch.tensor(layer.T if layer.ndim == 2 else layer)
                      for n, layer in enumerate(array)}
        else:
            found[HF_NAMES[name]] = torch.tensor(array)
    return found


def peak_mb() -> float:
    """The largest resident memory of this process so far, in units of 1e6 bytes (Linux, macOS)."""
    try:  # getrusage would count what the parent held when it started this process
        with open('/proc/self/status') as status:
            peaks = [line.split()[1] for line in status if line.startswith('VmHWM')]
        return int(peaks[0]) * 1024 / 1e6
    except (OSError, IndexError):
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def print_json(values: dict[str, Any]) -> None:
    """Prints one line of JSON, floats to four significant digits, as the program's last line."""
    print(json.dumps(_rounded(values)), flush=True)


def keep(output: str, name: str, entries: Mapping[str, Mapping[str, Any]], rate: float) -> None:
    """Adds a benchmark's entries, each with the run that it is of, to those of its name in a JSON
    file; nothing where there is none.

    Args:
      output: the file, which may exist; empty: none.
      name: of the benchmark.
      entries: as `compared` gives them.
      rate: the machine's float32 matrix rate in the same run, GFLOP/s.

    Raises:
      UserError: another file stands there.
    """
    if not output:
        return
    path = pathlib.Path(local_path('output', output))
    known = growing(path, 'bench')
    of_run = {'command': ' '.join(['python', '-m', f'launch.bench.{name}', *sys.argv[1:]]),
              'sgemm_gflops': rate, 'cores': os.cpu_count(), 'versions': versions()}
    kept = known.setdefault('benchmarks', {}).setdefault(name, {})
    kept.update({what: _rounded({**entry, 'of_run': of_run}) for what, entry in entries.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known, indent=1) + '\n')


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f'{value:.4g}') if math.isfinite(value) else None
    return value


def _child(target: str, text: str) -> None:
    module, name = target.split(':')
    function = getattr(importlib.import_module(module), name)
    begin = time.perf_counter()
    result = function(**json.loads(text))
    seconds = time.perf_counter() - begin
    result = result if isinstance(result, dict) else {'result': result}
    print(_MARK + json.dumps({'seconds': seconds, 'peak_mb': peak_mb(), **result}), flush=True)


if __name__ == '__main__':
    _child(*sys.argv[1:3])
