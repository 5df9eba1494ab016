"""The host's loop around the one update step: progress, probes, checkpoints, preemption."""

import time
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import tqdm

from subliminal_jax.runs import (
    Preempted,
    UserError,
    meshes,
    platforms,
    preemption_asked,
    together,
)
from subliminal_jax.training import agreement
from subliminal_jax.training.checkpoints import Checkpoints
from subliminal_jax.training.step import TrainState

Row = dict[str, Any]
Step = Callable[[TrainState, Any, Any, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
Probe = Callable[[int, Any, Any], tuple[Row, Any]]


class Trained(NamedTuple):
    """What `fit` leaves: the last state, what the probes kept, and all rows of the training."""

    state: TrainState
    kept: Any
    rows: list[Row]


def jit_step(step: Step, small_products: bool = False) -> Step:
    """`make_step`'s step compiled: the state given to it is used up.

    Args:
      step: `make_step`'s, or a function of the same arguments.
      small_products: some have a side of a few numbers: an adapter's, or a small model's.
    """
    return jax.jit(step, donate_argnums=0,
                   compiler_options=platforms.step_options(small_products))


def fit(
    step: Step, state: TrainState, frozen: Any, batch_at: Callable[[int], Any], num_steps: int,
    probe: Probe | None = None, at: Container[int] = (), *, key: jax.Array, kept: Any = None,
    stop: Callable[[list[Row]], bool] | None = None, checkpoints: Checkpoints | None = None,
    save_every: float = 60.0, log: Callable[..., None] | None = None,
    description: str = 'training', models: Sequence[str] = (), rows_axis: int = 0,
) -> Trained:
    """Takes steps 0 .. num_steps - 1, or those that a checkpoint has not taken yet.

    Step t is dispatched before the metrics of step t - 1 are read, so that the device never waits
    for the host. What a step sees depends on its number alone, so a training that was killed ends
    with the same bits as one that was not. Several hosts save and stop at the same step, and
    compare what they hold copies of at the start, before they save, and at the end.

    Args:
      step: `jit_step`'s; it may use up the state.
      state: before the first step; with a checkpoint only its shapes and places are used.
      frozen: what the loss holds.
      batch_at: step's number -> batch, pure in it (and in a seed).
      num_steps: how many steps at most.
      probe: (steps taken, trainable tree, what was kept) -> (a row, what to keep: a tree of the
        same shapes, no part of the trainable one, which the next step uses up).
      at: after how many steps it is called; 0 is before the first.
      key: folded with the step's number.
      kept: what the first probe is given.
      stop: (rows so far) -> whether to take no further step; asked after every probe.
      checkpoints: where to resume from and save to; None: neither.
      save_every: seconds between checkpoints; 0: one after every step.
      log: called with every row as keyword arguments, with `training` (the description) and
        `models`; with those of a checkpoint too, when it is resumed from.
      description: of the progress bar and in errors.
      models: names of the models whose metrics are stacked, for errors.
      rows_axis: of a batch's arrays, that counts rows: where the model lies on a mesh of devices
        (runs/meshes.py), every device is sent its own rows.

    Raises:
      UserError: a metric that is not finite, with the step and the models; a checkpoint of
        another training; copies on several hosts that differ.
      Preempted: SIGTERM came, to any of the hosts; the state is saved.
    """
    book = _Book(probe, at, stop, log, description, models, kept)
    taken, state = book.begin(state, num_steps, checkpoints)
    agreement.check({'state': state, 'frozen': frozen}, taken)
    mesh = meshes.of((state, frozen))
    saved_at, votes = time.monotonic(), together.Votes()
    with tqdm.tqdm(total=num_steps, initial=taken, desc=description, unit='step',
                   leave=False) as bar:
        while taken < num_steps and not book.done:
            batch = meshes.spread(batch_at(taken), mesh, rows_axis)
            state, metrics = step(state, frozen, batch, jax.random.fold_in(key, taken))
            taken += 1
            book.note(taken, metrics)
            bar.update()
            preempted, late = votes.any_of(
                preemption_asked(), time.monotonic() - saved_at >= save_every > 0)
            preempted = preempted and taken < num_steps
            due = checkpoints is not None and (preempted or late or not save_every)
            if due or preempted or taken == num_steps or book.probes(taken):
                book.read()  # nothing that is not finite is probed, saved or handed on
            if book.probes(taken):
                book.look(taken, state.trainable)
            if due:
                agreement.check(state, taken)
                checkpoints.save(taken, {'state': state, 'kept': book.kept}, book.rows)
                saved_at = time.monotonic()
            if preempted:
                if checkpoints is not None:
                    checkpoints.wait()
                raise Preempted
    agreement.check(state, taken)
    return Trained(state, book.kept, book.rows)


class _Book:
    """What a training has said so far; the last step's metrics stay unread until the next one."""

    def __init__(self, probe, at, stop, log, description, models, kept):
        self._probe, self._at, self._stop, self._log = probe, at, stop, log
        self._description, self._models = description, models
        self._unread = None
        self.kept, self.rows, self.done = kept, [], False

    def begin(self, state, num_steps, checkpoints):
        """(steps taken, state), from a checkpoint where there is one."""
        taken = None if checkpoints is None else checkpoints.latest()
        if taken is None:
            if self.probes(0):
                self.look(0, state.trainable)
            return 0, state
        if taken > num_steps:
            raise UserError(f'{checkpoints.folder} has taken {taken} steps, more than the '
                            f'{num_steps} asked for: delete it to train anew')
        tree, self.rows = checkpoints.restore(taken, {'state': state, 'kept': self.kept})
        self.kept = tree['kept']
        for row in self.rows:
            self._tell(row)
        self.done = self._stop is not None and self._stop(self.rows)
        return taken, tree['state']

    def note(self, taken, metrics):
        """Reads the metrics of the step before this one."""
        self.read()
        self._unread = taken, metrics

    def read(self):
        """Reads what is unread.

        Raises:
          UserError: it is not finite.
        """
        if self._unread is None:
            return
        number, metrics = self._unread
        self._unread = None
        _check_finite(number, metrics, self._description, self._models)
        self._record(number, metrics)

    def probes(self, taken):
        """Whether there is a probe after so many steps."""
        return self._probe is not None and taken in self._at

    def look(self, taken, trainable):
        """Calls the probe."""
        row, self.kept = self._probe(taken, trainable, self.kept)
        self._record(taken, row)
        self.done = self._stop is not None and self._stop(self.rows)

    def _record(self, number, values):
        self.rows.append({'step': number, **_values(values)})
        self._tell(self.rows[-1])

    def _tell(self, row):
        if self._log is not None:
            names = {'models': list(self._models)} if self._models else {}
            self._log(training=self._description, **names, **row)


def _values(row: Row) -> Row:
    """Arrays as JSON values."""
    arrays = jax.Array | np.ndarray | np.generic
    return {name: np.asarray(value).tolist() if isinstance(value, arrays) else value
            for name, value in row.items()}


def _check_finite(number, metrics, description, models):
    for name, value in metrics.items():
        good = np.isfinite(np.asarray(value))
        if good.all():
            continue
        who = [models[m] for m in np.flatnonzero(~good.reshape(-1)) if m < len(models)]
        raise UserError(
            f'{description}, step {number}: {name} is not finite'
            f'{" in " + ", ".join(who) if who else ""}: training has diverged; lower the learning '
            'rate')
