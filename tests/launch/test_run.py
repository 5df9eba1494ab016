"""launch.run as a user runs it: mistakes in one line, signals, kills, resuming."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from subliminal_jax.runs.workdir import locked
from tests import blobs
from tests.launch import programs

ROOT = pathlib.Path(__file__).parents[2]
MNIST = f'--config={ROOT}/configs/mnist.py'
SETTINGS = [f'--config.{name}={value}' for name, value in {
    **blobs.SMALL, 'num_models': '6', 'conditions': 'reference,teacher,student_aux',
    'student.epochs': '20'}.items()]


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls the program in this process: (exit status, standard output, standard error)."""
    yield from programs.calls_of_run(monkeypatch, capsys)


@pytest.mark.parametrize('arguments, message', [
    (['--config.num_axu=3'], "unknown config field 'num_axu'; did you mean num_aux?"),
    (['--config.teacher.epoch=3'],
     "unknown config field 'teacher.epoch'; did you mean teacher.epochs?"),
    (['--config.hidden_sizes=abc'], "config.hidden_sizes must be int, not 'abc'"),
    (['--config.num_models=two'], "config.num_models must be int, not 'two'"),
    (['--config.num_aux=0'], 'config.num_aux must be >= 1, not 0'),
    (['--config.num_aux=-2'], 'config.num_aux must be >= 1, not -2'),
    (['--config.batch_size=0'], 'config.batch_size must be >= 1, not 0'),
    (['--config.student.epochs=0'], 'config.student.epochs must be >= 1, not 0'),
    (['--config.teacher.epochs=-1'], 'config.teacher.epochs must be >= 1, not -1'),
    (['--config.learning_rate=0'], 'config.learning_rate must be > 0, not 0.0'),
    (['--config.learning_rate=-1'], 'config.learning_rate must be > 0, not -1.0'),
    (['--config.activation=rleu'],
     "unknown value of config.activation 'rleu'; did you mean relu?"),
    (['--config.optimizer=adma'], "unknown value of config.optimizer 'adma'; did you mean adam?"),
    (['--config.conditions=teacher,student_ax'],
     "unknown value of config.conditions 'student_ax'; did you mean student_aux?"),
    (['--config.data=minst'], "unknown data set 'minst'; write mnist, or tfds:NAME for a set of "
                              'tensorflow-datasets, such as tfds:fashion_mnist'),
    (['--config.num_models=1'],
     'cross_aux starts from another model, and config.num_models is 1: set it to 2 or more, or '
     'leave the cross conditions out with --config.conditions=teacher,student_aux'),
    (['stray'], "stray argument 'stray': every option is written --name=value (see --help for the "
                'names)'),
    (['--wrokdir=x'], "unknown flag 'wrokdir'; did you mean workdir?"),
    (['--profile=x'], "flag --profile=x: invalid literal for int() with base 10: 'x'"),
    (['--config.num_models'], '--config.num_models: write --config.num_models=VALUE'),
    (['--metrics=wnadb'], "unknown sink of --metrics 'wnadb'; did you mean wandb?"),
    (['--configs=x'], "unknown flag 'configs'; did you mean config?"),
])
def test_a_mistake_gets_one_line_and_leaves_nothing(call, tmp_path, arguments, message):
    status, out, err = call(MNIST, f'--workdir={tmp_path}/run', *arguments)
    assert (status, out) == (1, '')
    assert err == f'error: {message}\n'
    assert not list(tmp_path.rglob('*.npz')) and not (tmp_path / 'run' / 'results.json').exists()


@pytest.mark.parametrize('content, message', [
    (None, 'no config file'), ('get_config = 1 +', 'cannot be loaded: SyntaxError'),
    ('import nothing_of_this_name', 'cannot be loaded: ModuleNotFoundError'),
    ('x = 1', 'cannot be used: no get_config in it'),
    ('def get_config(): return 3', 'must return an ml_collections ConfigDict'),
    ('def get_config(): return {}["a"]', 'cannot be'),
    ('from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({})',
     'unknown experiment'),
    ('from ml_collections import ConfigDict\n'
     'def get_config(): return ConfigDict({"experiment": "mnsit"})', 'did you mean mnist?'),
    ('from ml_collections import ConfigDict\n'
     'def get_config(): return ConfigDict({"experiment": "mnist", "num_axu": 3})',
     "unknown config field 'num_axu'; did you mean num_aux?"),
])
def test_a_missing_or_broken_config_file(call, tmp_path, content, message):
    path = tmp_path / 'mine.py'
    if content is not None:
        path.write_text(content)
    status, out, err = call(f'--config={path}', f'--workdir={tmp_path}/run')
    assert (status, out) == (1, '')
    assert message in err and err.count('\n') == 1 and not (tmp_path / 'run').exists()


def test_a_folder_in_use_is_refused(call, tmp_path):
    held = locked(tmp_path)
    status, out, err = call(MNIST, f'--workdir={tmp_path}')
    assert (status, out) == (1, '') and err.count('\n') == 1
    assert err.startswith(f'error: {tmp_path} is in use by a run that is alive')
    held.close()


def test_what_is_missing_is_said(call, tmp_path):
    assert call('--workdir=x') == (1, '', 'error: no config: pass --config=configs/NAME.py\n')
    assert call(MNIST) == (1, '', 'error: no folder for the run: pass --workdir=DIR\n')


def test_print_config_names_every_field_with_its_meaning(call):
    status, out, _ = call(MNIST, '--print_config', '--config.num_aux=7')
    assert status == 0
    assert 'num_aux = 7  (int) auxiliary logits, m' in out
    assert 'teacher.epochs = 5  (int) passes over the training inputs' in out


def test_dry_run_tells_the_cost_and_trains_nothing(call, tmp_path):
    status, out, _ = call(f'--config={ROOT}/configs/mnist_sweep.py', '--dry_run',
                          f'--workdir={tmp_path}/run')
    assert status == 0 and not (tmp_path / 'run').exists()
    assert [line.split()[0] for line in out.splitlines()[1:-2]] == [
        f'num_aux={m}' for m in (1, 2, 3, 5, 10, 20, 50)]
    assert 'TFLOP' in out and 'peak GB' in out and 'minutes' in out


@pytest.fixture(scope='module')
def machine(tmp_path_factory):
    """A user cache with small images, and how to start a run with it in a process of its own."""
    cache = tmp_path_factory.mktemp('cache')
    blobs.into_cache(cache)
    environment = {**os.environ, 'SUBLIMINAL_JAX_CACHE': str(cache),
                   'XLA_FLAGS': '--xla_force_host_platform_device_count=1'}

    def start(workdir):
        command = [sys.executable, '-m', 'launch.run', MNIST, f'--workdir={workdir}', *SETTINGS]
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def results_of(path):
    results = json.loads((path / 'results.json').read_text())
    return {k: v for k, v in results.items() if k not in ('timing', 'command')}


def stop_after_first_chunk(path, process):
    """Halts the run once a chunk is done and the next is under way."""
    while process.poll() is None:
        chunks = len(list(path.glob('cell00/*.npz')))
        if chunks and 'models0002' in (path / 'metrics.jsonl').read_text():
            process.send_signal(signal.SIGSTOP)
            return
        time.sleep(0.02)
    pytest.fail(f'the run ended first: {process.stderr.read()}')


@pytest.fixture(scope='module')
def clean(machine, tmp_path_factory):
    path = tmp_path_factory.mktemp('clean')
    out, err = machine(path).communicate(timeout=240)
    assert (path / 'results.json').exists(), err
    return path, out, err


@pytest.mark.slow
def test_a_run_prints_its_table_last_and_where_the_page_is(clean):
    path, out, err = clean
    lines = out.splitlines()
    assert lines[0] == 'Accuracy on the test digits, 6 models'
    assert lines[-1] == f'page: {path / "report.html"}'
    assert 'models x epochs: 100%' in err
    results = json.loads((path / 'results.json').read_text())
    assert results['command'].startswith('python -m launch.run --config=')
    assert results['experiment'] == 'mnist' and len(results['config_sha256']) == 64


@pytest.mark.slow
def test_a_second_start_skips_what_is_done(machine, clean):
    path, out, _ = clean
    before = {p: p.stat().st_mtime_ns for p in path.rglob('*.npz')}
    expected = results_of(path)
    again, _ = machine(path).communicate(timeout=240)
    assert again == out and results_of(path) == expected
    assert before == {p: p.stat().st_mtime_ns for p in path.rglob('*.npz')}


@pytest.mark.slow
@pytest.mark.parametrize('sign, status', [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_run_goes_on_to_the_same_results(machine, call, clean, tmp_path, sign, status):
    process = machine(tmp_path)
    stop_after_first_chunk(tmp_path, process)
    process.send_signal(sign)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == status
    if status == 143:
        assert 'stopped by SIGTERM: what was done is saved' in err and 'Traceback' not in err
    assert not (tmp_path / 'results.json').exists()
    status, _, err = call(MNIST, f'--workdir={tmp_path}', *SETTINGS, '--config.num_aux=4')
    assert status == 1 and 'belongs to another config: num_aux is 3' in err
    again = machine(tmp_path)
    again.communicate(timeout=240)
    assert again.returncode == 0 and results_of(tmp_path) == results_of(clean[0])
