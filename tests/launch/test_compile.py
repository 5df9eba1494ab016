"""launch.compile: mistakes in one line, what does not fit, and programs on the real compilers."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from subliminal_jax.runs import UserError, ahead, plan, run_program, topologies
from subliminal_jax.runs.topologies import Topology
from tests.launch import programs
from tests.runs.test_hlo import TPU

ROOT = pathlib.Path(__file__).parents[2]
MNIST = f'--config={ROOT}/configs/mnist.py'
HERE = Topology('v5e:2x4', topologies.card('v5e'), tuple(range(8)), 1, {})
MEMORY = {'argument': 10 << 30, 'output': 2 << 30, 'temp': 5 << 30, 'alias': 2 << 30}


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls a program in this process: (exit status, standard output, standard error)."""
    def run(*arguments, name='launch.compile'):
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        try:
            with flagsaver.flagsaver():
                run_program(programs.fresh(name).main, allow_prefix='--config')
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield run
    programs.forget()


@pytest.fixture
def bare(monkeypatch):
    """No compilers are installed."""
    monkeypatch.setattr(topologies, 'libraries', lambda: None)


@pytest.mark.parametrize('arguments, message', [
    ([MNIST], 'compile for what? Pass --topology=v5e:2x4, h100:1 or alike'),
    ([MNIST, '--topology=v5f:2x4'], "unknown accelerator 'v5f'; did you mean v5p?"),
    ([MNIST, '--topology=v5e'], '--topology=v5e: write CARD:SHAPE, such as v5e:2x4'),
    ([MNIST, '--topology=v5e:2x'], '--topology=v5e:2x: write CARD:SHAPE, such as v5e:2x4'),
    ([MNIST, '--topology=h100:1'], "the accelerators' compilers are not installed: run "
                                   'launch/setup.sh --with aot'),
    ([f'--config={ROOT}/configs/theory.py', '--topology=h100:1'],
     'the experiment theory computes in float64 on CPU cores: it has no programs'),
    ([MNIST, '--topology=h100:1', '--mesh=tensor'], '--mesh=tensor: write --mesh=data:2,fsdp:4'),
])
def test_a_mistake_gets_one_line(call, bare, arguments, message):
    status, out, err = call(*arguments)
    assert (status, out) == (1, '') and err.startswith(f'error: {message}')
    assert err.count('\n') == 1


@pytest.mark.parametrize('name, arguments, message', [
    ('launch.run', [], '--topology is of --dry_run: a run takes the devices that it finds'),
    ('launch.run', ['--dry_run'], "the accelerators' compilers are not installed"),
    ('launch.plan', ['--mde=0.3'], 'the experiment mnist has no designs'),
    ('launch.plan', ['--mde=0.3', '--rate=1'], 'the experiment mnist has no designs')])
def test_a_topology_is_of_a_plan(call, bare, name, arguments, message):
    status, _, err = call(MNIST, '--topology=h100:1', *arguments, name=name)
    assert status == 1 and message in err and err.count('\n') == 1


@pytest.mark.parametrize('message, asked', [
    ('RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory '
     'required for HLO temporaries (128.00G) exceeds available HBM (15.75G).', 128 << 30),
    ('RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. '
     'Used 27.50G of 15.75G hbm. Exceeded hbm capacity by 11.75G.', 27.5 * 2**30),
    ('RESOURCE_EXHAUSTED: out of memory', float('inf')),
    ('INVALID_ARGUMENT: of another kind', None)])
def test_what_the_compiler_asked_for_is_read(message, asked):
    assert ahead.asked_for(message) == asked


def program(**changes):
    return ahead.Program('student step (sft)', None, (), 'step', ('config.model.remat=true',)
                         )._replace(**changes)


def test_a_program_that_does_not_fit_says_by_how_much_and_what_helps():
    found = ahead.bounds(program(), ahead.Compiled('', MEMORY, 27.5 * 2**30, 1.0), HERE)
    assert not found[0].fits and 'DOES NOT FIT' in ahead.render(found, HERE)
    with pytest.raises(UserError) as error:
        ahead.check_fits(found, HERE)
    assert str(error.value) == (
        'student step (sft) needs 29.5 GB on a device of v5e:2x4, which has 16.9: 12.6 GB too '
        'many; what helps: config.model.remat=true, a topology of more devices')
    assert json.loads(json.dumps(ahead.entry(found)))['student step (sft)']['fits'] is False


def test_what_a_run_holds_beside_a_program_counts():
    made = ahead.Compiled(TPU, MEMORY, 0.0, 1.0)
    assert made.bytes == 15 << 30
    ahead.check_fits(ahead.bounds(program(), made, HERE), HERE)
    with pytest.raises(UserError, match='student step'):
        ahead.check_fits(ahead.bounds(program(beside=float(1 << 30)), made, HERE), HERE)


def test_the_slowest_of_the_three_binds():
    bound, = ahead.bounds(program(calls=7, count=70), ahead.Compiled(TPU, MEMORY, 0.0, 1.0), HERE)
    flops, moved = 28 * 2 * 8 * 4 * 16, 28 * 4 * 16 * 2 + 28 * 8 * 16 * 4
    assert bound.flops == {'float32': flops} and bound.moved == moved
    assert bound.seconds['compute'] == pytest.approx(flops / (197e12 / 6))
    assert bound.seconds['memory'] == pytest.approx(moved / 819e9)
    assert bound.seconds['network'] == pytest.approx(3 / 4 * 28 * 8 * 16 * 4 / 2e11)
    assert bound.binds == 'network' and bound.roofline == bound.seconds['network']
    assert '70 of them' in ahead.render([bound], HERE)


def test_stages_go_at_the_pace_of_their_programs():
    bound, = ahead.bounds(program(), ahead.Compiled(TPU, MEMORY, 0.0, 1.0), HERE)
    pace = ahead.pace([bound], HERE)
    stage, other = pace.of([plan.Stage('students, sft', 1e15, 1.0, 0.6, 'student step (sft)'),
                            plan.Stage('geometry, x', 1e15, 1.0, 0.6)])
    each = 8 * sum(bound.flops.values()) / bound.roofline  # FLOP/s of all devices
    assert stage.flops / stage.efficiency / pace.rate == pytest.approx(1e15 / each)
    assert stage.peak_bytes == bound.bytes and other.efficiency == stage.efficiency


def test_results_are_added_by_config_and_topology(call, tmp_path):
    module = programs.fresh('launch.compile')
    path = tmp_path / 'results.json'
    for topology, name in (('h100:1', 'a'), ('h100:1', 'b'), ('v5e:2x4', 'a')):
        module.keep(path, ['--config=configs/x.py', '--config.seed=3'], topology,
                    {name: {'gigabytes': 1.2345678}}, {'libtpu': '1'})
    found = json.loads(path.read_text())
    assert found['configs'] == {'x --config.seed=3': {
        'h100:1': {'a': {'gigabytes': 1.2346}, 'b': {'gigabytes': 1.2346}},
        'v5e:2x4': {'a': {'gigabytes': 1.2346}}}}
    path.write_text('{"experiment": "mnist"}')
    with pytest.raises(UserError, match='none of launch.compile'):
        module.keep(path, ['--config=configs/x.py'], 'h100:1', {}, {})


# The real compilers.

GOLDEN = 'memory moved: read what XLA or the program changed, then take the new figure'


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
    """(arguments of launch.compile) -> its JSON, from a process of its own."""
    if why := topologies.missing():
        pytest.skip(why)

    def run(*arguments, topology='h100:1'):
        path = tmp_path_factory.mktemp('ahead') / 'results.json'
        done = subprocess.run(
            [sys.executable, '-m', 'launch.compile', f'--topology={topology}', f'--output={path}',
             *arguments], cwd=ROOT, text=True, capture_output=True, timeout=280,
            env={**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu'})
        assert path.exists(), done.stderr
        found, = json.loads(path.read_text())['configs'].values()
        return found[topology], done

    return run


@pytest.mark.slow
def test_a_plain_import_of_jax_is_quiet_beside_the_compilers():
    if why := topologies.missing():
        pytest.skip(why)
    done = subprocess.run([sys.executable, '-c', 'import jax; print(jax.default_backend())'],
                          text=True, capture_output=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ('cpu\n', '')


@pytest.mark.slow
@pytest.mark.parametrize('config, programs, name, gigabytes, teraflops', [
    ('mnist', 'student epoch', 'student epoch', 0.52, 0.0125),
    ('numbers_tiny_demo', 'student step', 'student step (sft)', 0.04, None),
    ('numbers_qwen2_5_7b', 'student step', 'student step (sft)', 24.68, 281.7)])
def test_programs_compile_for_a_gpu_and_fit(compiled, config, programs, name, gigabytes, teraflops):
    """With abstract weights: nothing of 7B parameters is ever allocated."""
    found, done = compiled(f'--config={ROOT}/configs/{config}.py', f'--programs={programs}')
    assert done.returncode == 0, done.stderr
    assert found[name]['fits'] and found[name]['roofline'] > 0
    if gigabytes is not None:
        assert found[name]['gigabytes'] == pytest.approx(gigabytes, rel=0.03), GOLDEN
    if teraflops is not None:
        assert sum(found[name]['teraflops'].values()) == pytest.approx(teraflops, rel=0.01), GOLDEN


@pytest.mark.slow
def test_a_shape_that_the_compiler_does_not_know(compiled):
    with pytest.raises(AssertionError, match='the compiler does not know it'):
        compiled(MNIST, topology='v5e:3x5')
    with pytest.raises(AssertionError, match='a host has 8 of them'):
        compiled(MNIST, topology='h100:3')
