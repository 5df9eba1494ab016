"""The example on the theory's page runs as it stands."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_example_of_the_page():
    text = (ROOT / 'docs' / 'theory.md').read_text(encoding='utf-8')
    block, = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert 'theory.alignment' in block
    assert len([line for line in block.splitlines() if line.strip()]) <= 24
    done = subprocess.run([sys.executable, '-c', block], capture_output=True, text=True, cwd=ROOT,
                          check=False)
    assert done.returncode == 0, done.stderr
    ratio = float(re.search(r'actual / predicted ([\d.e+-]+)', done.stdout).group(1))
    actual, predicted = map(float, re.search(
        r'loss (-[\d.e+-]+) predicted (-[\d.e+-]+)', done.stdout).groups())
    assert abs(ratio - 1) < 1e-3
    assert abs(actual / predicted - 1) < 1e-2
    said = float(re.search(r'actual / predicted ([\d.]+)…', text).group(1))
    assert abs(ratio - said) < 1e-6, 'the page says what an earlier version printed: mend the page'
