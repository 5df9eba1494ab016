"""The README's twenty lines run as they stand."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def test_the_twenty_lines_of_the_readme():
    readme = ROOT / 'README.md'
    text = readme.read_text() if readme.exists() else ''
    blocks = [b for b in re.findall(r'```python\n(.*?)```', text, re.DOTALL)
              if 'theory.alignment' in b]
    if not blocks:
        pytest.skip('the README has no theory section yet')
    lines = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(lines) <= 24
    done = subprocess.run([sys.executable, '-c', blocks[0]], capture_output=True, text=True,
                          cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    ratio = float(re.search(r'actual / predicted ([\d.e+-]+)', done.stdout).group(1))
    actual, predicted = map(float, re.search(
        r'loss (-[\d.e+-]+) predicted (-[\d.e+-]+)', done.stdout).groups())
    assert abs(ratio - 1) < 1e-3
    assert abs(actual / predicted - 1) < 1e-2
