"""launch.sweep: grids, cells that are killed, sweeps that are killed, Ray or none."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl.testing import flagsaver

from launch import cells as parts, pools
from subliminal_jax.runs import UserError, run_program
from tests import blobs
from tests.launch import programs, toy_cell

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Runs a sweep of toys in this process: (exit status, output, last line of errors)."""
    config = tmp_path / 'toy.py'
    config.write_text(toy_cell.FILE)
    monkeypatch.setattr('launch.experiments.EXPERIMENTS', toy_cell.TABLE)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments, folder='s', cluster='none'):
        monkeypatch.setattr(sys, 'argv', [
            'launch.sweep', f'--config={config}', f'--workdir={tmp_path / folder}',
            f'--cluster={cluster}', *arguments])
        try:
            with flagsaver.flagsaver():
                program = programs.fresh('launch.sweep')
                monkeypatch.setattr(program.parts, 'PROGRAM', 'tests.launch.toy_cell')
                run_program(program.main, allow_prefix='--config')
        except SystemExit as stop:
            out, err = capsys.readouterr()
            return stop.code, out, err.strip().splitlines()[-1]
        return 0, capsys.readouterr().out, ''

    yield call
    programs.forget()
    signal.signal(signal.SIGTERM, handler)


def results_of(folder):
    """results.json of every cell, without what differs from run to run."""
    return {path.parent.name: {key: value for key, value in json.loads(path.read_text()).items()
                               if key not in ('timing', 'command')}
            for path in sorted(folder.glob('cells/*/results.json'))}


def begun(folder):
    """How often each cell was started."""
    return {path.parent.name: len(path.read_text()) for path in folder.glob('cells/*/begun')}


def test_cells_are_ordinary_runs_and_are_joined(sweep, tmp_path):
    status, out, _ = sweep('--grid=seed=2,3', '--grid=sizes=1,2;3', '--workers=2')
    assert status == 0
    assert [line.split() for line in out.splitlines()[-6:-1]] == [
        ['seed', 'sizes', 'state', 'square', 'effect'],
        ['2', '1,2', 'done', '4', '2', '[0,', '4]'], ['2', '3', 'done', '4', '2', '[0,', '4]'],
        ['3', '1,2', 'done', '9', '4.5', '[0,', '9]'], ['3', '3', 'done', '9', '4.5', '[0,', '9]']]
    cell = tmp_path / 's/cells/seed=3+sizes=1,2'
    assert json.loads((cell / 'config.json').read_text())['sizes'] == [1, 2]
    assert (cell / 'manifests/square.json').exists()
    page = (tmp_path / 's/overview.html').read_text()
    assert page.count('<section') == 4 and page.index('<th>square</th>') < page.index('<section')
    assert 'seed=3+sizes=1,2</a>: the square is 9' in page


def test_started_again_only_what_is_missing_runs(sweep, tmp_path):
    assert sweep('--grid=seed=1,2')[0] == 0
    before = (tmp_path / 's/cells/seed=1/results.json').stat().st_mtime_ns
    status, out, _ = sweep('--grid=seed=1,2,3', '--config.save_every=7')
    assert status == 0 and '3 cells, 2 of them from before' in out
    assert begun(tmp_path / 's') == {'seed=1': 1, 'seed=2': 1, 'seed=3': 1}
    assert (tmp_path / 's/cells/seed=1/results.json').stat().st_mtime_ns == before
    status, _, error = sweep('--grid=seed=1,2', '--config.sizes=9')
    assert status == 1 and 'seed=1 holds the results of another config' in error


def test_a_killed_cell_goes_on_and_a_mistake_is_not_tried_again(sweep, tmp_path):
    status, out, error = sweep('--grid=seed=4', '--grid=trouble=kill,mistake,crash',
                               '--retries=1')
    assert status == 1
    assert '2 of 3 cells failed; the first, seed=4+trouble=mistake: this can never be' in error
    assert begun(tmp_path / 's') == {'seed=4+trouble=kill': 2, 'seed=4+trouble=mistake': 1,
                                     'seed=4+trouble=crash': 2}
    told = {row['name']: row for row in json.loads(
        (tmp_path / 's/sweep.json').read_text())['cells']}
    assert told['seed=4+trouble=kill']['state'] == 'done'
    assert told['seed=4+trouble=crash']['line'].startswith('RuntimeError: a bug (see ')
    assert 'a bug' in (tmp_path / 's/logs/seed=4+trouble=crash.log').read_text()
    row = next(line.split() for line in out.splitlines() if line.startswith('4     crash'))
    assert row == ['4', 'crash', 'failed']  # it has no figures


def test_cells_are_handed_the_sinks(tmp_path):
    config = tmp_path / 'toy.py'
    config.write_text(toy_cell.FILE)
    cell, = parts.cells_of([f'--config={config}'], {'seed': ('1',)}, tmp_path, toy_cell.TABLE,
                           ['tensorboard', 'wandb'])
    assert cell.command[-1] == '--metrics=tensorboard,wandb'


def test_a_child_dies_with_who_waits_for_it(tmp_path):
    """As a worker that is killed outright: nothing goes on writing behind its back."""
    config = tmp_path / 'toy.py'
    config.write_text(toy_cell.FILE)
    command = (sys.executable, '-m', 'tests.launch.toy_cell', f'--config={config}',
               '--config.trouble=hang', f'--workdir={tmp_path}/c')
    cell = parts.Cell('c', (), f'{tmp_path}/c', f'{tmp_path}/c.log', command, {})
    code = ('import sys, json; from launch import cells; '
            'cells.run_cell(cells.Cell(*json.loads(sys.argv[1])), 0)')
    worker = subprocess.Popen([sys.executable, '-c', code, json.dumps(cell)], cwd=ROOT)
    waited(lambda: (tmp_path / 'c/square.txt').exists())
    worker.kill()
    worker.wait()
    parts._wait_until_free(tmp_path / 'c')
    from subliminal_jax.runs.workdir import locked

    locked(tmp_path / 'c').close()


def waited(holds, seconds=60):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize('arguments, words', [
    ([], 'no grid: pass --grid=FIELD=VALUE,VALUE'),
    (['--grid=seed'], '--grid=seed: write FIELD=VALUE,VALUE'),
    (['--grid=seed='], 'write FIELD=VALUE,VALUE'),
    (['--grid=seed=1,1'], 'names the value 1 twice'),
    (['--grid=seed=1', '--grid=seed=2'], '--grid names seed twice'),
    (['--grid=sede=1'], "unknown config field 'sede'; did you mean seed?"),
    (['--grid=seed=1,x'], "config.seed must be int, not 'x'"),
    (['--grid=seed=1', '--config.seed=2'], '--config.seed is set, and --grid names it too'),
    (['--grid=seed=1', '--workers=0'], '--workers=0'),
    (['--grid=seed=1', '--metrics=tensorbord'], "unknown sink of --metrics 'tensorbord'"),
])
def test_mistakes_come_before_any_cell(sweep, tmp_path, arguments, words):
    status, _, error = sweep(*arguments)
    assert status == 1 and words in error and error.startswith('error: ')
    assert not (tmp_path / 's').exists()


def test_an_address_that_nobody_listens_at_gets_one_line(monkeypatch):
    monkeypatch.setattr(pools, 'installed', lambda: None)
    for address in ('127.0.0.1:9', 'ray://127.0.0.1:9'):
        with pytest.raises(UserError, match=r'nobody listens at 127\.0\.0\.1:9 .*start Ray there'):
            pools.ray_tasks(address, 1, 1.0, 0.0)
    with pytest.raises(UserError, match='is no address: write HOST:PORT'):
        pools.ray_tasks('host:port', 1, 1.0, 0.0)


def test_without_ray_the_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(UserError, match='setup.sh --with sweep, or --cluster=none'):
        pools.ray_tasks(pools.EMBEDDED, 1, 1.0, 0.0)


def test_names_of_folders_are_readable_and_apart():
    assert parts.name_of([('num_aux', '3'), ('optimizer', 'adam')]) == 'num_aux=3+optimizer=adam'
    odd = [parts.name_of([('arms', value)]) for value in ('a: x=1', 'a; x=1', 'b' * 300)]
    assert len(set(odd)) == 3 and all(len(name) < 140 and '/' not in name for name in odd)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_cells_under_ray_of_which_one_loses_its_worker(sweep, tmp_path):
    """The worker is killed outright; the figures are those of cells that ran one by one."""
    pytest.importorskip('ray')
    grid = ['--grid=seed=1,2,3,4,5,6', '--grid=sizes=1;2']
    assert sweep(*grid, '--workers=2', cluster='embedded')[0] == 0
    assert sweep(*grid, folder='alone')[0] == 0
    assert results_of(tmp_path / 's') == results_of(tmp_path / 'alone')
    assert len(results_of(tmp_path / 's')) == 12
    lost = ['--grid=seed=7,8', '--grid=trouble=worker']
    assert sweep(*lost, cluster='embedded')[0] == 0
    assert begun(tmp_path / 's')['seed=7+trouble=worker'] == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_mnist_cells_under_ray_equal_those_one_by_one(tmp_path):
    """One of Ray's workers is killed while its cell trains."""
    pytest.importorskip('ray')
    blobs.into_cache(tmp_path / 'cache')
    environment = {**os.environ, 'SUBLIMINAL_JAX_CACHE': str(tmp_path / 'cache'),
                   'XLA_FLAGS': '--xla_force_host_platform_device_count=1'}
    settings = [f'--config.{name}={value}' for name, value in {
        **blobs.SMALL, 'conditions': 'reference,teacher,student_aux'}.items()]

    def start(folder, cluster):
        return subprocess.Popen(
            [sys.executable, '-m', 'launch.sweep', f'--config={ROOT}/configs/mnist.py', *settings,
             '--grid=num_aux=1,2,3,4,5,6', '--grid=seed=0,1', f'--workdir={tmp_path / folder}',
             f'--cluster={cluster}'], cwd=ROOT, env=environment)

    process = start('ray', 'embedded')
    waited(lambda: len(list((tmp_path / 'ray').glob('cells/*/metrics.jsonl'))) == 2, 900)
    children = lambda: [pid for pid in map(int, filter(str.isdigit, os.listdir('/proc')))
                        if f'--workdir={tmp_path}/ray/cells/'.encode() in command_of(pid)]
    waited(children, 300)  # none between two cells
    os.kill(parent_of(children()[0]), signal.SIGKILL)
    assert process.wait() == 0
    assert start('alone', 'none').wait() == 0
    assert results_of(tmp_path / 'ray') == results_of(tmp_path / 'alone')
    assert len(results_of(tmp_path / 'ray')) == 12


def command_of(pid):
    """A process's command line, or nothing where it has ended."""
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    except OSError:
        return b''


def parent_of(pid):
    """The process that started another."""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith('PPid')))
