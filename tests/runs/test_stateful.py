"""Whatever happens to a run's folder, it ends in the same results or in one line that names a file.

Stages run, die half way, are damaged (flipped, cut, deleted, swapped) and are started again; a
second run of the same folder is refused while the first is alive.
"""

import json
import pathlib
import shutil
import tempfile

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from subliminal_jax.runs import UserError
from tests.runs.test_workdir import opened

NAMES = ('first', 'second', 'third')


class Killed(BaseException):
    """A kill inside a stage."""


def run(folder, dies_in=None):
    """A run of three stages, each of which reads the one before; its results."""
    workdir = opened(folder)
    try:
        before = None
        for number, name in enumerate(NAMES):
            def make(path, number=number, name=name, before=before):
                seen = (folder / before).read_text() if before else ''
                for step in range(2):
                    workdir.log(step=step)
                path.write_text(f'{seen}{name} {number}\n')
                if name == dies_in:
                    raise Killed

            workdir.stage(name, f'{name}.txt', make, reads={'seed': 0},
                          inputs=[before] if before else [])
            before = f'{name}.txt'
        rows = [(row['stage'], row['step']) for row in workdir.metrics()]
        workdir.write_results({'text': (folder / before).read_text(), 'rows': sorted(rows)},
                              seeds={}, published={})
        results = json.loads((folder / 'results.json').read_text())
        return results['text'], results['rows']
    finally:
        workdir._lock.close()


def wanted():
    with tempfile.TemporaryDirectory() as name:
        return run(pathlib.Path(name))


class Folder(RuleBasedStateMachine):
    """A folder, and what may befall it."""

    def __init__(self):
        super().__init__()
        self.place = pathlib.Path(tempfile.mkdtemp())
        self.wanted = wanted()

    def teardown(self):
        shutil.rmtree(self.place)

    @rule(dies_in=st.sampled_from((None, *NAMES)))
    def start(self, dies_in):
        try:
            assert run(self.place, dies_in) == self.wanted
        except Killed:
            pass
        except UserError as error:
            said = str(error)
            assert '\n' not in said
            assert any(file in said for file in ('.json', '.txt', str(self.place))), said
            shutil.rmtree(self.place)  # what every such line allows: another folder
            self.place.mkdir()
            assert run(self.place) == self.wanted

    @rule()
    def start_twice(self):
        if not (self.place / 'config.json').is_file():
            return
        try:
            held = opened(self.place)
        except UserError:
            return
        try:
            run(self.place)
            raise AssertionError('two runs in one folder')
        except UserError as error:
            assert 'in use by a run that is alive' in str(error)
        finally:
            held._lock.close()

    @rule(which=st.integers(0, 20), how=st.sampled_from(('flip', 'cut', 'delete', 'swap', 'empty')),
          at=st.integers(0, 400))
    def damage(self, which, how, at):
        files = sorted(p for p in self.place.rglob('*') if p.is_file() and p.name != '.lock')
        if not files:
            return
        file = files[which % len(files)]
        data = file.read_bytes()
        if how == 'flip' and data:
            at %= len(data)
            file.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1:])
        elif how == 'cut':
            file.write_bytes(data[:at])
        elif how == 'empty':
            file.write_bytes(b'')
        elif how == 'delete':
            file.unlink()
        elif how == 'swap':
            other = files[at % len(files)]
            file.write_bytes(other.read_bytes())
            other.write_bytes(data)


TestFolder = Folder.TestCase
TestFolder.settings = settings(max_examples=25, stateful_step_count=12, deadline=None,
                               suppress_health_check=list(HealthCheck))
