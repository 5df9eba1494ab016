"""Optimisers and learning-rate schedules by name, from a small config."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from subliminal_jax.runs import UserError, spec, unknown_name

SCHEDULES = ('constant', 'linear', 'cosine')


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimiser; a schema that an experiment's config may nest."""

    name: str = spec('adam', choices=('adam', 'sgd', 'sign'),
                     doc='adam, sgd, or sign (every weight moves by the rate)')
    learning_rate: float = spec(1e-4, ge=0, doc='the peak rate')
    schedule: str = spec('constant', choices=SCHEDULES,
                         doc='of the rate after the warm-up: constant, linear or cosine decay')
    warmup_steps: int = spec(0, ge=0, doc='steps in which the rate rises linearly to its peak')
    end_fraction: float = spec(0.0, ge=0, le=1, doc='of the peak rate, left at the last step')
    clip_norm: float = spec(0.0, ge=0, doc='longest allowed gradient; 0: no clipping')
    momentum: float = spec(0.0, ge=0, lt=1, doc='of sgd')
    b1: float = spec(0.9, ge=0, lt=1, doc='of adam: decay of the first moment')
    b2: float = spec(0.999, ge=0, lt=1, doc='of adam: decay of the second moment')
    eps: float = spec(1e-8, gt=0, doc='of adam')
    eps_root: float = spec(0.0, ge=0, doc='of adam, under its root: above 0 a training can be '
                                          'differentiated where a weight has no gradient')


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """The learning rate at a step.

    Args:
      config: the optimiser's.
      num_steps: of the whole training: where a decay ends.

    Raises:
      UserError: an unknown schedule, or a warm-up that leaves no step.
    """
    if config.schedule not in SCHEDULES:
        raise unknown_name('learning-rate schedule', config.schedule, SCHEDULES)
    if config.warmup_steps and config.warmup_steps >= num_steps:
        raise UserError(f'a warm-up of {config.warmup_steps} steps leaves nothing of {num_steps}')
    peak, rest = config.learning_rate, max(num_steps - config.warmup_steps, 1)
    after = {
        'constant': lambda: optax.constant_schedule(peak),
        'linear': lambda: optax.linear_schedule(peak, peak * config.end_fraction, rest),
        'cosine': lambda: optax.cosine_decay_schedule(peak, rest, config.end_fraction),
    }[config.schedule]()
    if not config.warmup_steps:
        return after
    # the first step moves already: a rate of zero would waste it
    rise = optax.linear_schedule(peak / (config.warmup_steps + 1), peak, config.warmup_steps)
    return optax.join_schedules([rise, after], [config.warmup_steps])


def sign_descent(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Every weight moves by the rate against its gradient's sign."""
    sign = optax.stateless(lambda grads, _: jax.tree.map(jnp.sign, grads))
    return optax.chain(sign, optax.scale_by_learning_rate(learning_rate))


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """The optimiser of a config.

    Clipping acts on the mean gradient of the whole batch, before the optimiser sees it.

    Args:
      config: name, rate, schedule and clipping.
      num_steps: of the whole training.

    Raises:
      UserError: an unknown name or schedule, or a warm-up that leaves no step.
    """
    rate = make_schedule(config, num_steps)
    makers = {
        'adam': lambda: optax.adam(rate, config.b1, config.b2, config.eps, config.eps_root),
        'sgd': lambda: optax.sgd(rate, config.momentum or None),
        'sign': lambda: sign_descent(rate),
    }
    if config.name not in makers:
        raise unknown_name('optimiser', config.name, tuple(makers))
    optimizer = makers[config.name]()
    if config.clip_norm:
        return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    return optimizer
