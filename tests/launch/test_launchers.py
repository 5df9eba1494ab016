"""Launchers: what their own linters and schemas say, and what they do with SIGTERM.

Slurm's programs are stood in for; nothing here meets Slurm, a cloud or a container.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests import blobs
from tests.launch.test_run import MNIST, SETTINGS, results_of, stop_after_first_chunk

ROOT = pathlib.Path(__file__).parents[2]
BATCH = ROOT / 'launch' / 'slurm.sbatch'
SCRIPTS = sorted([*ROOT.glob('launch/*.sh'), BATCH, ROOT / '.ci' / 'run'])

# A Python that finds one CPU, then runs until SIGTERM, or until $DONE is there.
PYTHON = '''#!/usr/bin/env bash
if [ "$1" = -c ]; then echo "cpu 1"; exit; fi
trap 'echo saved >> "$HERE/said"; sleep 0.3; exit 143' TERM
[ ! -e "$HERE/done" ] || { echo "$*" >> "$HERE/said"; exit 0; }
echo $$ > "$HERE/pid.new"; mv "$HERE/pid.new" "$HERE/pid"
while true; do sleep 0.02; done
'''
SLURM = {
    'srun': 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    'squeue': 'echo "$STATE"',
    'scontrol': 'echo "$@" > "$HERE/asked"',
}


def tool(name):
    """A program of requirements-dev.txt, beside this Python or on the path."""
    found = shutil.which(name, path=os.pathsep.join(
        [str(pathlib.Path(sys.executable).parent), os.environ['PATH']]))
    if found is None:
        pytest.skip(f'{name} is not installed: launch/setup.sh --with dev')
    return found


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def linted(*command, **kwargs):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)


def test_scripts_are_clean():
    found = linted(tool('shellcheck'), *SCRIPTS)
    assert found.returncode == 0, found.stdout


def test_the_dockerfile_is_clean_and_copies_what_is_there(tmp_path):
    found = linted(tool('hadolint'), ROOT / 'Dockerfile')
    assert found.returncode == 0, found.stdout
    text = (ROOT / 'Dockerfile').read_text()
    (tmp_path / 'Dockerfile').write_text(text.replace('WORKDIR /app', 'WORKDIR app'))
    assert 'DL3000' in linted(tool('hadolint'), tmp_path / 'Dockerfile').stdout
    sources = [s for line in text.splitlines() if line.startswith('COPY ')
               for s in line.split()[1:-1]]
    assert sources and all(list(ROOT.glob(source)) for source in sources if source != '.')
    ignored = (ROOT / '.dockerignore').read_text().splitlines()
    assert {'.git', '.venv', '/runs'} <= set(ignored)


def test_the_cloud_file_is_what_skypilot_takes():
    text = yaml.safe_load((ROOT / 'launch' / 'skypilot.yaml').read_text())
    assert set(text) == {'name', 'resources', 'num_nodes', 'envs', 'workdir', 'file_mounts',
                         'setup', 'run'}
    assert text['resources']['use_spot'] and text['file_mounts']['/runs']['mode'] == 'MOUNT_CACHED'
    for part in ('setup', 'run'):
        found = linted(tool('shellcheck'), '--shell=bash', '-', input=text[part])
        assert found.returncode == 0, found.stdout
    schemas = pytest.importorskip('sky.utils.schemas', reason='SkyPilot is not installed')
    import jsonschema

    jsonschema.validate(text, schemas.get_task_schema())
    jsonschema.validate(text['resources'], schemas.get_resources_schema())
    jsonschema.validate(text['file_mounts']['/runs'], schemas.get_storage_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**text['resources'], 'use_spott': 1}, schemas.get_resources_schema())


@pytest.fixture
def batch(tmp_path):
    """Starts slurm.sbatch on the Python that stands in."""
    program(tmp_path / 'venv' / 'bin' / 'python', PYTHON)
    for name, body in SLURM.items():
        program(tmp_path / 'bin' / name, f'#!/usr/bin/env bash\n{body}\n')
    started = []

    def start(**more):
        environment = {
            'PATH': f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}', 'HERE': str(tmp_path),
            'SUBLIMINAL_JAX_VENV': f'{tmp_path}/venv', 'ACCELERATOR': 'cpu', **more}
        started.append(subprocess.Popen(
            ['bash', str(BATCH), '--workdir=a b'], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def waited(path, process):
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    return path.read_text().strip()


def test_without_slurm_sigterm_is_handed_on_and_the_same_command_goes_on(batch, tmp_path):
    process = batch()
    waited(tmp_path / 'pid', process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and (tmp_path / 'said').read_text() == 'saved\n'
    (tmp_path / 'done').touch()
    again = batch()
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert (tmp_path / 'said').read_text() == 'saved\n-m launch.run --workdir=a b\n'
    assert not (tmp_path / 'asked').exists()


@pytest.mark.parametrize('state, asked', [('RUNNING', 'requeue 7\n'), ('CANCELLED', None),
                                          ('PREEMPTED', None)])
def test_under_slurm_a_job_whose_time_is_up_is_requeued(batch, tmp_path, state, asked):
    """Slurm sends SIGTERM to the step, at times to the batch script too: the run has it once."""
    process = batch(SLURM_JOB_ID='7', SLURM_SUBMIT_DIR=str(ROOT), STATE=state)
    step = int(waited(tmp_path / 'pid', process))
    process.send_signal(signal.SIGTERM)
    os.kill(step, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and (tmp_path / 'said').read_text() == 'saved\n'
    assert ((tmp_path / 'asked').read_text() if asked else None) == asked
    assert (tmp_path / 'asked').exists() == bool(asked)


@pytest.mark.parametrize('more, words', [
    ({'ACCELERATOR': 'gpu'}, "unknown ACCELERATOR 'gpu'; known: cuda, tpu, cpu"),
    ({'SUBLIMINAL_JAX_VENV': 'nowhere'}, 'no environment here: run launch/setup.sh cpu first'),
    ({'SLURM_SUBMIT_DIR': '/'}, "/ is not the project's folder: submit from there"),
    ({'ACCELERATOR': 'cuda'}, 'JAX finds cpu 1 here and no gpu'),
])
def test_mistakes_under_slurm_get_one_line(batch, more, words):
    process = batch(**more)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.count('\n') == 1
    assert err.startswith('error: ') and words in err


@pytest.mark.slow
def test_a_real_run_under_slurms_script_is_stopped_and_goes_on(tmp_path):
    """On digits: status 143; a later start ends with the results of a run that nobody stopped."""
    blobs.into_cache(tmp_path / 'cache')
    environment = {**os.environ, 'SUBLIMINAL_JAX_CACHE': str(tmp_path / 'cache'),
                   'SUBLIMINAL_JAX_VENV': sys.prefix, 'ACCELERATOR': 'cpu',
                   'XLA_FLAGS': '--xla_force_host_platform_device_count=1'}

    def start(folder):
        return subprocess.Popen(
            ['bash', str(BATCH), MNIST, f'--workdir={folder}', *SETTINGS], cwd=ROOT,
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    stopped = start(tmp_path / 'stopped')
    stop_after_first_chunk(tmp_path / 'stopped', stopped)
    stopped.send_signal(signal.SIGCONT)
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate(timeout=240)
    assert stopped.returncode == 143 and 'stopped by SIGTERM: what was done is saved' in err
    assert not (tmp_path / 'stopped' / 'results.json').exists()
    for folder in ('stopped', 'clean'):
        process = start(tmp_path / folder)
        assert process.wait(240) == 0, process.communicate()
    assert results_of(tmp_path / 'stopped') == results_of(tmp_path / 'clean')
