"""Locks hold what the requirements pin, by hash; setup.sh uses them; a release judges its audit."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from launch import release
from subliminal_jax.runs import UserError

ROOT = pathlib.Path(__file__).parents[2]
LOCKS = ('requirements', 'requirements-assets', 'requirements-build', 'requirements-gemma',
         'requirements-release')
PIN = re.compile(r'([A-Za-z0-9][\w.-]*)==([\w.+!-]+)(?: *;(.*?))?( \\)?')
HASH = re.compile(r' {4}--hash=sha256:[0-9a-f]{64}( \\)?')


def pins(path):
    """Name (as indices spell it), version of each pin of a file; further files are not followed."""
    lines = path.read_text().split('\n')
    found = [PIN.fullmatch(line.partition(' #')[0].rstrip()) for line in lines]
    return [(re.sub('[-_.]+', '-', m[1]).lower(), m[2]) for m in found if m]


def faults(text):
    """Lines of a lock that are neither a pin with a hash behind it, nor a hash, nor a comment."""
    lines = [line for line in text.splitlines() if not re.match(r' *#|$', line)]
    wrong = [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))]
    for line, after in zip(lines, [*lines[1:], '']):
        if PIN.fullmatch(line) and not HASH.fullmatch(after):
            wrong.append(line)
        if line.endswith('\\') != bool(HASH.fullmatch(after)):
            wrong.append(line)
    return wrong


@pytest.mark.parametrize('name', LOCKS)
def test_a_lock_holds_each_pin_of_its_set_and_a_hash_for_every_line(name):
    lock = ROOT / f'{name}.lock'
    assert faults(lock.read_text()) == []
    wanted = pins(ROOT / f'{name}.txt')
    assert wanted and set(wanted) <= set(pins(lock))


@pytest.mark.parametrize('spoilt', [
    lambda text: re.sub(r' \\\n    --hash=\S+( \\\n    --hash=\S+)*', '', text, count=1),
    lambda text: text.replace('--hash=sha256:', '--hash=sha256:0', 1),
    lambda text: re.sub('==', '>=', text, count=1),
    lambda text: '--index-url=file:///here\n' + text])
def test_a_lock_without_a_hash_or_with_anything_else_is_told(spoilt):
    text = (ROOT / 'requirements.lock').read_text()
    assert spoilt(text) != text and faults(spoilt(text))


def test_locks_and_constraints_name_one_version_of_a_package():
    """What the locks bring to Linux is what the tests passed with."""
    tested = dict(pins(ROOT / 'constraints.txt'))
    for name in LOCKS:
        for package, version in pins(ROOT / f'{name}.lock'):
            assert tested.get(package, version) == version, f'{name}.lock: {package}'
    default = {m[1] for line in (ROOT / 'requirements.lock').read_text().split('\n')
               if (m := PIN.fullmatch(line)) and not m[3]}
    assert default <= set(tested)


@pytest.mark.parametrize('script', sorted((ROOT / 'launch').glob('*.sh')), ids=lambda p: p.name)
def test_scripts_are_valid_bash(script):
    subprocess.run(['bash', '-n', script], check=True)
    assert os.access(script, os.X_OK)


@pytest.fixture
def installed(tmp_path):
    """setup.sh in a copy of what it reads; its pip is a stand-in that notes what it is asked."""
    (tmp_path / 'launch').mkdir()
    shutil.copy(ROOT / 'launch/setup.sh', tmp_path / 'launch')
    for path in [*ROOT.glob('requirements*'), ROOT / 'constraints.txt']:
        shutil.copy(path, tmp_path)
    python = tmp_path / '.venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\n'
                      f'if [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi\n'
                      f'echo "$*" >> "{tmp_path}/asked"\n')
    python.chmod(0o755)

    def setup(*arguments):
        (tmp_path / 'asked').write_text('')
        subprocess.run(['bash', tmp_path / 'launch/setup.sh', *arguments], check=True,
                       env={**os.environ, 'PYTHON': sys.executable, 'SUBLIMINAL_JAX_VENV': '.venv'},
                       capture_output=True)
        return {line.split()[-1]: line for line in (tmp_path / 'asked').read_text().splitlines()
                if ' install ' in line}

    setup.root = tmp_path
    return setup


def test_setup_installs_the_default_set_by_hash_and_once(installed):
    asked = installed('cpu', '--with', 'release,parity')
    assert list(asked) == [
        'requirements-build.lock', 'requirements.lock', 'requirements-assets.lock',
        'requirements-release.lock', 'requirements-parity.txt']
    for file, line in asked.items():
        by_hash = '--require-hashes --no-deps --no-build-isolation' in line
        assert by_hash == file.endswith('.lock')
    assert installed('cpu', '--with', 'release,parity') == {}
    with (installed.root / 'requirements-assets.lock').open('a') as file:
        file.write('# changed\n')
    assert list(installed('cpu')) == ['requirements-assets.lock']


def test_setup_never_falls_back_to_names_where_a_lock_is_missing(installed):
    (installed.root / 'requirements.lock').unlink()
    with pytest.raises(subprocess.CalledProcessError):
        installed('cpu')


CLEAN = {'name': 'jax', 'version': '0.10.2', 'vulns': []}
BAD = {'name': 'old', 'version': '1.0', 'vulns': [
    {'id': 'CVE-1', 'fix_versions': ['1.1'], 'aliases': [], 'description': ''}]}


def test_an_audit_says_how_many_packages_are_clean():
    assert release.audited({'dependencies': [CLEAN, CLEAN]}).startswith('2 packages, none')


@pytest.mark.parametrize('packages, said', [
    ([CLEAN, BAD], r'1 known vulnerabilities: old 1\.0: CVE-1 \(mended in 1\.1\)'),
    ([CLEAN, {'name': 'odd', 'skip_reason': 'not found'}], r'1 not audited: odd \(not found\)'),
    ([{'name': 'odd', 'skip_reason': 'not found'}] * 2, 'did not run.*none of 2 packages'),
    ([], 'names no package'), (None, 'names no package')])
def test_what_is_found_or_left_out_is_an_error(packages, said):
    with pytest.raises(UserError, match=said):
        release.audited({'dependencies': packages})


def test_an_audit_that_did_not_run_is_never_a_clean_one(tmp_path):
    found = subprocess.run([sys.executable, '-m', 'launch.release', f'--audit={tmp_path}/none'],
                           cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1 and 'did not run' in found.stderr and not found.stdout
    (tmp_path / 'cut').write_text(json.dumps({'dependencies': [CLEAN]})[:-3])
    found = subprocess.run([sys.executable, '-m', 'launch.release', f'--audit={tmp_path}/cut'],
                           cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1 and not found.stdout


def test_a_wheel_that_lacks_a_file_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.whl', 'w') as wheel:
        wheel.writestr('subliminal_jax/__init__.py', '')
    assert release.missing(tmp_path / 'a.whl', ['subliminal_jax/__init__.py']) == []
    assert release.missing(tmp_path / 'a.whl', ['subliminal_jax/b.jsonl']) == [
        'subliminal_jax/b.jsonl']
    (tmp_path / 'b.whl').write_text('no zip')
    with pytest.raises(UserError, match='is no wheel'):
        release.missing(tmp_path / 'b.whl', [])
