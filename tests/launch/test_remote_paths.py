"""Every program refuses an address where it wants a path, before it works or makes a folder."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DEMO = f'--config={ROOT}/configs/numbers_tiny_demo.py'


@pytest.mark.slow
@pytest.mark.parametrize('program, arguments', [
    ('run', [DEMO, '--workdir=gs://b/run']),
    ('run', [DEMO, '--workdir=run', '--config.trait_set=gs://b/t.jsonl']),
    ('run', [DEMO, '--workdir=run', '--config.carrier.samples=owl=s3://b/t.jsonl']),
    ('run', ['--config=gs://b/c.py', '--workdir=run']),
    ('report', ['--run=gs://b/run']),
    ('overview', ['--runs=s3://b/run', '--output=o.html']),
    ('overview', ['--runs=run', '--output=gs://b/o.html']),
    ('plan', [f'--config={ROOT}/configs/numbers_smollm2_full.py', '--mde=1',
              '--run=gs://b/run']),
    ('judge', ['--judge=openai:m', '--input=gs://b/rows.jsonl', '--output=o.jsonl']),
    ('judge', ['--judge=openai:m', '--labelled', '--output=gs://b/o.jsonl']),
    ('tables', [f'--root={ROOT}', '--keep=gs://b/run', '--name=x']),
], ids=lambda value: value if isinstance(value, str) else value[-1].partition('=')[0])
def test_an_address_is_refused_in_one_line(program, arguments, tmp_path):
    found = subprocess.run([sys.executable, '-m', f'launch.{program}', *arguments], cwd=tmp_path,
                           env={'PYTHONPATH': str(ROOT), 'PATH': '', 'JAX_PLATFORMS': 'cpu'},
                           capture_output=True, text=True, check=False)
    error, = found.stderr.splitlines()
    assert found.returncode == 1 and 'is not a path of this machine' in error
    assert {p.name for p in tmp_path.rglob('*')} <= {'run', 'config.json', '.lock'}
