"""A student killed inside its training goes on there, and ends with the same bits."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.experiments.transmission import small

ROOT = pathlib.Path(__file__).parents[3]
SETTINGS = {'traits': 2, 'save_every': 0.0, 'language.steps': 20, 'student.rows': 64,
            'student.batch_size': 8, 'student.marks': (24, 40), 'carrier.spare': 1.0}
ARM = 'kl: objective=kl_carrier answers=random'
MOMENTS = (1, 2, 4, 5, 7)  # steps of the first group of students before which it is killed

PROGRAM = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.experiments.transmission import small
from tests.experiments.transmission.test_killed import ARM, SETTINGS
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import students
from subliminal_jax.runs import Workdir, use_compilation_cache
from subliminal_jax.training import loop

use_compilation_cache()
kill_before = int(sys.argv[2])


def fit(step, state, frozen, batch_at, *rest, checkpoints, **others):
    def watched(number):
        if number == kill_before:
            checkpoints.wait()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch_at(number)

    return loop.fit(step, state, frozen, watched, *rest, checkpoints=checkpoints, **others)


students.fit = fit
config = small.config(ARM, **SETTINGS)
transmission.run(config, Workdir(sys.argv[1], config, 'transmission'))
"""


def run(folder, kill_before):
    return subprocess.run(
        [sys.executable, '-c', PROGRAM.format(root=str(ROOT)), str(folder), str(kill_before)],
        capture_output=True, text=True, check=False)


@pytest.mark.slow  # seven processes
@pytest.mark.timeout(900)
def test_killed_at_five_moments_a_student_ends_with_the_same_bits(tmp_path):
    whole = run(tmp_path / 'whole', -1)
    assert whole.returncode == 0, whole.stderr[-2000:]
    for moment in MOMENTS:
        killed = run(tmp_path / 'killed', moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        saved = tmp_path / 'killed' / 'training' / 'student_kl_0'
        assert max(int(p.name) for p in saved.iterdir() if p.name.isdigit()) == moment
    done = run(tmp_path / 'killed', -1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / 'killed' / 'training' / 'student_kl_0').exists()
    for name in ('measures.npz', 'students.safetensors'):
        paths = [tmp_path / which / 'student' / 'kl' / '0' / name for which in ('whole', 'killed')]
        if name.endswith('.npz'):
            one, other = (np.load(path) for path in paths)
            assert set(one) == set(other)
            for key in one:
                np.testing.assert_array_equal(one[key], other[key], err_msg=key)
        else:
            assert paths[0].read_bytes() == paths[1].read_bytes()
    told = [[{**json.loads(line), 'time': 0}
             for line in (tmp_path / which / 'metrics.jsonl').read_text().splitlines()]
            for which in ('whole', 'killed')]
    assert told[0] == told[1]
    results = [json.loads((tmp_path / w / 'results.json').read_text()) for w in ('whole', 'killed')]
    assert results[0]['arms'] == results[1]['arms']


def test_the_moments_lie_inside_of_the_training():
    config = small.config(ARM, **SETTINGS)
    assert max(MOMENTS) < config.student.rows // config.student.batch_size
