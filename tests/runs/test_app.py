"""Flags in either spelling, flag files, and hints that name the flags of the program that runs."""

import os
import subprocess
import sys

import pytest
from absl import flags

from subliminal_jax.runs import UserError, local_path, option, parse_flags, run_program


@pytest.fixture(name='program')
def _program(monkeypatch):
    """A program with --place, --count and --quick; its name."""
    name = 'launch.some'
    values = flags.FlagValues()  # other programs' flags are not this one's, whoever imported them
    monkeypatch.setattr(flags, 'FLAGS', values)
    monkeypatch.setattr(sys, 'argv', [name])
    for define, flag, default in ((flags.DEFINE_string, 'place', ''),
                                  (flags.DEFINE_integer, 'count', 0),
                                  (flags.DEFINE_bool, 'quick', False)):
        define(flag, default, 'a flag', flag_values=values, module_name=name)
    return name


@pytest.mark.parametrize('arguments', [
    ['--place=here', '--count=-3', '--quick', '--config=a.py', '--config.x.y=-1', '--config.z='],
    ['--place', 'here', '--count', '-3', '--quick', '--config', 'a.py', '--config.x.y', '-1',
     '--config.z', ''],
    ['-place=here', '-count=-3', '-quick=true', '-config=a.py', '-config.x.y=-1', '-config.z='],
])
def test_both_spellings_are_one(program, arguments):
    kept = parse_flags([program, *arguments], '--config')
    assert kept == ['--config=a.py', '--config.x.y=-1', '--config.z=']
    assert (flags.FLAGS.place, flags.FLAGS.count, flags.FLAGS.quick) == ('here', -3, True)


def test_a_field_without_a_value_takes_no_flag_for_one(program):
    assert parse_flags([program, '--config.x', '--place=there'], '--config') == ['--config.x']
    assert flags.FLAGS.place == 'there'


def test_a_flag_file_stands_for_its_lines(program, tmp_path):
    (tmp_path / 'all.flags').write_text('# what is the same for all\n--count=4\n--config=a.py\n'
                                        '--config.x.y=2\n')
    for given in ([f'--flagfile={tmp_path}/all.flags'], ['--flagfile', f'{tmp_path}/all.flags']):
        kept = parse_flags([program, *given, '--config.x.y=3', '--place=here'], '--config')
        assert kept == ['--config=a.py', '--config.x.y=2', '--config.x.y=3']
        assert (flags.FLAGS.count, flags.FLAGS.place) == (4, 'here')
    with pytest.raises(UserError, match='none.flags'):
        parse_flags([program, f'--flagfile={tmp_path}/none.flags'])


@pytest.mark.parametrize('arguments, prefix, words', [
    (['--plce=x'], None, "unknown flag 'plce'; did you mean place?"),
    (['--configs=x'], '--config', "'configs'; did you mean config?"),
    (['--workdir=x'], None, r"'workdir' \(known: count, place, quick\)"),
    (['--workdir=x'], '--config', r'\(known: config, count, place, quick\)'),
    (['--count=many'], None, 'count'),
    (['--quick', 'true'], None, "stray argument 'true': every option is written --name=value"),
    (['here'], '--config', "stray argument 'here'"),
])
def test_what_is_no_flag_of_this_program_is_said(program, arguments, prefix, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_flags([program, *arguments], prefix)
    assert '\n' not in str(caught.value)


def test_a_hint_names_the_setting_as_this_program_takes_it(program, monkeypatch):
    found = []

    def main(rest):
        found.append((option('place', 'model.place'), option('date', 'model.date')))

    for prefix in (None, '--config'):
        run_program(main, prefix)
    assert found == [('--place', '--date'), ('--place', '--config.model.date')]
    assert option('date', 'model.date') == '--date'


@pytest.mark.parametrize('value', ['gs://bucket/run', 's3://b', 'gs:/bucket', 'https://h/x', 'hdfs://'])
def test_an_address_is_not_a_path(value):
    with pytest.raises(UserError, match=f'--workdir={value}: .*not a path of this machine'):
        local_path('workdir', value)


@pytest.mark.parametrize('value', ['runs/a', '/tmp/a:b', 'C:/runs', '~/x', 'a=b.jsonl', 'gs:x', ''])
def test_paths_are_taken_as_they_are(value):
    assert local_path('workdir', value) == value


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='of glibc')
@pytest.mark.parametrize('environment, most', [({}, 1_000), ({'MALLOC_ARENA_MAX': '2'}, None)])
def test_memory_of_large_arrays_is_kept_unless_the_user_has_set_malloc(environment, most):
    counted = ('import resource\n'
               'from subliminal_jax.runs.app import keep_memory\n'
               'keep_memory()\n'
               'faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n'
               'fill = lambda: len(bytes([1]) * (1 << 27))\n'
               'fill(); before = faults()\n'
               'for _ in range(4): fill()\n'
               'print(faults() - before)')
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MALLOC_', 'GLIBC_'))}
    found = int(subprocess.run([sys.executable, '-c', counted], env={**clean, **environment},
                               capture_output=True, text=True, check=True).stdout)
    assert found < most if most else found > 10_000  # 128 MiB are 32,768 pages
