"""launch.report: a run's page drawn again, or one clear line."""

import dataclasses
import json

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from subliminal_jax.report import page
from subliminal_jax.runs import UserError
from subliminal_jax.runs.experiment import Experiment
from tests.launch import programs


@dataclasses.dataclass(frozen=True)
class Config:
    pass


def draw(folder, results):
    page.write(folder, 'Toy', results['verdict'], [page.Text(results['word'])], results)
    return f'table of {results["word"]}'


TABLE = {
    'toy': lambda: Experiment(Config, plan=lambda c: [], run=lambda c, w: '', page=draw),
    'fixed': lambda: Experiment(Config, plan=lambda c: [], run=lambda c, w: '', page=None)}
RESULTS = {'schema': 1, 'experiment': 'toy', 'command': 'c', 'versions': {}, 'seeds': {},
           'timing': {}, 'verdict': 'it works', 'word': 'hello'}


@pytest.fixture
def call(monkeypatch):
    monkeypatch.setattr('launch.experiments.EXPERIMENTS', TABLE)
    report = programs.fresh('launch.report')
    absl_flags.FLAGS.mark_as_parsed()

    def run(folder):
        with flagsaver.flagsaver(run=folder and str(folder)):
            report.main([])

    yield run
    programs.forget()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'config.json').write_text('{}')
    (tmp_path / 'results.json').write_text(json.dumps(RESULTS))
    return tmp_path


def test_the_page_follows_the_results(call, folder, capsys):
    (folder / 'report.html').write_text('an older page')
    call(folder)
    assert capsys.readouterr().out == f'table of hello\npage: {folder / "report.html"}\n'
    written = (folder / 'report.html').read_text()
    assert 'it works' in written and 'an older page' not in written


@pytest.mark.parametrize('content, said', [
    ('{"experiment": "toy", ', 'results.json is damaged: not JSON'),
    ('[1, 2]', 'is damaged: it holds a list'),
    ('{"experiment": "tyo"}', "unknown experiment in .*'tyo'; did you mean toy"),
    ('{"experiment": ["toy"]}', 'unknown experiment'),
    ('{}', 'unknown experiment'),
    ('{"experiment": "fixed"}', 'fixed cannot redraw'),
    ('{"experiment": "toy", "word": "x"}', "KeyError: 'verdict'.*start the run again"),
    ('{"experiment": "toy", "word": 3, "verdict": "a\\nb"}', 'do not make a page'),
    (None, 'holds no results.json: let the run end first')])
def test_what_is_no_finished_run_gets_one_line(call, folder, content, said):
    place = folder / 'results.json'
    place.unlink() if content is None else place.write_text(content)
    with pytest.raises(UserError, match=said) as error:
        call(folder)
    assert '\n' not in str(error.value) and not (folder / 'report.html').exists()


def test_a_missing_folder_or_flag_is_named(call, tmp_path):
    with pytest.raises(UserError, match='no such folder: .*nowhere'):
        call(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='pass --run=DIR'):
        call(None)
