"""The host's loop around the one update step: progress, probes, checkpoints, preemption."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tqdm

from subliminal_jax.runs import UserError, check_preempted, preemption_asked
from subliminal_jax.training.checkpoints import Checkpoints
from subliminal_jax.training.step import TrainState

Row = dict[str, Any]
Step = Callable[[TrainState, Any, Any, jax.Array], tuple[TrainState, dict[str, jax.Array]]]

# XLA's CPU compiler otherwise copies Adam's moments at every step.
CPU_OPTIONS = {'xla_cpu_copy_insertion_use_region_analysis': True}
# Its library for products is a few per cent slower than its own code at large ones, and several
# times as fast at those with a side of a few numbers.
LARGE_PRODUCTS = {'xla_cpu_experimental_ynn_fusion_type': ''}


def jit_step(step: Step, low_rank: bool = False) -> Step:
    """`make_step`'s step compiled: the state given to it is used up.

    Args:
      step: `make_step`'s, or a function of the same arguments.
      low_rank: what is trained is an adapter.
    """
    options = None
    if jax.default_backend() == 'cpu':
        options = CPU_OPTIONS if low_rank else {**CPU_OPTIONS, **LARGE_PRODUCTS}
    return jax.jit(step, donate_argnums=0, compiler_options=options)


def fit(
    step: Step,
    state: TrainState,
    frozen: Any,
    batch_at: Callable[[int], Any],
    num_steps: int,
    probe: Callable[[int, Any], Row] | None = None,
    every: int = 0,
    *,
    key: jax.Array,
    checkpoints: Checkpoints | None = None,
    save_every: int = 0,
    log: Callable[..., None] | None = None,
    description: str = 'training',
) -> tuple[TrainState, list[Row]]:
    """Takes steps 0 .. num_steps - 1, or those that a checkpoint has not taken yet.

    Step t is dispatched before the metrics of step t - 1 are read, so that the device never waits
    for the host. What a step sees depends on its number alone, so a run that was killed ends with
    the same bits as one that was not.

    Args:
      step: `jit_step`'s, or `make_step`'s jitted in another way; it may donate the state.
      state: before the first step; with a checkpoint only its shapes and places are used.
      frozen: what the loss holds.
      batch_at: step's number -> batch, pure in it (and in a seed).
      num_steps: how many steps in all.
      probe: (steps taken, trainable tree) -> a row of JSON values; called before the first step,
        after every `every` steps and after the last.
      every: steps between probes; 0: before the first and after the last alone.
      key: folded with the step's number.
      checkpoints: where to resume from and save to; None: neither.
      save_every: steps between checkpoints; 0: only when the run is told to stop, and at its end.
      log: called with every row, `step` and its metrics or probes, as keyword arguments.
      description: of the progress bar.

    Returns:
      (the last state, all rows of this training: those before a resume too).

    Raises:
      UserError: a metric that is not finite, with its step; a checkpoint beyond the last step.
      Preempted: SIGTERM came; the state is saved.
    """
    taken, rows = 0, []
    if checkpoints is not None and checkpoints.latest() is not None:
        taken = checkpoints.latest()
        if taken > num_steps:
            raise UserError(f'{checkpoints.folder} has taken {taken} steps, more than the '
                            f'{num_steps} asked for: use another folder, or ask for more steps')
        state, rows = checkpoints.restore(taken, state)

    def record(row):
        rows.append(row)
        if log is not None:
            log(**row)

    def probed(number):
        ends = number in (0, num_steps)
        return probe is not None and (ends or (bool(every) and number % every == 0))

    pending = None
    if taken == 0 and probed(0):
        record({'step': 0, **_values(probe(0, state.trainable))})
    bar = tqdm.tqdm(total=num_steps, initial=taken, desc=description, unit='step', leave=False)
    with bar:
        for number in range(taken, num_steps):
            state, metrics = step(state, frozen, batch_at(number), jax.random.fold_in(key, number))
            if pending is not None:
                record(_checked(*pending))
            pending = number + 1, metrics
            bar.update()
            stop = preemption_asked()
            save = stop or number + 1 == num_steps or (
                bool(save_every) and (number + 1) % save_every == 0)
            if save or probed(number + 1):  # nothing that is not finite is saved or probed
                record(_checked(*pending))
                pending = None
            if probed(number + 1):
                record({'step': number + 1, **_values(probe(number + 1, state.trainable))})
            if save and checkpoints is not None:
                checkpoints.save(number + 1, state, rows)
            if stop and number + 1 < num_steps:
                if checkpoints is not None:
                    checkpoints.wait()
                check_preempted()
    return state, rows


def _values(row: Row) -> Row:
    """Arrays as JSON values."""
    arrays = jax.Array | np.ndarray | np.generic
    return {name: np.asarray(value).tolist() if isinstance(value, arrays) else value
            for name, value in row.items()}


def _checked(number: int, metrics: dict[str, jax.Array]) -> Row:
    row = {'step': number, **_values(metrics)}
    for name, value in row.items():
        if not all(math.isfinite(x) for x in np.ravel(value)):
            raise UserError(f'step {number}: {name} is {value}: training has diverged; '
                            'lower the learning rate, or clip the gradient')
    return row
