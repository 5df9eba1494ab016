"""How a program starts an experiment once its config is known, launch.run and launch.audit alike.
"""

from collections.abc import Callable, Sequence

from subliminal_jax.runs import UserError, use_compilation_cache
from subliminal_jax.runs.config import Loaded


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
