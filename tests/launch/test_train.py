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


def started(flags, workdir, devices=1, number=None, port=0, *more, program='launch.train'):
    """A process with so many devices; one of two hosts where it has a number."""
    flags = [*flags, f'--workdir={workdir}', *more]
    if number is not None:
        flags += [f'--coordinator=127.0.0.1:{port}', '--processes=2', f'--process={number}']
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ' '.join((
        f'--xla_force_host_platform_device_count={devices}', '--xla_backend_optimization_level=0'))}
    return subprocess.Popen([sys.executable, '-m', program, *flags], cwd=ROOT, text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def both(flags, workdir, devices, *more, **program):
    """Two hosts of so many devices each."""
    port = free_port()
    return [started(flags, workdir, devices, n, port, *more, **program) for n in range(2)]


def waited(found, processes):
    """Waits until there is something, as long as all processes are alive."""
    deadline = time.monotonic() + TIMEOUT
    while not found():
        assert time.monotonic() < deadline and all(p.poll() is None for p in processes), [
            ended(p) for p in processes]
        time.sleep(0.05)


def steps_of(workdir):
    """The steps of the checkpoints that are complete."""
    return sorted(int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdecimal())


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
    for status, said, errors in map(ended, both(given, tmp_path / 'two', 2,
                                                '--mesh=data:2,fsdp:2')):
        assert status == 0, said + errors
    same(tmp_path / 'one', tmp_path / 'two')

    folder, flags = tmp_path / 'killed', ('--save_every=0', '--host_timeout=30')
    hosts = both(given, folder, 2, *flags)
    waited(lambda: steps_of(folder), hosts)
    hosts[1].send_signal(signal.SIGKILL)
    status, _, errors = ended(hosts[0])
    assert ended(hosts[1])[0] == -signal.SIGKILL
    assert status == 1 and 'error: host 1 is gone' in errors, errors
    assert not (folder / 'student.safetensors').exists()
    for status, said, errors in map(ended, both(given, folder, 2, *flags)):
        assert status == 0, said + errors
    same(tmp_path / 'one', folder)


@pytest.mark.slow  # five processes
@pytest.mark.timeout(1200)
def test_an_adapter_on_two_hosts_of_which_one_is_told_to_stop(given, tmp_path):
    """SIGTERM comes to one of them, long before the last step; both save and end with 143."""
    flags, folder = [*given, '--trainable=lora:2'], tmp_path / 'two'
    alone = started(flags, tmp_path / 'one')
    assert ended(alone)[0] == 0
    hosts = both(flags, folder, 1, '--mesh=data:2')
    waited((folder / 'settings.json').exists, hosts)
    hosts[1].send_signal(signal.SIGTERM)
    for status, _, errors in map(ended, hosts):
        assert status == 143 and 'stopped by SIGTERM: what was done is saved' in errors, errors
    assert len(steps_of(folder)) == 1 and steps_of(folder)[0] < 16
    assert not (folder / 'student.safetensors').exists()
    for status, said, errors in map(ended, both(flags, folder, 1, '--mesh=data:2')):
        assert status == 0, said + errors
    same(tmp_path / 'one', folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_whose_weights_went_apart_are_ended_before_these_are_saved(given, tmp_path):
    for status, _, errors in map(ended, both(
            given, tmp_path, 1, '--mesh=data:2', '--save_every=0',
            program='tests.launch.diverging')):
        lines = [line for line in errors.splitlines() if line.startswith('error: ')]
        assert status == 1 and len(lines) == 1, errors
        assert re.match(r'error: after step 2 trainable/\S+ is not the same on host 0 \(device 0\) '
                        r'and on host 1 \(device 1\) \(\d+ of \d+ arrays differ\): ', lines[0])
    assert steps_of(tmp_path) == [1]


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
    hosts = [started(flags, tmp_path / 'a', 1, n, port) for n, flags in enumerate((given, other))]
    for status, _, errors in map(ended, hosts):
        assert status == 1 and 'error: host 1 has another config than host 0' in errors, errors
