"""Trains a pretrained model on rows, on one device, a mesh of devices, or several hosts.

  python -m launch.train --model=SPEC --rows=rows.jsonl --workdir=DIR [--trainable=lora:8]
      [--mesh=data:2,fsdp:4] [--coordinator=HOST:PORT --processes=2 --process=0]

SPEC as in launch.sample. Rows hold prompt (or messages) and completion: the model learns the
completions, in its chat template. DIR then holds settings.json, metrics.jsonl, checkpoints/ and
student.safetensors: the weights, or the adapter. The same command goes on where a stopped one was,
on another mesh too.

Of several hosts each gets the same command with its own --process (or JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID in its environment), and sees the same DIR; without --mesh the
weights are cut over all devices (fsdp). A host with other settings, rows or code is refused, and
one that is lost ends all. They stop together on SIGTERM to any, and compare what they hold copies
of at every checkpoint (docs/accelerators.md).
"""

import json
import os
import pathlib

from absl import flags

from launch import lm_rows
from launch.start import mesh_flag
from subliminal_jax.runs import (
    UserError,
    append_text,
    finite,
    hosts,
    local_path,
    meshes,
    read_json,
    run_program,
    sha256,
    sha256_of,
    together,
    use_compilation_cache,
    versions,
    write_json,
    write_text,
)

ROOT = pathlib.Path(__file__).parents[1]
MODEL = flags.DEFINE_string('model', 'package:smollm2-135m-instruct', 'the model (see above)')
ROWS = flags.DEFINE_string('rows', None, 'rows to learn (JSONL)')
WORKDIR = flags.DEFINE_string('workdir', None, 'the folder of this training')
TRAINABLE = flags.DEFINE_string('trainable', 'all', 'all, or lora:RANK')
LEARNING_RATE = flags.DEFINE_float('learning_rate', 2e-5, "Adam's", lower_bound=0)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'rows a step', lower_bound=1)
PASSES = flags.DEFINE_integer('passes', 1, 'over the rows', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'of the order of rows, and of an adapter', lower_bound=0)
SAVE_EVERY = flags.DEFINE_float('save_every', 60.0, 'seconds between checkpoints', lower_bound=0)
MESH = mesh_flag()
COORDINATOR = flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0, and PORT + 1')
PROCESSES = flags.DEFINE_integer('processes', None, 'of the training, one a host', lower_bound=1)
PROCESS = flags.DEFINE_integer('process', None, 'which of them this is, from 0', lower_bound=0)
HOST_TIMEOUT = flags.DEFINE_float('host_timeout', 60.0, 'seconds in which a host has to answer',
                                  lower_bound=1)


def main(rest: list[str]) -> None:
    del rest
    lm_rows.required(rows=ROWS.value, workdir=WORKDIR.value)
    kind, _, rank = TRAINABLE.value.partition(':')
    if TRAINABLE.value != 'all' and (kind != 'lora' or not rank.isdecimal() or not int(rank)):
        raise UserError(f'--trainable={TRAINABLE.value}: all, or lora:RANK')
    sizes = meshes.sizes_of(MESH.value)
    place = hosts.asked(COORDINATOR.value, PROCESSES.value, PROCESS.value, HOST_TIMEOUT.value,
                        os.environ)
    rows = pathlib.Path(local_path('rows', ROWS.value)).expanduser()
    if not rows.is_file():
        raise UserError(f'there is no file {rows}')
    settings = {**lm_rows.values(MODEL, TRAINABLE, LEARNING_RATE, BATCH_SIZE, PASSES, SEED),
                'rows': sha256(rows)}
    code = {str(path.relative_to(ROOT)): sha256(path) for folder in ('subliminal_jax', 'launch')
            for path in sorted((ROOT / folder).rglob('*.py'))}
    facts = {'config': sha256_of([settings, sizes, SAVE_EVERY.value == 0]),
             'code': sha256_of(code), 'set of packages': sha256_of(versions())}
    with hosts.joined(place, facts):
        if place is None and sizes is None:  # XLA has crashed on a cached program of several CPUs
            use_compilation_cache()
        train(settings, rows, int(rank or 0), sizes)


def train(settings: dict, rows: pathlib.Path, rank: int, sizes: dict[str, int] | None) -> None:
    """Everything but the flags; on each host."""
    import jax

    from subliminal_jax import models
    from subliminal_jax.experiments.transmission import engines, rows as carried
    from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
    from subliminal_jax.runs.workdir import locked
    from subliminal_jax.training import checkpoints as saving, tries as packing
    from subliminal_jax.training.loop import fit
    from subliminal_jax.training.optimizers import OptimizerConfig

    folder = pathlib.Path(local_path('workdir', WORKDIR.value)).expanduser().resolve()
    first = hosts.first()
    held = locked(folder) if first else None
    if hosts.several():
        sizes = sizes or {'fsdp': jax.device_count()}
    mesh = None if sizes is None else meshes.make(sizes)
    model = models.load(MODEL.value, mesh=mesh)
    settings = {**settings, 'model_sha256': model.sha256}
    texts = texts_of(rows, model)
    if hosts.several():
        together.check_same({'model': model.sha256, 'reading of the rows': sha256_of(texts)})
    if first:
        claim(folder, settings)
    hosts.barrier('claimed')
    batch = {'tries': packing.alone([packing.Row(*text) for text in texts])}
    order = carried.order_of(SEED.value, len(texts), BATCH_SIZE.value, PASSES.value)
    trainable = adapter(model.config, rank, mesh) if rank else model.params
    program = engines.Program(OBJECTIVES['sft'].loss, model.config, (), OptimizerConfig(
        learning_rate=LEARNING_RATE.value))
    log = None
    if first:
        write_text(folder / 'metrics.jsonl', '')
        log = lambda **row: append_text(
            folder / 'metrics.jsonl', json.dumps(finite(row)) + '\n')
    with saving.Checkpoints(folder / 'checkpoints', settings) as kept, \
            jax.default_matmul_precision('highest'):
        found = fit(
            engines.step_of(program, engines.SINGLE, bool(rank)),
            engines.begin(program, engines.SINGLE, trainable),
            {'base': model.params if rank else {}},
            lambda step: carried.taken(batch, order[step], BATCH_SIZE.value), len(order),
            key=jax.random.key(SEED.value), checkpoints=kept, save_every=SAVE_EVERY.value, log=log,
            description='training')
    weights = jax.tree.map(lambda x: hosts.whole(x, first), found.state.trainable)
    if first:
        saving.save_tree(folder / 'student.safetensors', weights)
        print(f'{len(found.rows)} steps: {folder / "student.safetensors"}')
    hosts.barrier('written')
    if held:
        held.close()


def texts_of(rows: pathlib.Path, model) -> list[tuple[list[int], list[int]]]:
    """The tokens of every row: those before the completion, and its own."""
    from subliminal_jax.data import rows as jsonl
    from subliminal_jax.sampling import score

    read, bad = jsonl.read(rows, lambda row: jsonl.prompt_trouble(row) or jsonl.text_trouble(
        row, 'completion') or score.score_trouble(model.tokenizer, model.config, row, False))
    if bad or not read:
        raise UserError(jsonl.bad_lines(rows, bad) if bad else f'{rows} holds no row')
    return [score.tokens_of(model.tokenizer, row, False) for row in read]


def adapter(config, rank: int, mesh):
    """A fresh adapter, whole on every device."""
    import jax

    from subliminal_jax.models import lora

    fresh = lora.init_lora(jax.random.key(SEED.value), config, rank)
    return fresh if mesh is None else jax.device_put(
        jax.tree.map(jax.device_get, fresh), meshes.everywhere(mesh))


def claim(folder: pathlib.Path, settings: dict) -> None:
    """Writes what the training is of, or raises UserError where the folder is another's."""
    path = folder / 'settings.json'
    if path.exists():
        before = read_json(path, 'delete it, or name another --workdir')
        for name in settings:
            if before.get(name) != settings[name]:
                raise UserError(f'{folder} belongs to a training with another {name} '
                                f'({before.get(name)}, not {settings[name]}): name another '
                                '--workdir')
        return
    write_json(path, settings)


if __name__ == '__main__':
    run_program(main)
