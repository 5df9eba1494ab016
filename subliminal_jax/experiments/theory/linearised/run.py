"""The experiment: a stage a (width, seed), and its results."""

import jax
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.experiments.theory.linearised import results
from subliminal_jax.experiments.theory.linearised.config import Config, models
from subliminal_jax.experiments.theory.linearised.students import train_model
from subliminal_jax.report import theory_linearised as report
from subliminal_jax.runs import UserError, Workdir, read_json, to_dict, write_json

NOT_READ = ('widths', 'num_seeds', 'single_from')  # by one model


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    data = images.load(config.data)
    if data.num_classes != CLASSES:
        raise UserError(f'{config.data} has {data.num_classes} classes; this experiment has '
                        f'{CLASSES} class logits')
    fields = {k: v for k, v in to_dict(config).items() if k not in NOT_READ}
    todo = models(config)
    found = []
    with tqdm(total=3 * config.epochs * len(todo), unit='epoch', desc='models') as bar, \
            jax.default_matmul_precision('highest'):
        for place, (width, number) in enumerate(todo):

            def make(path, width=width, number=number):
                write_json(path, train_model(config, width, number, data, bar.update))

            name = f'width{width:05d}/model{number:02d}'
            path = workdir.stage(name, f'{name}.json', make, reads=fields)
            found.append(read_json(path))
            bar.n = 3 * config.epochs * (place + 1)
            bar.refresh()
    seeds = {'root': config.seed, 'models': [0, config.num_seeds - 1]}
    return report.write(workdir.path, workdir.write_results(
        results.body(found), seeds=seeds, published=results.PUBLISHED))
