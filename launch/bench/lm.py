"""The language-model core beside transformers on PyTorch: training, sampling, loading, memory.

  launch/setup.sh cpu --with bench
  python -m launch.bench.lm

Same machine, same float32 weights, one side after the other, each in processes of its own. About
six minutes on two cores. The last line is JSON, every entry {ours, torch, ratio, gflops,
fraction_of_sgemm}: train_full and train_lora (32 rows of 96 tokens, loss on the last 32; forward,
backward and Adam update; LoRA of rank 8) in tokens/s; sample_total (32 prompts of 60, 32 new
tokens), sample_shared (their first 40 equal) and decode_only in new tokens/s; load_s in seconds and
peak_mb in 1e6 bytes, where a ratio above 1 means less here too. gflops is the arithmetic that the
task needs over the time it took here, fraction_of_sgemm its share of numpy's matrix rate.
"""

import sys

from absl import flags

from launch.bench import common
from launch.bench.lm_sampling import MODEL, sampling_entries
from launch.bench.lm_training import training_entries
from subliminal_jax.runs import run_program

MODEL_FLAG = flags.DEFINE_string('model', MODEL, 'a model that both sides can read')
TRIES = flags.DEFINE_integer('tries', 2, 'timed runs of each; the best counts', lower_bound=1)
ONLY = flags.DEFINE_enum('only', None, ['training', 'sampling'], 'one half of the entries')


def main(rest: list[str]) -> None:
    del rest
    common.require('torch', 'transformers', 'accelerate')
    before = common.sgemm_gflops()
    entries = {}
    for name, half in (('training', training_entries), ('sampling', sampling_entries)):
        if ONLY.value in (None, name):
            print(f'{name} …', file=sys.stderr, flush=True)
            entries |= half(before, MODEL_FLAG.value, TRIES.value)
    rate = max(before, common.sgemm_gflops())
    for entry in entries.values():
        if entry['gflops'] is not None:
            entry['fraction_of_sgemm'] = entry['gflops'] / rate
    print(f'{"":14s} {"ours":>9s} {"torch":>9s} {"ratio":>7s} {"GFLOP/s":>8s} {"of sgemm":>8s}')
    for name, entry in entries.items():
        rest = '' if entry['gflops'] is None else (
            f' {entry["gflops"]:8.0f} {entry["fraction_of_sgemm"]:8.2f}')
        print(f'{name:14s} {entry["ours"]:9.1f} {entry["torch"]:9.1f} {entry["ratio"]:7.2f}{rest}')
    common.print_json({'sgemm_gflops': rate, **entries})


if __name__ == '__main__':
    run_program(main)
