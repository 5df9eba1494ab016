"""Runs an experiment.

  python -m launch.run --config=configs/NAME.py --workdir=DIR [--config.field=value ...]

The folder DIR then holds config.json, metrics.jsonl, the stages' artefacts, results.json,
report.html and figures/. The same command goes on where an interrupted run stopped.
--mesh=data:2,fsdp:4 lays a pretrained model over devices (docs/accelerators.md).
--metrics=tensorboard,wandb,mlflow (launch/setup.sh --with metrics) copies metrics.jsonl for these
programs into DIR/tensorboard, DIR/wandb and DIR/mlflow.
"""

from absl import flags

from launch.start import mesh_flag, start
from subliminal_jax.runs import UserError, local_path, meshes, run_program

WORKDIR = flags.DEFINE_string('workdir', None, 'the folder of this run')
PRINT_CONFIG = flags.DEFINE_bool(
    'print_config', False, 'print every field with its value and meaning, and stop')
DRY_RUN = flags.DEFINE_bool(
    'dry_run', False, 'print the stages with FLOPs, peak memory and time, and stop')
TOPOLOGY = flags.DEFINE_string(
    'topology', '', 'with --dry_run: the accelerators to plan for, as launch.compile has them')
MESH = mesh_flag()
PROFILE = flags.DEFINE_integer(
    'profile', 0, 'trace this many training steps into DIR/profile, and stop', lower_bound=0,
    upper_bound=10_000)
METRICS = flags.DEFINE_list(
    'metrics', [], 'also write the metrics for these, joined by commas: tensorboard, wandb, mlflow')


def main(config_arguments: list[str]) -> None:
    from launch.experiments import EXPERIMENTS
    from subliminal_jax.runs import config as configs, schema, sinks

    sinks.check(METRICS.value)
    loaded = configs.load(config_arguments, EXPERIMENTS)
    loaded.experiment.check(loaded.config)
    if PRINT_CONFIG.value:
        for name, kind, meaning in schema.describe(type(loaded.config)):
            value = loaded.config
            for part in name.split('.'):
                value = getattr(value, part)
            print(f'{name} = {value!r}  ({kind}) {meaning}')
        return
    if MESH.value:
        if not loaded.experiment.meshed(loaded.config):
            raise UserError(f'--mesh lays pretrained language models over devices, and the models '
                            f'of this {loaded.name} are small: leave it out')
        meshes.use(meshes.sizes_of(MESH.value))
    if TOPOLOGY.value:
        _dry_run_elsewhere(loaded, TOPOLOGY.value)
        return
    instead = (lambda: _profile(loaded, PROFILE.value)) if PROFILE.value else None
    # XLA has crashed on reading a program of several CPU devices from a cache.
    start(loaded, WORKDIR.value, DRY_RUN.value, METRICS.value, instead, cached=not MESH.value)


def _dry_run_elsewhere(loaded, name: str) -> None:
    """The programs, then the stages, on accelerators that are not here."""
    from launch import ahead as programs_ahead
    from subliminal_jax.runs import ahead, plan, platforms

    if not DRY_RUN.value:
        raise UserError('--topology is of --dry_run: a run takes the devices that it finds')
    topology, found = programs_ahead.bounds(loaded, name)
    print(ahead.render(found, topology))
    ahead.check_fits(found, topology)
    pace = ahead.pace(found, topology)
    with platforms.compiling_for(topology.platform):
        stages = loaded.experiment.plan(loaded.config)
    print(plan.render(pace.of(stages), pace.rate, pace.source))


def _profile(loaded, steps: int) -> None:
    """Traces `steps` training steps, after one that compiles."""
    import pathlib

    import jax

    if loaded.experiment.steps is None:
        raise UserError(f'the experiment {loaded.name} has no steps to trace')
    folder = pathlib.Path(local_path('workdir', WORKDIR.value)).expanduser() / 'profile'
    folder.mkdir(parents=True, exist_ok=True)
    work = loaded.experiment.steps(loaded.config, steps)
    jax.block_until_ready(work())
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(work())
    print(f'trace of {steps} steps: {folder} (open it with xprof or Perfetto)')


if __name__ == '__main__':
    run_program(main, allow_prefix='--config')
