"""Copies of metrics.jsonl for other programs: TensorBoard, Weights & Biases, MLflow.

metrics.jsonl stays what counts. A sink is handed every row of it: new ones as they are written, and
those of a stage that was finished before when the run comes to it. What a sink has already is not
written again. So it ends with the numbers of metrics.jsonl, each once, however often the run was
killed, and also where it was asked for only after the run was done.

All that is written lies in the run's folder, and nothing is sent anywhere, unless the user's own
environment says so (WANDB_MODE, MLFLOW_TRACKING_URI). A library is imported only where its sink is
asked for.
"""

import contextlib
import importlib.util
import logging
import os
import pathlib
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from subliminal_jax.runs import files, reading
from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError
from subliminal_jax.runs.workdir import Workdir

AXES = ('step', 'epoch')  # the first that a row has is where its numbers stand
NO_NUMBER = {*AXES, 'time', 'models'}
PROJECT = 'subliminal_jax'  # the project (W&B) or experiment (MLflow) that runs are kept under
MOST_AT_ONCE = 1000  # metrics of one request to MLflow, or 100 parameters
LONGEST_VALUE = 500  # characters of a parameter of MLflow that every version takes


class Point(NamedTuple):
    """The numbers of one row.

    Attributes:
      group: the row's texts, such as its stage and its training, joined by '/', each once.
      step: the row's step, or its epoch.
      values: by name; a list's entries are named after the models, or counted.
      time: seconds since 1970.
    """

    group: str
    step: int
    values: dict[str, float]
    time: float


class Sink(Protocol):
    """Where points go."""

    def write(self, point: Point) -> None:
        """Takes a point; what is there already is passed over."""

    def close(self, finished: bool) -> None:
        """Ends the writing; the run is done, or was stopped and will go on."""


class Identity(NamedTuple):
    """What a sink knows of the run: a name that stays when it is started again, its folder's name,
    and its config by dotted field."""

    id: str
    name: str
    config: dict[str, Any]


def point_of(row: Mapping[str, Any]) -> Point:
    """A row of metrics.jsonl as numbers with names; what is null (not finite) is left out."""
    group = '/'.join(dict.fromkeys(v for v in row.values() if isinstance(v, str)))
    step = next((row[axis] for axis in AXES if axis in row), 0)
    values: dict[str, float] = {}
    models = row.get('models') or ()
    for name, value in row.items():
        if name not in NO_NUMBER:
            one = len(models) == 1 and isinstance(value, int | float)
            values |= _numbers(name, [value] if one else value, models)
    return Point(group, int(step), values, float(row.get('time', 0.0)))


def _numbers(name: str, value: Any, labels: Sequence[str] = ()) -> dict[str, float]:
    """A JSON value's numbers, each with a name of its own."""
    if isinstance(value, int | float):
        return {name: float(value)}
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = [(labels[n] if n < len(labels) else str(n), v) for n, v in enumerate(value)]
    else:
        inner = []
    found: dict[str, float] = {}
    for label, own in inner:
        found |= _numbers(f'{name}/{label}', own)
    return found


class _TensorBoard:
    """Event files in DIR/tensorboard; a run that goes on adds a file, with what the others lack."""

    def __init__(self, folder: pathlib.Path, run: Identity):
        from tensorboard.summary import Writer

        self._seen = set(_events(folder))
        self._writer = Writer(str(folder))

    def write(self, point: Point) -> None:
        for name, value in point.values.items():
            tag = f'{point.group}/{name}'
            if (tag, point.step) not in self._seen:
                self._seen.add((tag, point.step))
                self._writer.add_scalar(tag, value, point.step, wall_time=point.time)

    def close(self, finished: bool) -> None:
        del finished
        self._writer.close()


def _events(folder: pathlib.Path) -> Iterator[tuple[str, int]]:
    """(tag, step) of what the event files of a folder hold; a torn end is passed over."""
    from tensorboard.backend.event_processing import event_file_loader

    for place in sorted(folder.glob('events.out.tfevents.*')):
        for event in event_file_loader.LegacyEventFileLoader(str(place)).Load():
            for value in event.summary.value:
                yield value.tag, event.step


class _WeightsAndBiases:
    """A run in DIR/wandb, offline unless WANDB_MODE says otherwise.

    An offline run is one file for each start of a process: those of earlier starts are replaced by
    one that holds the whole run. A run that is online goes on under its id: the number of a row is
    its step there, and the service passes over steps that it has.
    """

    def __init__(self, folder: pathlib.Path, run: Identity):
        os.environ.setdefault('WANDB_ERROR_REPORTING', 'false')
        os.environ.setdefault('WANDB_SILENT', 'true')
        import wandb

        mode = os.environ.get('WANDB_MODE') or 'offline'
        if mode == 'offline':
            for old in folder.glob(f'offline-run-*-{run.id}'):
                shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(exist_ok=True)  # where W&B may not write it takes the system's /tmp
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT') or PROJECT, id=run.id, name=run.name,
            dir=str(folder.parent), config=run.config, mode=mode,
            resume=None if mode == 'offline' else 'allow',
            settings=wandb.Settings(console='off', disable_code=True, disable_git=True,
                                    x_disable_stats=True, x_disable_meta=True))
        self._groups: set[str] = set()
        self._count = 0

    def write(self, point: Point) -> None:
        axis = f'{point.group}/step'
        if point.group not in self._groups:
            self._groups.add(point.group)
            self._run.define_metric(axis)
            self._run.define_metric(f'{point.group}/*', step_metric=axis)
        named = {f'{point.group}/{name}': value for name, value in point.values.items()}
        self._run.log({**named, axis: point.step}, step=self._count)
        self._count += 1

    def close(self, finished: bool) -> None:
        import wandb

        self._run.finish(exit_code=0 if finished else 1)
        wandb.teardown()  # finish may return before the offline file holds what was written


class _MLflow:
    """A run in the database DIR/mlflow/mlflow.db, or where MLFLOW_TRACKING_URI says. It goes on as
    the same run, which is asked for the steps that it has."""

    def __init__(self, folder: pathlib.Path, run: Identity):
        os.environ.setdefault('MLFLOW_DISABLE_TELEMETRY', 'true')
        logging.getLogger('mlflow').setLevel(logging.WARNING)
        logging.getLogger('alembic').setLevel(logging.WARNING)
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        self._client = MlflowClient(os.environ.get('MLFLOW_TRACKING_URI') or f'sqlite:///{folder}/mlflow.db')
        name = os.environ.get('MLFLOW_EXPERIMENT_NAME') or PROJECT
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        found = self._client.search_runs([experiment], f"tags.run_id_of_folder = '{run.id}'")
        self._known = bool(found)
        self._seen: dict[str, set[int]] = {}
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status='RUNNING')
            return
        self._run = self._client.create_run(
            experiment, tags={'run_id_of_folder': run.id}, run_name=run.name).info.run_id
        params = [Param(field, str(value)[:LONGEST_VALUE]) for field, value in run.config.items()]
        for first in range(0, len(params), MOST_AT_ONCE // 10):
            self._client.log_batch(self._run, params=params[first:first + MOST_AT_ONCE // 10])

    def write(self, point: Point) -> None:
        new = []
        for name, value in point.values.items():
            key = mlflow_key(f'{point.group}/{name}')
            if key not in self._seen:
                held = self._client.get_metric_history(self._run, key) if self._known else []
                self._seen[key] = {metric.step for metric in held}
            if point.step not in self._seen[key]:
                self._seen[key].add(point.step)
                new.append(self._metric(key, value, round(point.time * 1000), point.step))
        for first in range(0, len(new), MOST_AT_ONCE):
            self._client.log_batch(self._run, metrics=new[first:first + MOST_AT_ONCE])

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._run, 'FINISHED' if finished else 'KILLED')


def mlflow_key(tag: str) -> str:
    """A name that MLflow takes: letters, digits and _-./: and space; '=' becomes ':'."""
    return ''.join(c if c.isalnum() or c in '_-./: ' else ':' if c == '=' else '_' for c in tag)


class Kind(NamedTuple):
    """A kind of sink: the module that it needs, and what opens it."""

    module: str
    open: Callable[[pathlib.Path, Identity], Sink]


SINKS = {
    'tensorboard': Kind('tensorboard.summary', _TensorBoard),
    'wandb': Kind('wandb', _WeightsAndBiases),
    'mlflow': Kind('mlflow.tracking', _MLflow),
}


def check(names: Sequence[str]) -> None:
    """Refuses sinks that are not known, named twice, or not installed, before anything runs.

    Raises:
      UserError: it names the sink.
    """
    for name in names:
        if name not in SINKS:
            raise unknown_name('sink of --metrics', name, list(SINKS))
        if names.count(name) > 1:
            raise UserError(f'--metrics names {name} twice')
    for name in names:
        if importlib.util.find_spec(SINKS[name].module.partition('.')[0]) is None:
            raise UserError(f'--metrics={name} needs a package that is not installed: '
                            'launch/setup.sh --with metrics')


@contextlib.contextmanager
def opened(names: Sequence[str], workdir: Workdir) -> Iterator[None]:
    """Hands every row of a run's metrics to sinks, each in the run's folder under its own name.

    A sink that fails while the run goes on is left out from there, with one line; started again,
    the run fills in what it missed.

    Args:
      names: of sinks, checked.
      workdir: of the run.

    Raises:
      UserError: a sink cannot be opened.
    """
    check(names)
    if not names:
        yield
        return
    run, live = _identity(workdir), {}
    finished = False
    for name in names:
        try:
            live[name] = SINKS[name].open(workdir.path / name, run)
        except Exception as error:  # a server that is not there, a store of another version
            raise UserError(f'--metrics={name} cannot be opened: {_line(error)}') from None

    def tell(row):
        point = point_of(row)
        for name, sink in list(live.items()):
            _guarded(name, live, lambda sink=sink: sink.write(point))

    workdir.told = tell
    try:
        yield
        finished = True
    finally:
        workdir.told = None
        for name, sink in list(live.items()):
            _guarded(name, live, lambda sink=sink: sink.close(finished))


def _guarded(name: str, live: dict[str, Sink], act: Callable[[], None]) -> None:
    """Does what may fail of a sink: the run is worth more than its copies."""
    try:
        act()
    except Exception as error:
        live.pop(name)
        print(f'--metrics={name} failed and is left out; started again, the run fills it in: '
              f'{_line(error)}', file=sys.stderr)


def _line(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())[:300]


def _identity(workdir: Workdir) -> Identity:
    """The run's id, made once and kept in its folder, which may move."""
    place = workdir.path / 'sinks_id'
    if not os.path.lexists(place):
        files.write_text(place, secrets.token_hex(4) + '\n')
    return Identity(reading.read_text(place).strip(), workdir.path.name, dict(_fields(
        reading.read_json(workdir.path / 'config.json'))))


def _fields(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """A config's values by dotted name."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _fields(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
