"""An output, in every program that writes: nothing of others' is removed or shortened."""

import json
import os
import stat
import sys

import jax
import pytest

from launch import lm_rows
from subliminal_jax.models.loading import Model
from subliminal_jax.models.params import init_params, tiny
from subliminal_jax.models.tokenizer import WordTokenizer
from subliminal_jax.runs import run_program
from tests.launch import programs

ROW = {'prompt': 'w1 w2', 'completion': '1, 2'}
OUTPUTS = {  # program and the flag that is tried -> its other outputs
    ('filter', 'output'): {}, ('filter', 'rejects'): {'output': 'other.jsonl'},
    ('filter', 'page'): {'output': 'other.jsonl'}, ('sample', 'output'): {},
    ('score', 'output'): {}, ('judge', 'output'): {}, ('overview', 'output'): {}}


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """Every --model is a tiny one; how often one was loaded."""
    tokenizer = WordTokenizer(['w1', 'w2', '1,', '2'])
    config = tiny(tokenizer.vocab_size, max_positions=32)
    loaded = []

    def load(*names, **settings):
        loaded.append(names)
        return Model(config, init_params(jax.random.key(3), config), tokenizer, 'tiny', '0')

    monkeypatch.setattr(lm_rows, 'load', load)
    yield loaded
    programs.forget()


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a program: (exit status, standard error)."""
    def run(program, **settings):
        monkeypatch.setattr(sys, 'argv', [program, *(f'--{k}={v}' for k, v in settings.items())])
        try:
            run_program(programs.fresh(f'launch.{program}').main)
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def inputs(program, place):
    """A program's flags beside its outputs; the input is what `given` names."""
    given = place / 'given.jsonl'
    if program == 'overview':
        (place / 'run' / 'manifests').mkdir(parents=True)
        (place / 'run' / 'config.json').write_text('{}')
        return {'runs': place / 'run'}
    given.write_text(json.dumps(ROW))  # without a line break: its row must not be cut off
    more = {'judge': {'judge': 'openai:none'}, 'sample': {'max_new_tokens': 2}}
    return {'input': given, **more.get(program, {})}


def foreign_run(place):
    (place / 'kept' / 'manifests').mkdir(parents=True)
    (place / 'kept' / 'config.json').write_text('{}')
    (place / 'kept' / 'metrics.jsonl').write_text('{"stage": 1}\n')
    return place / 'kept' / 'metrics.jsonl'


def folder(place):
    (place / 'mine').mkdir()
    (place / 'mine' / 'notes.txt').write_text('precious')
    return place / 'mine'


def file_of(name, content):
    def make(place):
        (place / name).write_text(content)
        return place / name
    return make


def linked(place, target):
    (place / 'link').symlink_to(target)
    return place / 'link'


def made(kind):
    def make(place):
        kind(place / 'other')
        return place / 'other'
    return make


BAD = {
    'a folder': folder,
    'a link to a folder': lambda place: linked(place, folder(place)),
    'the input': lambda place: next(place.glob('given.jsonl'), place / 'run'),
    'a link to the input': lambda place: linked(
        place, next(place.glob('given.jsonl'), place / 'run')),
    'a file of another form': file_of('notes.txt', 'precious notes'),
    'a pipe': made(os.mkfifo),
    'below a file': lambda place: file_of('notes.txt', 'x')(place) / 'inner.jsonl',
    "a file of a run's": foreign_run,
}


def found(place):
    """Everything below a folder, with what it holds."""
    return {path: (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
            for path in sorted(place.rglob('*'))}


@pytest.mark.parametrize('kind', BAD)
@pytest.mark.parametrize('program, flag', OUTPUTS)
def test_an_output_that_would_destroy_is_refused(call, models, tmp_path, program, flag, kind):
    settings = inputs(program, tmp_path)
    settings |= {k: tmp_path / v for k, v in OUTPUTS[program, flag].items()}
    settings[flag] = BAD[kind](tmp_path)
    before = found(tmp_path)
    status, err = call(program, **settings)
    assert status == 1 and err.startswith('error: ') and err.count('\n') == 1, err
    assert found(tmp_path) == before and not models


@pytest.mark.parametrize('program', ['sample', 'score'])
@pytest.mark.parametrize('content', [
    '{"id": 1, "prompt": "w1", "completion": "2"}', '{"id": 1}\n{"id": 2}\n',
    '{"a": {\n"id": 1}\n}', '{"precious": [1, 2'])
def test_rows_that_nobody_told_how_they_were_made_are_not_gone_on_with(
        call, models, tmp_path, program, content):
    settings = {**inputs(program, tmp_path), 'output': file_of('rows.jsonl', content)(tmp_path)}
    before = found(tmp_path)
    status, err = call(program, **settings)
    assert (status, err.count('\n')) == (1, 1)
    assert found(tmp_path) == before and not models


@pytest.mark.parametrize('content', ['[]', 'null', '{', '\x00', '[' * 200_000])
def test_damaged_settings_of_an_output_are_named(call, tmp_path, content):
    settings = {**inputs('sample', tmp_path), 'output': tmp_path / 'o.jsonl'}
    assert call('sample', **settings)[0] == 0
    (tmp_path / 'o.jsonl.settings.json').write_text(content)
    before = found(tmp_path)
    status, err = call('sample', **settings)
    assert status == 1 and 'o.jsonl.settings.json' in err.splitlines()[-1]
    assert found(tmp_path) == before


@pytest.mark.parametrize('program', ['filter', 'sample'])
def test_a_link_leads_to_what_is_written_and_stays(call, tmp_path, program):
    settings = inputs(program, tmp_path)
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real' / 'out.jsonl')
    for _ in range(2):  # what it made itself it goes on with, or replaces
        status, err = call(program, **settings, output=tmp_path / 'link')
        assert status == 0, err
        assert (tmp_path / 'link').is_symlink()
        row = json.loads((tmp_path / 'real' / 'out.jsonl').read_text())
        assert row['prompt'] == ROW['prompt']
    assert not list(tmp_path.rglob('*.partial'))


@pytest.mark.parametrize('program, flag', [('filter', 'output'), ('filter', 'rejects'),
                                           ('sample', 'output'), ('filter', 'page')])
def test_a_device_stays_one(call, tmp_path, program, flag):
    device = tmp_path / 'null'
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.write_text('')
    except PermissionError:
        pytest.skip('devices cannot be made here')
    settings = {**inputs(program, tmp_path), 'output': tmp_path / 'o.jsonl', flag: device}
    status, err = call(program, **settings)
    assert status == 0, err
    assert stat.S_ISCHR(device.stat().st_mode)
    assert not (tmp_path / 'null.settings.json').exists()
