"""How programs start: an experiment once its config is known, and a model over devices.
"""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from subliminal_jax.runs import UserError, meshes, use_compilation_cache
from subliminal_jax.runs.config import Loaded

flags.disclaim_key_flags()  # --help shows them as the program's own


def mesh_flag() -> flags.FlagHolder:
    """Defines --mesh, of the program that asks for it."""
    return flags.DEFINE_list('mesh', [], 'lay a pretrained model over devices: sizes of the axes '
                             'data, fsdp and tensor, such as data:2,fsdp:4')


def laid(mesh: Sequence[str], batch_size: int) -> Any:
    """The devices of --mesh; None where it is not given: then compiled programs are kept.

    XLA has crashed on reading a program of several CPU devices from a cache.

    Args:
      mesh: the flag's value.
      batch_size: rows at once.

    Raises:
      UserError: what meshes.sizes_of and meshes.make refuse, or axes that do not divide the rows.
    """
    sizes = meshes.sizes_of(mesh)
    if sizes is None:
        use_compilation_cache()
        return None
    devices = meshes.make(sizes)
    meshes.check_rows(devices, batch_size)
    return devices


def start(loaded: Loaded, workdir: str | None, dry_run: bool, metrics: Sequence[str] = (),
          instead: Callable[[], None] | None = None, cached: bool = True) -> None:
    """Prints what a run would cost; or runs it, and prints its table and where its page is.

    Args:
      loaded: the experiment and its config, which its own `check` has passed.
      workdir: the run's folder; a dry run needs none.
      dry_run: print the cost, and stop.
      metrics: names of sinks, which `sinks.check` has passed.
      instead: what is done in place of the run, if anything.
      cached: keep compiled programs for the next start.

    Raises:
      UserError: no folder, a run that cannot end on this machine, whatever the run itself refuses.
    """
    if not dry_run and not workdir:
        raise UserError('no folder for the run: pass --workdir=DIR')
    if cached:
        use_compilation_cache()
    from subliminal_jax.runs import Workdir, plan, sinks

    experiment = loaded.experiment
    if dry_run:
        print(plan.render(experiment.plan(loaded.config), plan.measured_rate()))
        return
    if experiment.estimate:
        plan.check(experiment.estimate(loaded.config))
    if instead is not None:
        instead()
        return
    folder = Workdir(workdir, loaded.config, loaded.name)
    with sinks.opened(metrics, folder):
        print(experiment.run(loaded.config, folder))
    print(f'page: {folder.path / "report.html"}')
