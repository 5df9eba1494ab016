"""The theorem in one screen, as the README or the documentation shows it, runs as it stands."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def shown(call: str) -> list[str]:
    """The Python blocks of the README and of docs/ that hold a call."""
    pages = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
    blocks = [block for page in pages if page.exists() for block in re.findall(
        r'^```python\n(.*?)^```', page.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)]
    return [block for block in blocks if call in block]


def test_the_lines_that_are_shown_run_and_give_what_the_theorem_says():
    blocks = shown('theory.teacher_step')
    assert blocks, 'neither README.md nor docs/ shows the theorem in a ```python block'
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= 24
        done = subprocess.run([sys.executable, '-c', block], capture_output=True, text=True,
                              cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        ratio = float(re.search(r'actual / predicted ([\d.e+-]+)', done.stdout).group(1))
        actual, predicted = map(float, re.search(
            r'loss (-[\d.e+-]+) predicted (-[\d.e+-]+)', done.stdout).groups())
        assert abs(ratio - 1) < 1e-3
        assert abs(actual / predicted - 1) < 1e-2
