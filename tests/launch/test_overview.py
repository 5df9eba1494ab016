"""launch.overview: one page of several runs, or one clear line."""

import dataclasses

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from subliminal_jax.report.page import Table, Text, write
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.runs.experiment import Experiment
from subliminal_jax.runs.schema import spec
from tests.launch import programs


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = spec(0, doc='a seed')


def draw(folder, results):
    title = results['title']
    artefact = (folder / 'part' / 'word.txt').read_text()
    sections = [Text(f'{artefact} on {title}'), Table('T', ['a'], [['7']])]
    write(folder, title, results['verdict'], sections, results)
    return 'table'


def finished(folder, title, verdict):
    workdir = Workdir(folder, Config(), 'toy')

    def make(path):
        path.mkdir()
        (path / 'word.txt').write_text('a word')

    workdir.stage('part', 'part', make)
    workdir.write_results({'title': title, 'verdict': verdict}, seeds={}, published={})
    return str(folder)


def run(**flags):
    overview = programs.fresh('launch.overview')
    absl_flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**flags):
        overview.main([])


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    row = Experiment(Config, plan=lambda c: [], run=lambda c, w: '', page=draw)
    monkeypatch.setattr('launch.experiments.EXPERIMENTS', {'toy': lambda: row})
    yield
    programs.forget()


def test_a_page_has_every_verdict_first_and_every_report_whole(tmp_path, capsys):
    runs = [finished(tmp_path / 'a', 'Digits', 'learned < half'),
            finished(tmp_path / 'b', 'Numbers', 'transmits')]
    run(runs=runs, output=str(tmp_path / 'out' / 'page.html'))
    page = (tmp_path / 'out' / 'page.html').read_text()
    for text in ('learned &lt; half', 'transmits'):
        assert page.index(text) < page.index('<section') and page.count(text) == 2
    for word in ('a word on Digits', 'a word on Numbers'):
        assert page.count(word) == 1
    assert page.index('a word on Digits') < page.index('a word on Numbers')
    assert page.count('<html') == page.count('</html>') == page.count('<body>') == 1
    assert 'Digits: learned < half' in capsys.readouterr().out


def test_what_stands_in_a_report_does_not_get_in(tmp_path):
    """Reports are drawn from results; a run's folder stays as it is, foreign page included."""
    folder = finished(tmp_path / 'a', 'Digits', 'learned')
    foreign = ('<!doctype html><html><body><h1>Digits</h1>\n<p class="verdict">learned</p>'
               '<script>alert(1)</script></body></html>')
    (tmp_path / 'a' / 'report.html').write_text(foreign)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'a').rglob('*')}
    run(runs=[folder], output=str(tmp_path / 'page.html'))
    page = (tmp_path / 'page.html').read_text()
    assert '<script' not in page and 'a word on Digits' in page
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / 'a').rglob('*')}


def test_a_run_that_has_not_ended_is_named(tmp_path):
    (tmp_path / 'b').mkdir()
    for name, said in (('b', 'b holds no results.json'), ('c', 'no such folder: .*c')):
        with pytest.raises(UserError, match=said):
            run(runs=[finished(tmp_path / f'a{name}', 'A', 'v'), str(tmp_path / name)],
                output=str(tmp_path / 'page.html'))
        assert not (tmp_path / 'page.html').exists()


@pytest.mark.parametrize('flags, said', [
    ({'runs': []}, '--runs'), ({'runs': ['x', 'x']}, 'twice'), ({'runs': ['x', './x']}, 'twice'),
    ({'output': None}, '--output')])
def test_flags_that_cannot_be_get_one_line(tmp_path, flags, said):
    with pytest.raises(UserError, match=said) as error:
        run(**{'runs': ['x'], 'output': str(tmp_path / 'p.html'), **flags})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('output, said', [
    ('kept', 'is a folder: name a file'), ('a', 'name the same file'), ('link', 'is a folder'),
    ('a/results.json', 'lies in the folder of --runs'), ('a/new/page.html', 'lies in the folder'),
    ('other/results.json', 'inside the folder of a run')])
def test_an_output_that_would_destroy_something_is_refused(tmp_path, output, said):
    folder = finished(tmp_path / 'a', 'A', 'v')
    finished(tmp_path / 'other', 'B', 'v')
    (tmp_path / 'kept').mkdir()
    (tmp_path / 'kept' / 'notes.txt').write_text('mine')
    (tmp_path / 'link').symlink_to(tmp_path / 'kept')
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    with pytest.raises(UserError, match=said) as error:
        run(runs=[folder], output=str(tmp_path / output))
    assert '\n' not in str(error.value)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}


def test_an_output_that_cannot_be_written_gets_one_line(tmp_path):
    folder = finished(tmp_path / 'a', 'A', 'v')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot write'):
        run(runs=[folder], output=str(tmp_path / 'file' / 'page.html'))
