"""launch.overview: one page of several runs, or one clear line."""

import dataclasses

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from subliminal_jax.report.page import Table, Text, write
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.runs.schema import spec
from tests.launch import programs


def finished(folder, title, verdict):
    @dataclasses.dataclass(frozen=True)
    class Config:
        seed: int = spec(0, doc='a seed')

    workdir = Workdir(folder, Config(), 'made')
    results = workdir.write_results({}, seeds={}, published={})
    sections = [Text(f'a word on {title}'), Table('T', ['a'], [['7']])]
    write(workdir, title, verdict, sections, results)
    return str(folder)


def run(**flags):
    overview = programs.fresh('launch.overview')
    absl_flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**flags):
        overview.main([])


@pytest.fixture(autouse=True)
def no_flags_left():
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


def test_a_run_that_has_not_ended_is_named(tmp_path):
    (tmp_path / 'b').mkdir()
    with pytest.raises(UserError, match='b holds no report.html'):
        run(runs=[finished(tmp_path / 'a', 'A', 'v'), str(tmp_path / 'b')],
            output=str(tmp_path / 'page.html'))
    assert not (tmp_path / 'page.html').exists()


@pytest.mark.parametrize('flags, said', [
    ({'runs': []}, '--runs'), ({'runs': ['x', 'x']}, 'twice'), ({'output': None}, '--output')])
def test_flags_that_cannot_be_get_one_line(tmp_path, flags, said):
    with pytest.raises(UserError, match=said) as error:
        run(**{'runs': ['x'], 'output': str(tmp_path / 'p.html'), **flags})
    assert '\n' not in str(error.value)


def test_a_page_of_another_make_is_refused(tmp_path):
    (tmp_path / 'report.html').write_text('<html><body>hello</body></html>')
    with pytest.raises(UserError, match='no report of a run'):
        run(runs=[str(tmp_path)], output=str(tmp_path / 'p.html'))
