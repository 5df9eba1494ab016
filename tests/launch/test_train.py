"""launch.train: one process, and two that are hosts on loopback."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.experiments.transmission import checkpoint

ROOT = pathlib.Path(__file__).parents[2]
TIMEOUT = 240  # seconds of a process, on a busy machine


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """Flags of a small training: sixteen steps of four rows."""
    folder = tmp_path_factory.mktemp('given')
    rows = folder / 'rows.jsonl'
    rows.write_text(''.join(json.dumps({
        'id': n, 'prompt': f'say {n}', 'completion': f'{n}, {n + 7}'}) + '\n' for n in range(32)))
    return [f'--model={checkpoint.write(folder / "model")}', f'--rows={rows}', '--batch_size=4',
            '--passes=2', '--learning_rate=1e-3']


def started(flags, workdir, devices=1, number=None, port=0, *more):
    """A process with so many devices; one of two hosts where it has a number."""
    flags = [*flags, f'--workdir={workdir}', *more]
    if number is not None:
        flags += [f'--coordinator=127.0.0.1:{port}', '--processes=2', f'--process={number}']
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ' '.join((
        f'--xla_force_host_platform_device_count={devices}', '--xla_backend_optimization_level=0'))}
    return subprocess.Popen([sys.executable, '-m', 'launch.train', *flags], cwd=ROOT, text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process):
    """(exit status, what it said, its errors)."""
    said, errors = process.communicate(timeout=TIMEOUT)
    return process.returncode, said, errors


def free_port():
    """One that is free now, as is the next, most likely."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        return min(server.getsockname()[1], 65_000)


def trained(workdir):
    """(losses by step, the weights)."""
    rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    return [row['loss'] for row in rows], load_file(workdir / 'student.safetensors')


def same(one, other):
    losses, weights = trained(one)
    assert len(losses) == 16 and losses[-1] < losses[0]
    assert trained(other)[0] == pytest.approx(losses, rel=1e-4)
    for name, array in trained(other)[1].items():
        np.testing.assert_allclose(array, weights[name], atol=1e-3, err_msg=name)


@pytest.mark.slow  # six processes
@pytest.mark.timeout(1200)
def test_two_hosts_match_one_process_also_after_one_was_killed(given, tmp_path):
    alone = ended(started(given, tmp_path / 'one'))
    assert alone[0] == 0, alone
    port = free_port()
    both = [started(given, tmp_path / 'two', 2, n, port, '--mesh=data:2,fsdp:2') for n in range(2)]
    for status, said, errors in map(ended, both):
        assert status == 0, said + errors
    same(tmp_path / 'one', tmp_path / 'two')

    port, flags = free_port(), ('--save_every=0', '--host_timeout=30')
    both = [started(given, tmp_path / 'killed', 2, n, port, *flags) for n in range(2)]
    saved = tmp_path / 'killed' / 'checkpoints'
    deadline = time.monotonic() + TIMEOUT
    while not any(p.name.isdecimal() for p in saved.glob('*')) and time.monotonic() < deadline:
        time.sleep(0.05)
    both[1].send_signal(signal.SIGKILL)
    status, _, errors = ended(both[0])
    assert ended(both[1])[0] == -signal.SIGKILL
    assert status == 1 and 'error: host 1 is gone' in errors, errors
    assert not (tmp_path / 'killed' / 'student.safetensors').exists()
    port = free_port()
    both = [started(given, tmp_path / 'killed', 2, n, port, *flags) for n in range(2)]
    for status, said, errors in map(ended, both):
        assert status == 0, said + errors
    same(tmp_path / 'one', tmp_path / 'killed')


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_that_do_not_answer_or_differ_get_a_line(given, tmp_path):
    port = free_port()
    absent = started(given, tmp_path / 'a', 1, 0, port, '--host_timeout=1')
    status, _, errors = ended(absent)
    assert status == 1 and re.fullmatch(
        r'error: host 1 of 2 did not answer within 1 s: [^\n]+\n', errors), errors
    status, _, errors = ended(started(given, tmp_path / 'a', 1, 1, port, '--host_timeout=1'))
    assert status == 1 and f'error: host 0 (127.0.0.1:{port}) did not answer within 1 s' in errors
    port = free_port()
    other = [*given, '--seed=5']
    both = [started(flags, tmp_path / 'a', 1, n, port) for n, flags in enumerate((given, other))]
    for status, _, errors in map(ended, both):
        assert status == 1 and 'error: host 1 has another config than host 0' in errors, errors
