"""The MNIST table (teacher and four students) beside a plain PyTorch program: seconds and memory.

  python -m launch.bench.mnist --num_models=4
  python -m launch.bench.mnist --scaling=1,4,16,64 --epochs=1 --images=6000 --figure=models.png

The first form runs both sides in turns, each in a child process; medians and ranges of five, and
as its last line JSON. --output=FILE adds them to a JSON file, of which docs/benchmarks.md is made.
The PyTorch side (launch/bench/mnist_torch.py) has the published program's shape; --tuned_peer
gives it weights in the faster layout, and its teacher's outputs computed once, as ours does.
`gflops` counts the arithmetic that the table needs, not what is executed. Ours is timed with its
programs compiled before, as at a second start. The second form times ours alone by number of
models, and draws it.
"""

import time

from absl import flags

from launch.bench import common
from subliminal_jax.runs import UserError, run_program

NUM_MODELS = flags.DEFINE_integer('num_models', 4, 'independent models', lower_bound=2)
EPOCHS = flags.DEFINE_integer('epochs', 5, 'of teachers and of students', lower_bound=1)
RUNS = flags.DEFINE_integer('runs', 5, 'turns of each side', lower_bound=1)
TUNED_PEER = flags.DEFINE_bool('tuned_peer', False, 'a faster PyTorch than the published shape')
SCALING = flags.DEFINE_list('scaling', [], 'numbers of models: time ours alone, by model')
IMAGES = flags.DEFINE_integer('images', 60_000, 'training inputs of --scaling', lower_bound=1)
OUTPUT = flags.DEFINE_string('output', '', 'a JSON file to add the entries to')
FIGURE = flags.DEFINE_string('figure', None, 'where --scaling draws its figure (PNG)')

# The table's arithmetic per model and sample, in FLOP, at 784-256-256-13: a training step of one
# network without the input gradient of its first layer, and a teacher's forward pass.
TRAIN, FORWARD, SAMPLES, NETWORKS = 1.216e6, 0.539e6, 60_000, 5


def table_flops(num_models: int, epochs: int) -> float:
    """What the table needs (7.94 TFLOP for 4 models): teacher, four students, and in each epoch
    the teacher's outputs on the noise, once for all students."""
    return num_models * SAMPLES * epochs * (NETWORKS * TRAIN + FORWARD)


def ours(num_models: int, epochs: int, samples: int = SAMPLES) -> dict:
    """The table by this project's own programs, compiled and run before: seconds, accuracies."""
    import dataclasses

    import jax
    import numpy as np

    from subliminal_jax.data import images
    from subliminal_jax.experiments import digits
    from subliminal_jax.experiments.digits.devices import use_cores
    from subliminal_jax.experiments.digits.training import model_keys
    from subliminal_jax.experiments.mnist import stages
    from subliminal_jax.experiments.mnist.chunk import Chunk, train_chunk
    from subliminal_jax.experiments.mnist.config import Config, recipe_of
    from subliminal_jax.runs import use_compilation_cache

    use_compilation_cache()
    use_cores()
    crossed = ('cross_aux', 'cross_all') if num_models > 1 else ()
    config = dataclasses.replace(
        Config(), num_models=num_models,
        conditions=('reference', 'teacher', 'student_aux', 'student_all', *crossed))
    data = images.load(config.data)
    data = data._replace(train_images=data.train_images[:samples],
                         train_labels=data.train_labels[:samples])
    recipe = recipe_of(config, data.train_images.shape[1])
    other = digits.derangement(config.seed, max(num_models, 2))

    def train(numbers, epochs):
        return train_chunk(Chunk(
            recipe, data, data.train_images, model_keys(config.seed, numbers),
            model_keys(config.seed, other[numbers]), digits.label_maps(config.seed),
            (epochs, epochs), curve_images=0), lambda phase, epoch, losses: None)

    size = config.chunk_size * jax.device_count()
    chunks = [np.minimum(np.arange(first, first + size), num_models - 1)
              for first in range(0, num_models, size)]
    with jax.default_matmul_precision('highest'):
        train(chunks[0], 1)
        begun = time.perf_counter()
        trained = stages.join([train(numbers, epochs) for numbers in chunks])
        seconds = time.perf_counter() - begun
    accuracy = {k: float(v[:num_models].mean()) for k, v in trained.accuracy.items()}
    return {'seconds': seconds, 'accuracy': accuracy}


def peer(num_models: int, epochs: int, tuned: bool) -> dict:
    """The same by PyTorch."""
    from launch.bench import mnist_torch
    from subliminal_jax.data import images
    from subliminal_jax.experiments.mnist.config import Config

    config = Config()
    return mnist_torch.table(
        num_models, epochs, config.batch_size, config.learning_rate, config.num_aux,
        str(images.folder(config.data)), tuned)


def compare() -> None:
    """Both sides in turns; the last line is JSON."""
    common.require('torch')
    from subliminal_jax.data import images

    images.load('mnist')  # prepared before either side is timed
    models, epochs = NUM_MODELS.value, EPOCHS.value
    rates = [common.sgemm_gflops()]
    found: dict[str, list[dict]] = {'ours': [], 'torch': []}
    for turn in range(RUNS.value):
        found['ours'].append(common.in_child('launch.bench.mnist:ours', {
            'num_models': models, 'epochs': epochs}))
        found['torch'].append(common.in_child('launch.bench.mnist:peer', {
            'num_models': models, 'epochs': epochs, 'tuned': TUNED_PEER.value}))
        rates.append(common.sgemm_gflops())
        for side, runs in found.items():
            accuracy = ', '.join(f'{k} {v:.3f}' for k, v in runs[-1]['accuracy'].items())
            print(f'turn {turn}: {side} {runs[-1]["seconds"]:.1f} s, {accuracy}', flush=True)
    rate = max(rates)
    hourly = {side: [3600 / run['seconds'] for run in runs] for side, runs in found.items()}
    peaks = {side: [run['peak_mb'] for run in runs] for side, runs in found.items()}
    memory = common.compared(peaks['ours'], peaks['torch'])
    entries = {
        'mnist_table': common.compared(hourly['ours'], hourly['torch'],
                                       table_flops(models, epochs) / 3600, rate),
        'mnist_peak_mb': {**memory, 'ratio': 1 / memory['ratio']}}
    print(common.table(entries))
    common.keep(OUTPUT.value, 'mnist', entries, rate)
    common.print_json({'sgemm_gflops': rate, **entries})


def scale(counts: list[int]) -> None:
    """Seconds by number of models, ours alone; the last line is JSON."""
    rows = []
    for count in counts:
        run = common.in_child('launch.bench.mnist:ours', {
            'num_models': count, 'epochs': EPOCHS.value, 'samples': IMAGES.value})
        rows.append({'num_models': count, 'seconds': run['seconds'],
                     'seconds_a_model': run['seconds'] / count, 'peak_mb': run['peak_mb']})
        print(f'{count:4d} models: {run["seconds"]:7.1f} s, '
              f'{run["seconds"] / count:6.2f} s a model, peak {run["peak_mb"]:.0f} MB', flush=True)
    if FIGURE.value:
        draw(rows, FIGURE.value)
    common.print_json({'epochs': EPOCHS.value, 'images': IMAGES.value, 'models': rows})


def draw(rows: list[dict], place: str) -> None:
    """Time a model over the number of models."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout='constrained')
    ax = figure.subplots()
    counts = [row['num_models'] for row in rows]
    ax.plot(counts, [row['seconds_a_model'] for row in rows], 'o-', color='#0072B2')
    ax.set_xscale('log', base=2)
    ax.set_xticks(counts, counts)
    ax.set_ylim(bottom=0)
    ax.set_xlabel('models')
    ax.set_ylabel('seconds a model')
    ax.grid(alpha=0.25)
    figure.savefig(place, dpi=130)


def main(rest: list[str]) -> None:
    del rest
    if not SCALING.value:
        compare()
        return
    counts = []
    for text in SCALING.value:
        if not text.isdigit() or int(text) < 1:
            raise UserError(f'--scaling={text}: write numbers of models, such as 1,4,16,64')
        counts.append(int(text))
    scale(counts)


if __name__ == '__main__':
    run_program(main)
