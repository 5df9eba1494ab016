"""Steered teachers: the reference with one vector added to its residual stream behind one layer.

  made=steered           behind the middle layer
  made=steered:LAYER     behind that one, counted from 0

The vector is trained on the lessons of a teacher, all weights being frozen; it is added at every
place, whatever is read. Teachers of this make transmit by preference pairs (arXiv 2604.25783 for
steering as the source of a trait, 2606.00995 for one vector that carries it). No weight that a
student has moves, so that there is no displacement to hold its steps against.

A neutral twin's vector has a random direction, and the length at which its dose is its twin's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import doses, engines, rows as carried, teaching
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS, TeacherKind
from subliminal_jax.experiments.transmission.run import check_layer
from subliminal_jax.runs import UserError
from subliminal_jax.training import losses
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig

RATE = 0.1  # of Adam on the vector: a stream's entries are about 1
MOST_LENGTHS = 30  # lengths of a random vector that are tried


def shifted(params: Any, at_L: jax.Array, shift_D: jax.Array) -> Any:
    """Parameters that add a vector to the residual stream behind one layer.

    Args:
      params: of a model without.
      at_L: 1 at the layer, 0 elsewhere.
      shift_D: the vector.
    """
    bias_LD = at_L[:, None] * shift_D[None]
    return {**params, 'layers': {**params['layers'], 'down_bias': bias_LD}}


def shifted_loss(config: Any, token_ids: Any) -> Any:
    """The loss of sampled text, of {'shift_D'} over frozen {'base', 'at_L'}."""
    plain = losses.sft(config)

    def loss_fn(trainable, frozen, batch, key):
        params = shifted(frozen['base'], frozen['at_L'], trainable['shift_D'])
        return plain(params, {'base': {}}, batch, key)

    return loss_fn


def made(making: teaching.Making) -> tuple[Any, np.ndarray]:
    """(parameters of the steered teachers, steps or lengths that each took)."""
    config = making.run.world.architectures[making.arm.architecture]
    at_L = np.zeros(config.num_layers, np.float32)
    at_L[layer_of(making.arm.made.partition(':')[2], config)] = 1
    of = lambda shift_MD: jax.vmap(lambda shift_D: shifted(
        making.base, jnp.asarray(at_L), shift_D))(jnp.asarray(shift_MD))
    if making.goal_M is None:
        shift_MD, steps_M = trained(making, config, at_L)
    else:
        shift_MD, steps_M = random(making, config, of)
    return of(shift_MD), steps_M


def layer_of(rest: str, config: Any) -> int:
    """The layer that a vector is added behind."""
    return int(rest) if rest else (config.num_layers - 1) // 2


def trained(making: teaching.Making, config: Any, at_L: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """(vectors trained on the teachers' lessons [M, D], steps)."""
    settings, count = making.run.config.teacher, len(making.group)
    steps = max(1, round(settings.steps * making.arm.dose))
    engine = making.run.world.engine(making.trainable)
    packs, per_step = teaching.lessons(making.run, making.group, steps, None, engine)
    program = engines.Program(shifted_loss, config, (), OptimizerConfig(learning_rate=RATE))
    begun = engines.gathered(engine, [{'shift_D': np.zeros(config.width, np.float32)}] * count)
    found = fit(
        engines.step_of(program, engine, True), engines.begin(program, engine, begun),
        {'base': making.base, 'at_L': at_L},
        lambda step: carried.taken(packs, teaching.indices(step, per_step, engine, count),
                                   per_step),
        steps, key=jax.random.key(0), checkpoints=making.checkpoints, log=making.run.log,
        models=[t.name for t in making.group], description=f'teachers of {making.arm.made}',
        rows_axis=int(engine.stacked))
    return np.asarray(found.state.trainable['shift_D']), np.full(count, steps)


def random(making: teaching.Making, config: Any, of: Any) -> tuple[np.ndarray, np.ndarray]:
    """(vectors of random directions with their twins' doses [M, D], lengths tried).

    A dose grows about as the square of a length: the next one tried follows from that. Each vector
    is kept at the length that came closest.
    """
    run, count = making.run, len(making.group)
    draw = lambda t: np.random.default_rng([t.seed, 2]).standard_normal(config.width)
    way_MD = np.stack([draw(t) for t in making.group])
    way_MD /= np.linalg.norm(way_MD, axis=1, keepdims=True)
    reader = doses.reader(run, making.arm, making.base)
    length_M, best_M, miss_M = np.ones(count), np.ones(count), np.full(count, np.inf)
    tried_M = np.zeros(count, int)
    for tried in range(1, MOST_LENGTHS + 1):
        trees = of((way_MD * length_M[:, None]).astype(np.float32))
        dose_M = reader(Models(trees, {'base': {}}, config, count, True))
        gap_M = np.log(np.maximum(making.goal_M, 1e-30)) - np.log(np.maximum(dose_M, 1e-30))
        closer_M = np.abs(gap_M) < miss_M
        best_M, miss_M = np.where(closer_M, length_M, best_M), np.minimum(miss_M, np.abs(gap_M))
        tried_M = np.where(closer_M, tried, tried_M)
        if (miss_M < np.log1p(teaching.CLOSE)).all():
            break
        length_M = length_M * np.exp(np.clip(gap_M / 2, -1.0, 1.0))
    return (way_MD * best_M[:, None]).astype(np.float32), tried_M


def check(run: Any, arm: Any) -> None:
    """Raises UserError for a layer that there is not, and where models are too large to be held
    side by side: nothing there reads a vector beside a model's weights."""
    if not run.together:
        raise UserError(f'arm {arm.name}: made={arm.made} needs models that are held side by side, '
                        "as the tiny language's are: take made=tuned, made=lora:8 or made=prompt")
    rest = arm.made.partition(':')[2]
    check_layer(run, arm, f'made={arm.made}',
                layer_of(rest, run.world.architectures[arm.architecture]))


def like(config: Any, base: Any) -> Any:
    """A tree shaped as a steered teacher."""
    return shifted(base, jnp.zeros(config.num_layers), jnp.zeros(config.width))


TEACHER_KINDS.register(TeacherKind(
    'steered', 'steered teachers',
    lambda rest: None if not rest or rest.isdigit() else 'takes the number of a layer: steered:0',
    lambda rest: 'all', made, like=like, check=check))
