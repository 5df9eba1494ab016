"""Launchers on several hosts: what each host's launch.train is told, in the words of runs/hosts.py.

Slurm's programs, the VM's metadata and Python are stood in for; nothing here meets a cluster.
"""

import os
import subprocess

import pytest
import yaml

from subliminal_jax.runs import hosts
from tests.launch.test_launchers import BATCH, ROOT, program

# A Python that finds one device, then says what it was started with.
PYTHON = '''#!/usr/bin/env bash
if [ "$1" = -c ]; then echo "$BACKEND 1"; exit; fi
for name in JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID JAX_PLATFORMS; do
  [ -z "${!name:-}" ] || echo "$name=${!name}"
done
echo "$*"
'''
METADATA = '''#!/usr/bin/env bash
case "${!#}" in
  */attributes/worker-network-endpoints) echo "$ENDPOINTS" ;;
  */attributes/agent-worker-number) echo 1 ;;
  *) exit 22 ;;
esac
'''
TASKS = '''#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@" || exit; done
'''
NODES = '''#!/usr/bin/env bash
[ "$*" = "show hostnames node[3-4]" ] && printf 'node3\\nnode4\\n'
'''


@pytest.fixture
def called(tmp_path):
    """Runs a shell command with stand-ins: (exit status, what it said by lines, its errors)."""
    program(tmp_path / 'venv' / 'bin' / 'python', PYTHON)
    for name, text in (('curl', METADATA), ('srun', TASKS), ('scontrol', NODES)):
        program(tmp_path / 'bin' / name, text)

    def call(*command, **more):
        found = subprocess.run(
            [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=60,
            env={'PATH': f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}', 'ENDPOINTS': '',
                 'SUBLIMINAL_JAX_VENV': f'{tmp_path}/venv', 'SUBLIMINAL_JAX_READY': '1', **more})
        return found.returncode, found.stdout.splitlines(), found.stderr

    return call


def place(lines):
    """The place that runs/hosts.py reads of what a process was told."""
    told = dict(line.split('=', 1) for line in lines if line.startswith('JAX_'))
    return hosts.asked(None, None, None, 60, told)


def tpu_vm(called, **more):
    return called('bash', ROOT / 'launch' / 'tpu_vm.sh', '--workdir=a b', BACKEND='tpu', **more)


SLICES = [{'TPU_WORKER_HOSTNAMES': '10.0.0.7,10.0.0.8', 'TPU_WORKER_ID': '1'},
          {'ENDPOINTS': '10.0.0.7,10.0.0.8'},
          {'ENDPOINTS': 'unknown:unknown:10.0.0.7,unknown:unknown:10.0.0.8'},
          {'HOSTS': '10.0.0.7 10.0.0.8', 'HOST_NUMBER': '1'}]


@pytest.mark.parametrize('slice_', SLICES)
def test_each_host_of_a_slice_is_told_its_place(called, slice_):
    status, said, errors = tpu_vm(called, PROGRAM='train', **slice_)
    assert status == 0, errors
    assert place(said) == ('10.0.0.7:7000', 2, 1, 60)
    assert said[-2:] == ['JAX_PLATFORMS=tpu', '-m launch.train --workdir=a b']


@pytest.mark.parametrize('slice_', SLICES)
def test_an_experiment_on_several_hosts_is_refused(called, slice_):
    status, said, errors = tpu_vm(called, **slice_)
    assert status == 1 and not said and errors.count('\n') == 1
    assert errors.startswith('error: 2 hosts (10.0.0.7') and 'PROGRAM=train' in errors


def test_one_host_is_told_nothing(called):
    for slice_ in ({}, {'ENDPOINTS': '10.0.0.7'}, {'TPU_WORKER_HOSTNAMES': 'localhost'}):
        status, said, errors = tpu_vm(called, **slice_)
        assert (status, said[-1]) == (0, '-m launch.run --workdir=a b'), errors
        assert place(said) is None


@pytest.mark.parametrize('more, words', [
    ({'PROGRAM': 'tran'}, "unknown PROGRAM 'tran'; known: run, train"),
    ({'PROGRAM': 'train', 'HOSTS': 'a,b'}, 'no HOST_NUMBER says which of the 2 hosts (a,b)')])
def test_mistakes_get_one_line(called, more, words):
    status, _, errors = tpu_vm(called, **more)
    assert status == 1 and errors.startswith('error: ') and errors.count('\n') == 1
    assert words in errors


def test_slurm_tells_each_nodes_task_its_place(called):
    nodes = {'SLURM_JOB_ID': '7', 'SLURM_JOB_NUM_NODES': '2', 'SLURM_JOB_NODELIST': 'node[3-4]',
             'SLURM_SUBMIT_DIR': str(ROOT), 'BACKEND': 'gpu'}
    status, said, errors = called('bash', BATCH, '--workdir=a b', PROGRAM='train', **nodes)
    assert status == 0, errors
    ends = [n + 1 for n, line in enumerate(said) if line == '-m launch.train --workdir=a b']
    assert len(ends) == 2 and ends[1] == len(said)
    assert [place(said[:ends[0]]), place(said[ends[0]:])] == [
        ('node3:12014', 2, number, 60) for number in (0, 1)]
    status, said, errors = called('bash', BATCH, '--workdir=a b', **nodes)
    assert status == 1 and 'error: 2 hosts (node3,node4)' in errors and not said
    asked = [line for line in BATCH.read_text().splitlines() if line.startswith('#SBATCH --n')]
    assert asked == ['#SBATCH --nodes=1', '#SBATCH --ntasks-per-node=1']


def skypilot(called, **more):
    cloud = yaml.safe_load((ROOT / 'launch' / 'skypilot.yaml').read_text())
    return called('bash', '-c', cloud['run'], **{**cloud['envs'], 'BACKEND': 'gpu', **more})


def test_skypilot_tells_each_node_its_place(called):
    nodes = {'SKYPILOT_NUM_NODES': '2', 'SKYPILOT_NODE_IPS': '10.0.0.7\n10.0.0.8',
             'SKYPILOT_NODE_RANK': '1', 'NAME': 'owls', 'PROGRAM': 'train',
             'ARGUMENTS': '--model=m --rows=r'}
    status, said, errors = skypilot(called, RUNS='/shared', **nodes)
    assert status == 0, errors
    assert place(said) == ('10.0.0.7:7000', 2, 1, 60)
    assert said[-1] == '-m launch.train --workdir=/shared/owls --model=m --rows=r'
    status, said, errors = skypilot(called, **nodes)
    assert status == 1 and errors.startswith('error: several nodes need one folder') and not said
    status, said, errors = skypilot(called, RUNS='/shared', **{**nodes, 'PROGRAM': 'run'})
    assert status == 1 and errors.startswith('error: 2 hosts (10.0.0.7,10.0.0.8)')
    status, said, _ = skypilot(called, SKYPILOT_NUM_NODES='1', SKYPILOT_NODE_IPS='10.0.0.7')
    assert (status, place(said)) == (0, None)
    assert said[-1] == '-m launch.run --workdir=/runs/mnist --config=configs/mnist.py'


def test_what_is_not_run_on_its_hardware_says_so():
    for name in ('gpu.sh', 'tpu_vm.sh', 'slurm.sbatch', 'skypilot.yaml'):
        text = (ROOT / 'launch' / name).read_text()
        assert '# Not run on that hardware' in text or '# Not run under a real Slurm' in text
