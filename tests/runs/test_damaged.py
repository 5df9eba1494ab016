"""A damaged folder of a run: rebuilt, or one line that names the file and says what to do."""

import json
import pathlib

import pytest

from subliminal_jax.runs import UserError
from tests.runs.test_workdir import never, opened, reopened

DAMAGE = {
    'empty': b'', 'truncated': b'{"stage": "on', 'a list': b'[]', 'null': b'null', 'a number': b'3',
    'not UTF-8': b'{"stage": "\xff"}', 'deep': b'[' * 200_000, 'another object': b'{}',
    'a deep object': b'{"a":' * 300 + b'1' + b'}' * 300}


def finished(folder):
    """A run of two stages, the first with metrics."""
    workdir = opened(folder)

    def make(path):
        workdir.log(step=1, loss=0.5)
        workdir.log(step=2, loss=0.25)
        path.write_text('1')

    stages(workdir, make)
    return workdir


def stages(workdir, make=never):
    workdir.stage('one', 'one.txt', make, reads={'seed': 0})
    workdir.stage('two', 'two.txt', make if make is never else lambda path: path.write_text('2'),
                  inputs=['one.txt'])


@pytest.mark.slow
@pytest.mark.parametrize('file', ['config.json', 'manifests/one.json', 'manifests/two.json'])
@pytest.mark.parametrize('how', [*DAMAGE, 'a folder', 'a field of another kind'])
def test_a_damaged_file_is_named_in_one_line(tmp_path, file, how):
    workdir, place = finished(tmp_path), tmp_path / file
    if how == 'a folder':
        place.unlink()
        place.mkdir()
    elif how == 'a field of another kind':
        place.write_text(json.dumps({**json.loads(place.read_text()), 'sha256': 7, 'seed': []}))
    else:
        place.write_bytes(DAMAGE[how])
    with pytest.raises(UserError) as error:
        stages(reopened(workdir))
    said = str(error.value)
    assert '\n' not in said and len(said) < 600
    assert place.name in said or str(tmp_path) in said
    assert 'delete' in said or 'another --workdir' in said


@pytest.mark.parametrize('how', [
    b'', b'3\n', b'\xff\xfe\n', b'[' * 200_000, b'null\n{"stage": "one", "step": 9}\n', None])
def test_metrics_are_rebuilt_from_what_the_stages_keep(tmp_path, how):
    workdir, place = finished(tmp_path), tmp_path / 'metrics.jsonl'
    before = workdir.metrics()
    assert [row['step'] for row in before] == [1, 2]
    place.unlink() if how is None else place.write_bytes(how)
    workdir = reopened(workdir)
    stages(workdir)
    assert workdir.metrics() == before
    assert [json.loads(line) for line in place.read_text().splitlines()] == before


def test_a_line_of_the_metrics_that_is_none_does_not_stop_a_stage_that_is_made_again(tmp_path):
    workdir = finished(tmp_path)
    (tmp_path / 'manifests' / 'two.json').unlink()
    with (tmp_path / 'metrics.jsonl').open('ab') as file:
        file.write(b'7\n\xff\n[]\n{"stage": 3}\n{"st')
    workdir = reopened(workdir)
    stages(workdir, lambda path: path.write_text('2'))
    assert [row['step'] for row in workdir.metrics()] == [1, 2]


def test_a_folder_where_the_metrics_are_is_named(tmp_path):
    workdir = finished(tmp_path)
    (tmp_path / 'metrics.jsonl').unlink()
    (tmp_path / 'metrics.jsonl').mkdir()
    with pytest.raises(UserError, match='metrics.jsonl: it is a folder'):
        stages(reopened(workdir))


@pytest.mark.parametrize('file', ['one.txt', 'two.txt'])
def test_a_folder_or_a_pipe_where_an_artefact_was_is_refused(tmp_path, file):
    import os

    workdir, place = finished(tmp_path), tmp_path / file
    place.unlink()
    place.mkdir()
    with pytest.raises(UserError, match=f'{file} has changed'):
        stages(reopened(workdir))
    place.rmdir()
    os.mkfifo(place)
    with pytest.raises(UserError, match='is a pipe'):
        stages(reopened(workdir))


def test_a_full_disk_is_said_and_what_was_done_is_kept(tmp_path):
    full = pathlib.Path('/dev/full')
    if not full.exists():
        pytest.skip('no /dev/full here')
    workdir = opened(tmp_path)
    workdir.stage('one', 'one.txt', lambda path: path.write_text('1'))
    with pytest.raises(UserError, match='two.txt: No space left on device: make room'):
        workdir.stage('two', 'two.txt', lambda path: full.write_text('2'))
    workdir = reopened(workdir)
    workdir.stage('one', 'one.txt', never)
    assert workdir.stage('two', 'two.txt', lambda path: path.write_text('2')).read_text() == '2'
    assert not list(tmp_path.rglob('*.partial'))


def test_a_folder_of_other_things_is_no_workdir(tmp_path):
    (tmp_path / 'report.html').write_text('mine')
    with pytest.raises(UserError, match='holds report.html and no config.json of a run'):
        opened(tmp_path)
    assert (tmp_path / 'report.html').read_text() == 'mine'


def test_what_a_killed_writer_left_is_swept_up(tmp_path):
    workdir = finished(tmp_path)
    (tmp_path / '.abc.partial').mkdir()
    (tmp_path / '.abc.partial' / 'one.txt').write_text('half')
    reopened(workdir)
    assert not list(tmp_path.glob('.*.partial'))
