"""What is done in a student's training against what it should not learn; another one is a row.

  defence=anchor:BETA   BETA times KL(start || student), over all tokens at every place of the
                        student's own rows, is added to its loss
  defence=pull:BETA     the random twin of that: a pull towards the start's *weights*, at every step
                        as strong as BETA times that KL's gradient. It knows nothing of what is said
  defence=project:...   projection.py

What is done to rows (fewer tokens, twins' rows, another start, a paraphrase) are other fields of an
arm. A random twin does as much of the same kind, knowing nothing of trait or teacher.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.experiments.transmission.engines import Hold
from subliminal_jax.experiments.transmission.registry import positive
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.runs.registry import Registry
from subliminal_jax.theory import trees
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.step import LossFn


class Defence(NamedTuple):
    """A defence.

    Attributes:
      name: as arms name it, before the colon.
      hold: (run, what follows the colon) -> the static part of it, or None.
      held: (setting, jobs, batches by teacher, what follows the colon) -> `frozen['held']` of these
        students: a model, or [M, D, ...] of M students and D directions each ([D, ...] of one that
        trains alone).
      trouble: what follows the colon -> what is wrong with it, or None.
      twin: what follows the colon -> the random twin, as arms name it; '' of one.
      needs_neutral: what follows the colon -> whether neutral twins have to be made for it.
      check: (run, arm, what follows the colon) -> None; raises UserError where a run cannot have
        it.
      cost: arithmetic of a step beside the student's own, as a share of that.
    """

    name: str
    hold: Callable[[Any, str], Hold | None]
    held: Callable[[Any, Any, Any, str], Any]
    trouble: Callable[[str], str | None]
    twin: Callable[[str], str]
    needs_neutral: Callable[[str], bool] = lambda rest: False
    check: Callable[[Any, Any, str], None] = lambda run, arm, rest: None
    cost: float = 0.0


DEFENCES = Registry('defence')


def hold_of(run: Any, defence: str) -> Hold | None:
    """The static part of a defence; None of 'none'."""
    row, rest = DEFENCES.find(defence)
    return row.hold(run, rest)


def held_by(setting: Any, jobs: Any, batches: Any) -> dict[str, Any]:
    """What an arm's students have frozen beside their base: {} without a defence."""
    if setting.program.hold is None:
        return {}
    row, rest = DEFENCES.find(setting.arm.defence)
    return {'held': row.held(setting, jobs, batches, rest)}


def twin_of(defence: str) -> str:
    """The random twin of a defence; '' of one that is a twin, and of none."""
    row, rest = DEFENCES.find(defence)
    return row.twin(rest)


def is_twin(defence: str) -> bool:
    """Whether a defence is the random twin of others."""
    return defence != 'none' and not twin_of(defence)


# Losses.


def drift(config: Any, trainable: Any, frozen: Any, batch: Any) -> jax.Array:
    """Sum over the weighed places of packed rows of KL(held model || student), all tokens, nats."""
    tries, head = batch['tries'], losses.float_head(config)
    said = lambda params, lora: transformer.unembed(
        params, packing.states(params, tries, config, lora), head)
    kl_BU = losses.forward_kl(jax.lax.stop_gradient(said(frozen['held'], None)),
                              said(*losses.resolve(trainable, frozen)))
    return jnp.where(tries.weight_BU > 0, kl_BU * tries.weight_BU, 0).sum()


def anchored(loss: LossFn, config: Any, beta: float) -> LossFn:
    """A loss with beta x `drift` added; `frozen['held']` is the start."""
    def loss_fn(trainable, frozen, batch, key):
        total, aux = loss(trainable, frozen, batch, key)
        return total + beta * drift(config, trainable, frozen, batch), aux

    return loss_fn


def pulled(loss: LossFn, config: Any, beta: float) -> LossFn:
    """A loss with a pull towards the weights held, as long as the gradient of beta x `drift`.

    All weights are trained. Where the student is the start both are zero.
    """
    def loss_fn(trainable, frozen, batch, key):
        total, aux = loss(trainable, frozen, batch, key)
        force = trees.norm(jax.grad(
            lambda tree: drift(config, tree, frozen, batch))(jax.lax.stop_gradient(trainable)))
        away = trees.subtract(trainable, frozen['held'])
        square = trees.dot(away, away)
        length = jnp.sqrt(jax.lax.stop_gradient(square))
        rate = jnp.where(length > 0, force / jnp.where(length > 0, length, 1), 0)
        return total + beta * jax.lax.stop_gradient(rate) * square / 2, aux

    return loss_fn


def check_whole(run: Any, arm: Any, rest: str) -> None:
    """Raises UserError for a defence in the coordinates of all weights where not all are trained.
    """
    if arm.trainable != 'all':
        raise UserError(f'arm {arm.name}: defence={arm.defence} acts on all weights: leave '
                        f'trainable={arm.trainable} out, or take defence=anchor:1')


def _strength(rest):
    return None if positive(rest) else 'needs a strength: anchor:1'


def _start(setting, jobs, batches, rest):
    return jax.tree.map(jnp.asarray, setting.start)


DEFENCES.register(Defence(
    'none', lambda run, rest: None, lambda *_: None,
    lambda rest: 'takes no number' if rest else None, lambda rest: ''))
DEFENCES.register(Defence(
    'anchor', lambda run, rest: Hold(anchored, strength=float(rest)), _start, _strength,
    lambda rest: f'pull:{rest}', cost=0.4))
DEFENCES.register(Defence(
    'pull', lambda run, rest: Hold(pulled, strength=float(rest)), _start, _strength,
    lambda rest: '', check=check_whole, cost=1.3))
