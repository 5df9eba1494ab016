"""launch.chaos: what it kills goes on and ends; another end, or other results, are told apart."""

import json
import pathlib
import random
import re
import shlex
import subprocess
import sys

import pytest

from launch import chaos
from launch.experiments import EXPERIMENTS
from subliminal_jax.runs import UserError, config as configs

ROOT = pathlib.Path(__file__).parents[2]

COUNTS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
place = pathlib.Path(sys.argv[1])
for step in range(6):
    done = place / str(step)
    if not done.exists():
        time.sleep(0.05)
        done.touch()
"""


def test_a_command_is_killed_until_it_ends_or_no_signal_is_left(tmp_path):
    (tmp_path / 'steps').mkdir()
    command = [sys.executable, '-c', COUNTS, str(tmp_path / 'steps')]
    struck = chaos.broken(command, tmp_path / 'log', random.Random(1), 5, 0.2)
    assert len(struck) <= 5 and len(list((tmp_path / 'steps').iterdir())) == 6
    assert set(struck) <= set(chaos.SIGNALS)
    assert chaos.broken([sys.executable, '-c', ''], tmp_path / 'log', random.Random(1), 1, 60) == []


@pytest.mark.parametrize('most', [0, 1])
def test_an_end_that_nobody_asked_for_is_an_error(tmp_path, most):
    with pytest.raises(UserError, match='ended with status 3'):
        chaos.broken([sys.executable, '-c', 'raise SystemExit(3)'], tmp_path / 'log',
                     random.Random(0), most, 60)


def test_results_are_compared_but_for_timing_and_command(tmp_path):
    one = {'headline': 1, 'timing': {'total': 2}, 'command': 'a'}
    for name, value in (('a', one), ('b', {**one, 'timing': 3, 'command': 'b'}),
                        ('c', {**one, 'headline': 2, 'more': 1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'results.json').write_text(json.dumps(value))
    a, b, c = (chaos.results_of(tmp_path / name) for name in 'abc')
    assert chaos.differing(a, b) == [] and chaos.differing(a, c) == ['headline', 'more']


def test_rows_of_a_table_keep_lines_of_their_own(tmp_path):
    table = tmp_path / 'table.jsonl'
    chaos.add_row(str(table), {'kills': 1})
    with table.open('a') as file:
        file.write('{"kills": 2, "ru')  # a kill tore it
    chaos.add_row(str(table), {'kills': 3})
    first, torn, last = table.read_text().splitlines()
    assert json.loads(first) == {'kills': 1} and json.loads(last) == {'kills': 3}
    assert torn == '{"kills": 2, "ru'


def test_a_strike_ends_with_the_signals_asked_or_where_results_differ(tmp_path, monkeypatch):
    def run(command, log, *_):
        folder = pathlib.Path(command[-1].partition('=')[2])
        folder.mkdir(parents=True)
        (folder / 'results.json').write_text(json.dumps({'headline': answers.pop(0)}))
        return [chaos.signal.SIGKILL]

    monkeypatch.setattr(chaos, 'ended', run)
    monkeypatch.setattr(chaos, 'broken', run)
    monkeypatch.setattr(chaos, 'KILLS', type('Flag', (), {'value': 3}))
    monkeypatch.setattr(chaos, 'SEED', type('Flag', (), {'value': 0}))
    answers = [1, 1, 1, 1]
    told = chaos.strike(tmp_path / 'same', ['--config=c.py'])
    assert (told['kills'], told['SIGKILL'], told['runs'], told['differing']) == (3, 3, 3, [])
    answers = [1, 1, 2]
    told = chaos.strike(tmp_path / 'other', ['--config=c.py'])
    assert (told['kills'], told['runs'], told['differing']) == (2, 2, ['headline'])


def test_the_four_programs_of_the_table_are_what_the_configs_take():
    """What launch/chaos.sh hands to launch.chaos passes each experiment's schema and checks."""
    script = (ROOT / 'launch/chaos.sh').read_text().replace('\\\n', ' ')
    small = ' '.join(re.search(r'^small=\((.*?)\)$', script, re.DOTALL | re.MULTILINE)[1].split())
    script = script.replace('"${small[@]}"', small)
    commands = [shlex.split(line)[1:] for line in script.split('\n')
                if line.startswith('strike ') and '--config=' in line]
    assert [command[0] for command in commands] == ['mnist', 'numbers', 'theory', 'detection']
    for _, config, *overrides in commands:
        config = config.replace('configs/', f'{ROOT}/configs/')
        loaded = configs.load([config, *overrides], EXPERIMENTS)
        loaded.experiment.check(loaded.config)
        assert getattr(loaded.config, 'split', 'dev') == 'dev'


@pytest.mark.slow
def test_a_folder_with_earlier_runs_is_refused(tmp_path):
    (tmp_path / 'clean').mkdir()
    found = subprocess.run(
        [sys.executable, '-m', 'launch.chaos', f'--config={ROOT}/configs/mnist.py',
         f'--workdir={tmp_path}', f'--table={tmp_path}/t'], cwd=ROOT, capture_output=True,
        text=True, check=False)
    assert found.returncode == 1 and 'holds such runs already' in found.stderr
    assert not (tmp_path / 't').exists()
