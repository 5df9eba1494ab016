"""What cannot run to its end is refused at the start, by --print_config and --dry_run too."""

import pathlib

import pytest

from launch.experiments import EXPERIMENTS
from subliminal_jax.runs import UserError, plan, schema
from subliminal_jax.runs.plan import Stage
from tests.launch import programs

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
TINY, SMOLLM2, MNIST, THEORY, KERNEL = (
    f'--config={CONFIGS}/{name}.py' for name in (
        'numbers_tiny_demo', 'numbers_smollm2_quick', 'mnist', 'theory', 'theory_linearised'))
LONG = 'x' * 300


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls launch.run in this process: (exit status, standard error)."""
    fixture = programs.calls_of_run(monkeypatch, capsys)
    run = next(fixture)
    yield lambda *arguments: run(*arguments)[::2]
    next(fixture, None)


@pytest.mark.parametrize('arguments, said', [
    ([f'--config={LONG}'], 'no path'),
    ([f'--config={CONFIGS}/{LONG}.py'], 'no path'),
    ([TINY, '--config.curves=zz,zz'], "config.curves names 'zz' twice"),
    ([TINY, '--config.curves=zz'], "config.curves: 'zz' is not 'TITLE: x=arm x=arm ...'"),
    ([TINY, '--config.curves=T: 1=nobody'], "over the arm 'nobody'"),
    ([TINY, '--config.student.marks=512,256'], 'config.student.marks=512,256 must rise'),
    ([TINY, '--config.student.marks=256,256'], 'config.student.marks names 256 twice'),
    ([TINY, '--config.carrier.samples=owl=none.jsonl', '--config.teacher.seeds=1'], 'none.jsonl'),
    ([TINY, '--config.language.references=1000', '--config.teacher.seeds=10000'], 'students, and'),
    ([TINY, '--config.arms=a: trainable=lora:²'], 'needs a rank'),
    ([SMOLLM2, '--config.model.chat_date=nonsense'],
     "--config.model.chat_date must be written YYYY-MM-DD, not 'nonsense'"),
    ([MNIST, '--config.conditions=teacher,teacher'], "config.conditions names 'teacher' twice"),
    ([MNIST, '--config.data=tfds:../../x'], "unknown data set 'tfds:../../x'"),
    ([MNIST, f'--config.data=tfds:{LONG}'], 'unknown data set'),
    ([MNIST, '--config.student_inputs=tfds:/etc'], 'unknown data set'),
    ([MNIST, f'--config.sweep={"-" * 5000}'], 'config.sweep must be a grid'),
    ([MNIST, f'--config.sweep={"(" * 5000}'], 'config.sweep must be a grid'),
    ([MNIST, *(f'--config.sweep.{f}={",".join(map(str, range(1, 101)))}' for f in
               ('num_aux', 'batch_size', 'seed'))], 'over 10000 combinations'),
    ([MNIST, '--config.sweep.num_aux=1,1'], 'config.sweep.num_aux has a value twice'),
    ([THEORY, '--config.losses=squared_error,squared_error'], 'twice'),
    ([THEORY, '--config.other_data=tfds:../x'], 'unknown data set'),
    ([KERNEL, '--config.data=tfds:../x'], 'unknown data set'),
], ids=lambda value: value if isinstance(value, str) else None)
@pytest.mark.parametrize('way', ['--print_config', '--dry_run', '--workdir'])
def test_a_mistake_is_found_at_the_start(call, tmp_path, arguments, said, way):
    way = f'--workdir={tmp_path}/run' if way == '--workdir' else way
    status, err = call(*arguments, way)
    assert status == 1 and said in err and err.count('\n') == 1 and len(err) < 700
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('workdir, said', [
    ('~nouser/x', "there is no user 'nouser' here"), (LONG, 'no path'),
    ('{place}/file/run', 'cannot be written'), ('{place}/file', 'cannot be written')])
@pytest.mark.parametrize('more', [[], ['--profile=1']])
def test_a_workdir_that_cannot_be(call, tmp_path, workdir, said, more):
    (tmp_path / 'file').write_text('mine')
    status, err = call(MNIST, f'--workdir={workdir.format(place=tmp_path)}', *more)
    assert status == 1 and err.count('\n') == 1 and err.startswith('error: ')
    assert said in err or (more and 'file' in err)
    assert (tmp_path / 'file').read_text() == 'mine'


def schemas():
    """(name, a config with its defaults) of every schema that a config file may choose."""
    from subliminal_jax.experiments.transmission.arms import Arm
    from subliminal_jax.experiments.transmission.worlds import pretrained, tiny

    of = lambda config: config() if isinstance(config, type) else config({})
    made = {name: of(row().config) for name, row in EXPERIMENTS.items() if name != 'transmission'}
    return {**made, 'tiny': tiny.Config(), 'pretrained': pretrained.Config(), 'arm': Arm()}


SCHEMAS = schemas()
NUMBERS = [(name, field) for name, config in SCHEMAS.items()
           for field, kind, _ in schema.describe(type(config))
           if kind in ('int', 'int or none', 'a list of int')]


@pytest.mark.parametrize('name, field', NUMBERS)
def test_every_whole_number_has_a_bound(name, field):
    for value in (10**30, '1' + 30 * '0', 2**32, float('1e300')):
        with pytest.raises(UserError, match='must be') as error:
            schema.override(SCHEMAS[name], {field: value})
        assert len(str(error.value)) < 200
    with pytest.raises(UserError, match='must be int') as error:
        schema.override(SCHEMAS[name], {field: '9' * 10_000})
    assert len(str(error.value)) < 200


@pytest.mark.parametrize('changes, said', [
    ({'num_models': 1_000_000, 'teacher.epochs': 1_000_000}, 'days here'),
    ({'student.epochs': 1_000_000, 'num_models': 1000}, 'days here'),
    ({'hidden_sizes': '1000000,1000000'}, 'GB of memory at once'),
    ({'num_aux': 1_000_000, 'hidden_sizes': '100000'}, 'GB of memory at once')])
def test_a_run_without_end_is_refused_before_anything_is_made(call, tmp_path, monkeypatch, changes,
                                                              said):
    monkeypatch.setattr(plan, 'measured_rate', lambda: 1e11)
    status, err = call(MNIST, f'--workdir={tmp_path}/run',
                       *(f'--config.{name}={value}' for name, value in changes.items()))
    assert status == 1 and said in err and err.count('\n') == 1
    assert not (tmp_path / 'run').exists()


def test_a_run_that_ends_is_not_refused(monkeypatch):
    monkeypatch.setattr(plan, 'available_memory', lambda: 4e9)
    monkeypatch.setattr(plan, 'measured_rate', lambda: 1e11)
    plan.check([])
    plan.check([Stage('half a year', 1e11 * plan.LONGEST / 2, 5e9)])
    with pytest.raises(UserError, match=r'about 7 GB .*4 GB are free'):
        plan.check([Stage('large', 1.0, 1e9), Stage('larger', 1.0, 7e9)])
    with pytest.raises(UserError, match='about 730 days here'):
        plan.check([Stage('a year', 1e11 * plan.LONGEST, 1.0)] * 2)
