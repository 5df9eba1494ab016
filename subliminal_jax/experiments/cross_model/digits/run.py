"""The matrix on digits: its plan, and its stages in order."""

import jax
from tqdm import tqdm

from subliminal_jax.data import images
from subliminal_jax.experiments.cross_model.digits import results, stages
from subliminal_jax.experiments.cross_model.digits.config import Config, Group, groups_of
from subliminal_jax.experiments.cross_model.digits.published import PUBLISHED
from subliminal_jax.experiments.digits import CLASSES, devices, placebo_labels
from subliminal_jax.report import cross_mnist as report
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.runs.plan import Stage

IMAGES, TESTED, PIXELS = 60_000, 10_000, 784  # of MNIST, which a plan assumes


def run(config: Config, workdir: Workdir) -> str:
    """Runs the experiment and returns its table as text.

    Raises:
      UserError: whatever a user can mend, in one line.
    """
    devices.use_cores()
    check(config)  # before the data are read
    data = images.load(config.data)
    if data.num_classes != CLASSES:
        raise UserError(f'{config.data} has {data.num_classes} classes; this experiment has '
                        f'{CLASSES} class logits')
    groups, digest = groups_of(config, data.train_images.shape[1]), images.digest(data)
    total = config.num_models * sum(stages.epochs_of(config, group) for group, _ in groups)
    with tqdm(total=total, unit='epoch', desc='models x epochs', smoothing=0.1) as bar, \
            jax.default_matmul_precision('highest'):
        trained = [(group, cells, stages.group_stages(workdir, config, group, data, digest, bar))
                   for group, cells in groups]
    seeds = {'root': config.seed, 'models': [0, config.num_models - 1],
             'placebo_labels': placebo_labels(config.seed).tolist()}
    return report.write(workdir.path, workdir.write_results(
        results.body(config, trained), seeds=seeds, published=PUBLISHED))


def check(config: Config) -> None:
    """Raises UserError for a cell that cannot be."""
    groups_of(config, PIXELS)


def plan(config: Config) -> list[Stage]:
    """What a run would do: a stage a group, with its arithmetic and its memory."""
    return [Stage(f'{group.name}, {len(group.students)} students',
                  config.num_models * flops_of(config, group), _memory_of(config, group))
            for group, _ in groups_of(config, PIXELS)]


def flops_of(config: Config, group: Group) -> float:
    """The arithmetic of one model of a group, 2 a multiply-add."""
    mults = [a * b for a, b in zip(group.sizes[:-1], group.sizes[1:])]
    # backward costs two forwards, less the input gradient of layer 1
    forward, train = 2 * sum(mults), 6 * sum(mults) - 2 * mults[0]
    epochs = (len(group.teachers) * config.teacher.epochs
              + len(group.clones) * config.clone.epochs
              + len(group.students) * config.student.epochs)
    outputs = (1 + len(group.teachers)) * forward
    moments = 2 * (group.sizes[-2] + 1) ** 2
    fitted = min(config.probe_images, IMAGES)
    measured = 2 * (len(group.students) * TESTED * forward
                    + len(group.probed) * (fitted * (forward + moments) + TESTED * forward))
    return IMAGES * (epochs * train + outputs) + measured


def _memory_of(config: Config, group: Group) -> float:
    networks = len(group.students) + len(group.clones) + len(group.teachers)
    weights = sum(a * b for a, b in zip(group.sizes[:-1], group.sizes[1:]))
    activations = 4 * group.batch_size * sum(group.sizes[1:]) * networks * 4
    noise = IMAGES * (PIXELS + (1 + len(group.teachers)) * group.sizes[-1]) * 4
    models = config.chunk_size * devices.CPU_DEVICES
    return models * (noise + 4 * 4 * weights * networks + activations) + 1e9
