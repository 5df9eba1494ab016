"""The experiment: its stages in order, and its results."""

from subliminal_jax.data import images
from subliminal_jax.experiments.theory import grid, stages, verdict
from subliminal_jax.experiments.theory.config import Config, check
from subliminal_jax.experiments.theory.models import SIDE
from subliminal_jax.report import theory as report
from subliminal_jax.runs import UserError, Workdir


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    check(config)
    cells = grid.grid(config)
    stages.grid_stage(workdir, cells)
    data = images.load(config.data)
    if data.train_images.shape[1] != SIDE**2:
        raise UserError(f'{config.data} has images of {data.image_shape}; these models need 28 x '
                        '28 grey ones')
    entries = stages.cell_stages(config, workdir, cells, data)
    training = stages.track_stages(config, workdir, data) if config.training.num_models else None
    seeds = {'root': config.seed, 'seeds': [0, config.num_seeds - 1]}
    return report.write(workdir.path, workdir.write_results(
        verdict.body(entries, training), seeds=seeds, published=verdict.PUBLISHED))
