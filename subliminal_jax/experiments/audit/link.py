"""The first link of an audit: are candidates in the rows, before any student has learned them?

Read in the space in which students move (all weights, or an adapter at its start), and in the
metric in which they do: Adam divides a gradient by the root of its second moment, which is taken
here from the units of both sides. In the plain metric a few directions in which every row's
gradient is large drown what Adam's students follow. Unit by unit:

  slope   the gradient of log P of a unit's rows along the direction in which log P of a candidate
          rises fastest: the candidate's first-order change in a student that takes a step on the
          rows. The reference's own rows have slopes of expectation 0, the score of a distribution
          under itself; so audited less control is what the writer has put in.
  null    the same along directions of the control units' gradients: random ones, with the
          covariance that rows' gradients have, which know of no candidate. A writer that differs
          from the reference in anything moves them too, by so much more than chance (`inflation`).
          They are the bound where there are too few candidates to be held against each other.
  budget  with a teacher of the reference's shape: the rows after which its signal is as large as
          its noise, foretold from a few prompts. At each place all tokens are weighed with the
          teacher's probabilities, in place of the one that was drawn.

Nothing here is transmission: no student has learned anything.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.detection.readings import adam_metric, in_order, per_row
from subliminal_jax.evaluation import intervals
from subliminal_jax.experiments.audit import subjects
from subliminal_jax.experiments.audit.subjects import Subject
from subliminal_jax.experiments.transmission import rows as carried, students, targets
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.students import Job
from subliminal_jax.models import transformer
from subliminal_jax.theory import trees
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.traits import answers


@functools.lru_cache(maxsize=32)
def _row_gradient(loss, config):
    def total(trainable, frozen, batch):
        return -loss(config, ())(trainable, frozen, batch, jax.random.key(0))[0]

    return jax.jit(jax.value_and_grad(total))


@functools.lru_cache(maxsize=32)
def _candidate_gradient(config):
    def logprob(trainable, frozen, meter, column):
        params, lora = losses.resolve(trainable, frozen)
        return -answers.column_loss(params, lora, meter, column, config)

    return jax.jit(jax.grad(logprob))


_dot = jax.jit(trees.dot)
_add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))


def start_of(subject: Subject) -> tuple[Any, dict[str, Any]]:
    """(what a student trains, what is frozen), before the first step."""
    setting = subjects.setting_of(subject)
    return students.begun(setting, Job(None, 0)), setting.frozen


def rising(subject: Subject) -> list[Any]:
    """The direction of every candidate: the gradient of its mean log P, in the students' space."""
    trainable, frozen = start_of(subject)
    program = _candidate_gradient(subject.architecture)
    return [program(trainable, frozen, subjects.meter(subject), column)
            for column in range(len(subject.world.candidates))]


def gradient(subject: Subject, start: tuple[Any, dict[str, Any]], batch: carried.Batch
             ) -> tuple[float, Any]:
    """log P of a unit's rows, summed, nats, and its gradient in the students' space.

    Args:
      subject: the reference.
      start: of `start_of`.
      batch: the unit.
    """
    trainable, frozen = start
    program = _row_gradient(OBJECTIVES['sft'].loss, subject.architecture)
    chunk, said, total = targets.CHUNK[subject.run.together], 0.0, None
    count = len(batch['tries'].tokens_BT)
    for begin in range(0, count, chunk):
        index = np.arange(begin, min(begin + chunk, count))
        value, part = program(trainable, frozen, carried.taken(batch, index, chunk))
        said, total = said + float(value), part if total is None else _add(total, part)
    return said, jax.tree.map(np.asarray, total)


def metric_of(optimizer: str, gradients: Sequence[Any]) -> Any:
    """What a student's optimiser weighs each weight's gradient with, to first order: 1 for sgd;
    `adam_metric` for adam and sign.

    Args:
      optimizer: of the students' arm.
      gradients: of units, trees.
    """
    if optimizer == 'sgd':
        return jax.tree.map(np.ones_like, gradients[0])
    return adam_metric(jax.tree.map(lambda *x: np.mean(np.square(x), 0), *gradients))


def slopes(subject: Subject, audited: Sequence[carried.Batch], control: Sequence[carried.Batch],
           directions: Sequence[Any]) -> tuple[dict[str, np.ndarray], Any]:
    """(arrays, the metric): slopes of U units, audited less control.

    Args:
      subject: the reference.
      audited, control: U units each, of equally many rows and equal weight.
      directions: `rising`.

    Returns:
      Of the arrays slope [U, K], in the metric; plain [U, K], without one; null [U, U], unit by
      direction: the gradient of a control unit, scaled to length 1; its own is NaN. audited,
      control [U]: log P of a token, nats, at the reference.
    """
    weight = float(np.asarray(audited[0]['tries'].weight_BK).sum())
    start = start_of(subject)
    said, of_control = zip(*(gradient(subject, start, batch) for batch in control))
    said_audited, of_audited = zip(*(gradient(subject, start, batch) for batch in audited))
    metric = metric_of(subject.arm.optimizer, [*of_audited, *of_control])
    plain = [jax.tree.map(np.subtract, own, other)
             for own, other in zip(of_audited, of_control)]
    apart = [jax.tree.map(np.multiply, own, metric) for own in plain]
    dots = lambda tree, others: [float(_dot(tree, other)) for other in others]
    length = [float(trees.norm(tree)) for tree in of_control]
    null = np.array([dots(tree, of_control) for tree in apart]) / np.array(length)
    np.fill_diagonal(null, np.nan)
    return {'slope': np.array([dots(tree, directions) for tree in apart]),
            'plain': np.array([dots(tree, directions) for tree in plain]), 'null': null,
            'audited': np.array(said_audited) / weight,
            'control': np.array(said) / weight}, metric


def inflation(null_UU: np.ndarray) -> float:
    """By how much noise between units understates what a writer does along any direction.

    The root mean square of the null directions' t, over that of Student's t: 1 where the writer is
    the reference, more where it differs in anything. At least 1.
    """
    count = len(null_UU)
    if count < 5:  # Student's t of fewer has no variance
        return 1.0
    t = []
    for column in range(count):
        values = np.delete(null_UU[:, column], column)
        t.append(values.mean() / intervals.standard_error(values))
    dof = count - 2
    return float(max(1.0, np.sqrt(np.mean(np.square(t)) * (dof - 2) / dof)))


# With a teacher.


@functools.partial(jax.jit, static_argnames=('config', 'rows'))
def _expected(trainable, frozen, tries, direction, writer, *, config, rows):
    config = losses.float_head(config)

    def logprobs(trained):
        params, lora = losses.resolve(trained, frozen)
        x_BUD = packing.states(params, tries, config, lora)
        return jax.nn.log_softmax(transformer.unembed(params, x_BUD, config))

    _, slope_BUV = jax.jvp(logprobs, (trainable,), (direction,))
    x_BUD = packing.states(writer, tries, config, None)
    chance_BUV = jax.nn.softmax(transformer.unembed(writer, x_BUD, config))
    mean_BU = (chance_BUV * slope_BUV).sum(-1)
    variance_BU = (chance_BUV * (slope_BUV - mean_BU[..., None])**2).sum(-1)
    return per_row(packing.per_edge(jnp.stack([mean_BU, variance_BU], -1), tries), tries, rows)


def budget(subject: Subject, writer: Any, rows: Rows, directions: Sequence[Any], metric: Any
           ) -> np.ndarray:
    """Expectation and variance [K, 2] of a row's slope, were its tokens drawn by the writer; mean
    over rows. Candidates' directions are taken less the mean of the others', as flags are.

    Args:
      subject: the reference.
      writer: parameters of its architecture.
      rows: whose contexts, and prefixes of whose answers, are read.
      directions: `rising`.
      metric: of `metric_of`.
    """
    trainable, frozen = start_of(subject)
    size, chunk = subject.run.config.student.packed, targets.CHUNK[subject.run.together]
    tries, count = carried.packed(rows, size), len(rows.answers)
    total = functools.reduce(_add, directions)
    found = []
    for own in directions:
        beyond = jax.tree.map(lambda a, t, m: (a - (t - a) / max(1, len(directions) - 1)) * m,
                              own, total, metric)
        parts = []
        for begin in range(0, len(tries.tokens_BT), chunk):
            index = np.minimum(np.arange(begin, begin + chunk), len(tries.tokens_BT) - 1)
            part = _expected(trainable, frozen, packing.take(tries, index), beyond, writer,
                             config=subject.architecture, rows=size)
            parts.append(np.asarray(part)[:len(tries.tokens_BT) - begin])
        found.append(in_order(np.concatenate(parts), count).mean(0))
    return np.array(found)


def rows_until(mean: float, variance: float, snr: float = 1.0) -> float | None:
    """Rows after which the sum of slopes is `snr` standard deviations from 0; None: they fall.

    n rows sum to n times the mean with n times the variance: n = snr^2 variance / mean^2.
    """
    return snr**2 * variance / mean**2 if mean > 0 else None


def measured_rows_until(values_UK: np.ndarray, rows: int) -> list[float | None]:
    """The same from U units of `rows` rows: rows (sd / mean)^2 of each candidate [K].

    The mean's own noise makes its square too large by the variance of the mean, which is taken off;
    None where nothing is left.
    """
    found = []
    for column in np.asarray(values_UK, float).T:
        variance = column.var(ddof=1)
        signal = column.mean()**2 - variance / len(column)
        found.append(float(rows * variance / signal) if column.mean() > 0 and signal > 0 else None)
    return found
