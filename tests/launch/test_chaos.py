"""launch.chaos: what it kills goes on and ends; another end, or other results, are told apart."""

import json
import random
import sys

import pytest

from launch import chaos
from subliminal_jax.runs import UserError

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
