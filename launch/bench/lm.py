"""The language-model core beside transformers on PyTorch: training, sampling, loading, memory.

  launch/setup.sh cpu --with bench
  python -m launch.bench.lm

Same machine, same float32 weights, one side after the other, each in processes of its own; five
runs of each, median and range. The last line is JSON, every entry as `common.compared` gives it:
train_full and train_lora (a student's step on packed rows, lm_training.py) in rows/s; sample_total
(32 prompts of 60, 32 new tokens), sample_shared (their first 40 equal) and decode_only in new
tokens/s; load_s in seconds and peak_mb in 1e6 bytes, where a ratio above 1 means less here too.
gflops is the arithmetic that the task needs over the time it took here, fraction_of_sgemm its share
of numpy's matrix rate in the same run. --output=FILE adds the entries to a JSON file, of which
docs/benchmarks.md is made. --smoke takes a small random model: that all of it works.
"""

import sys

from absl import flags

from launch.bench import common
from launch.bench.lm_sampling import sampling_entries
from launch.bench.lm_training import training_entries
from subliminal_jax.runs import run_program

MODEL = flags.DEFINE_string('model', common.MODEL, 'a model that both sides can read')
RUNS = flags.DEFINE_integer('runs', 5, 'how often each is timed', lower_bound=1)
ONLY = flags.DEFINE_enum('only', None, ['training', 'sampling'], 'one half of the entries')
OUTPUT = flags.DEFINE_string('output', '', 'a JSON file to add the entries to')
SMOKE = flags.DEFINE_bool('smoke', False, 'a small random model and one run of each')


def main(rest: list[str]) -> None:
    del rest
    common.require('torch', 'transformers', 'accelerate')
    model, runs = (common.RANDOM, 1) if SMOKE.value else (MODEL.value, RUNS.value)
    before = common.sgemm_gflops()
    entries = {}
    for name, half in (('training', training_entries), ('sampling', sampling_entries)):
        if ONLY.value in (None, name):
            print(f'{name} …', file=sys.stderr, flush=True)
            entries |= half(before, model, runs)
    rate = max(before, common.sgemm_gflops())
    for entry in entries.values():
        if entry['gflops'] is not None:
            entry['fraction_of_sgemm'] = entry['gflops'] / rate
    print(common.table(entries))
    common.keep(OUTPUT.value, 'lm', entries, rate)
    common.print_json({'sgemm_gflops': rate, **entries})


if __name__ == '__main__':
    run_program(main)
