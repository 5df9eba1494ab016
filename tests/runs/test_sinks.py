"""Sinks of the metrics: what each library reads back is metrics.jsonl, each number once."""

import json
import os
import socket
import subprocess
import sys

import pytest

from subliminal_jax.runs import UserError, sinks
from tests.runs.test_workdir import never, opened, reopened


def read_tensorboard(folder):
    """(tag, step) to value; fails on a number that is there twice."""
    from tensorboard.backend.event_processing import event_accumulator, tag_types

    read = event_accumulator.EventAccumulator(
        str(folder / 'tensorboard'), size_guidance={tag_types.TENSORS: 0}).Reload()
    found = [((tag, event.step), event.tensor_proto.float_val[0])
             for tag in read.Tags()['tensors'] for event in read.Tensors(tag)]
    assert len(dict(found)) == len(found)
    return dict(found)


def read_wandb(folder):
    """The same of the one offline run that is there, through W&B's own record format."""
    from wandb.proto import wandb_internal_pb2

    place, = folder.glob('wandb/offline-run-*/run-*.wandb')
    found = []
    for record in records_of(place):
        message = wandb_internal_pb2.Record.FromString(record)
        row = {'/'.join(item.nested_key) or item.key: json.loads(item.value_json)
               for item in message.history.item}
        axis = next((name for name in row if name.endswith('/step')), None)
        found += [((name, row[axis]), value) for name, value in row.items()
                  if axis is not None and name != axis and not name.startswith('_')]
    assert len(dict(found)) == len(found)
    return dict(found)


def records_of(place):
    """The records of a .wandb file: blocks of 32 KiB, each record with CRC, length and kind."""
    data, at, part = place.read_bytes(), 7, b''
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4:at + 6], 'little'), data[at + 6]
        part += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield part
            part = b''


def read_mlflow(folder):
    """The same of the one run that is there."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f'sqlite:///{folder}/mlflow/mlflow.db')
    experiment = client.get_experiment_by_name(sinks.PROJECT)
    run, = client.search_runs([experiment.experiment_id])
    assert run.data.params['rate'] == '0.5'
    found = [((key, metric.step), metric.value) for key in run.data.metrics
             for metric in client.get_metric_history(run.info.run_id, key)]
    assert len(dict(found)) == len(found)
    return dict(found)


READERS = {'tensorboard': read_tensorboard, 'wandb': read_wandb, 'mlflow': read_mlflow}


def expected(workdir, name):
    """What metrics.jsonl holds, as a sink names it."""
    found = {}
    for row in workdir.metrics():
        point = sinks.point_of(row)
        for own, value in point.values.items():
            tag = f'{point.group}/{own}'
            found[sinks.mlflow_key(tag) if name == 'mlflow' else tag, point.step] = value
    return found


def steps(workdir, count=3, fail=False):
    """A stage of `count` steps of two models."""
    def make(path):
        for step in range(count):
            workdir.log(training='students', models=['owl-0', 'cat-0'], step=step,
                        loss=[step / 4, 0.5], cosine=[[0.25, None], [0.5, 1.0]], grad_norm=1.5)
        if fail:
            raise KeyboardInterrupt
        path.write_text('')
    return make


@pytest.fixture
def offline(monkeypatch):
    """No setting of the user's, and an error where a library reaches beyond this machine."""
    for name in list(os.environ):
        if name.startswith(('WANDB_', 'MLFLOW_')):
            monkeypatch.delenv(name)
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ('127.0.0.1', '::1'), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, 'connect', local)


@pytest.mark.parametrize('name', [
    'tensorboard', 'wandb', pytest.param('mlflow', marks=pytest.mark.slow)])  # it makes a database
def test_a_sink_holds_what_metrics_jsonl_holds_once(tmp_path, offline, name):
    """Of a run that was stopped inside its second stage, and whose first stage had no sink."""
    pytest.importorskip(sinks.SINKS[name].module)
    workdir = opened(tmp_path)
    workdir.stage('before', 'before', steps(workdir, 1))
    with sinks.opened([name], workdir):
        workdir.stage('before', 'before', never)
        with pytest.raises(KeyboardInterrupt):
            workdir.stage('rank=4/b', 'b', steps(workdir, 2, fail=True))
    workdir = reopened(workdir)
    with sinks.opened([name], workdir):
        workdir.stage('before', 'before', never)
        workdir.stage('rank=4/b', 'b', steps(workdir))
    found, wanted = READERS[name](tmp_path), expected(workdir, name)
    assert found == wanted and len(found) == 4 * 6


def test_a_torn_event_file_is_filled_in(tmp_path, offline):
    """As SIGKILL leaves it: what was not yet written, and the half of a record."""
    pytest.importorskip('tensorboard.summary')
    workdir = opened(tmp_path)
    with sinks.opened(['tensorboard'], workdir):
        workdir.stage('one', 'one', steps(workdir))
    place, = tmp_path.glob('tensorboard/events*')
    place.write_bytes(place.read_bytes()[:-100])
    assert read_tensorboard(tmp_path) != expected(workdir, 'tensorboard')
    workdir = reopened(workdir)
    with sinks.opened(['tensorboard'], workdir):
        workdir.stage('one', 'one', never)
    assert read_tensorboard(tmp_path) == expected(workdir, 'tensorboard')


def test_a_row_becomes_numbers_with_names():
    point = sinks.point_of({'stage': 'a', 'training': 'b', 'models': ['x', 'y'], 'step': 3,
                            'loss': [1, 2, 3], 'value': [[0.5, None]], 'of': {'p': True},
                            'none': None, 'time': 8.5})
    assert point == ('a/b', 3, {'loss/x': 1, 'loss/y': 2, 'loss/2': 3, 'value/x/0': 0.5,
                                'of/p': 1}, 8.5)
    alone = sinks.point_of({'stage': 'a', 'phase': 'b', 'models': ['x'], 'epoch': 2, 'loss': 1.0})
    assert alone == ('a/b', 2, {'loss/x': 1.0}, 0.0)


def test_a_sink_that_fails_leaves_the_run_alone(tmp_path, monkeypatch, capsys):
    class Full:
        def __init__(self, folder, run):
            self.left = 2

        def write(self, point):
            self.left -= 1
            if not self.left:
                raise OSError('no room')

    monkeypatch.setitem(sinks.SINKS, 'full', sinks.Kind('json', Full))
    workdir = opened(tmp_path)
    with sinks.opened(['full'], workdir):
        workdir.stage('one', 'one', steps(workdir))
    assert len(workdir.metrics()) == 3
    assert capsys.readouterr().err == (
        '--metrics=full failed and is left out; started again, the run fills it in: OSError: '
        'no room\n')


def test_a_sink_that_cannot_be_opened_is_an_error_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(sinks.SINKS, 'closed', sinks.Kind('json', lambda folder, run: 1 / 0))
    with pytest.raises(UserError, match='--metrics=closed cannot be opened: ZeroDivisionError'), \
            sinks.opened(['closed'], opened(tmp_path)):
        raise AssertionError('it ran')


def test_unknown_and_missing_sinks_get_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"unknown sink of --metrics 'tensorbord'; did you mean "):
        sinks.check(['tensorbord'])
    monkeypatch.setitem(sinks.SINKS, 'gone', sinks.Kind('no_such_module.inner', None))
    with pytest.raises(UserError, match='--metrics=gone needs a package that is not installed: '
                                        'launch/setup.sh --with metrics'):
        sinks.check(['gone'])
    monkeypatch.setitem(sinks.SINKS, 'here', sinks.Kind('json', None))
    with pytest.raises(UserError, match='--metrics names here twice'):
        sinks.check(['here', 'here'])


def test_no_library_is_imported_that_was_not_asked_for():
    code = ('import sys; from subliminal_jax.runs import sinks; import launch.run; '
            'print([m for m in ("tensorboard", "wandb", "mlflow", "jax") if m in sys.modules])')
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == '[]'


def test_the_id_of_a_run_stays_when_its_folder_moves(tmp_path):
    workdir = opened(tmp_path / 'a')
    first = sinks._identity(workdir)
    workdir._lock.close()
    os.rename(tmp_path / 'a', tmp_path / 'b')
    again = sinks._identity(opened(tmp_path / 'b'))
    assert (again.id, again.name) == (first.id, 'b') and first.config['rate'] == 0.5
    assert sinks._identity(opened(tmp_path / 'c')).id != first.id
