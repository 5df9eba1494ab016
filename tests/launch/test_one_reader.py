"""Rows are read by one rule, whoever reads them: launch.filter, launch.sample and launch.score."""

import os
import sys

import pytest

from launch import lm_rows
from subliminal_jax.data import rows
from subliminal_jax.runs import UserError, run_program
from tests.launch import programs

GOOD = b'{"prompt": "p", "completion": "1, 2"}\n'
OTHER = '{"prompt": "é", "completion": "1"}\n'
PROGRAMS = ('filter', 'sample', 'score', 'judge')


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a program that must end before it loads a model: (exit status, standard error)."""
    def never(*names, **settings):
        raise AssertionError('a model was loaded')

    def run(program, given, output):
        judge = ['--judge=openai:none'] if program == 'judge' else []
        monkeypatch.setattr(sys, 'argv', [
            program, f'--input={given}', f'--output={output}', *judge])
        try:
            run_program(programs.fresh(f'launch.{program}').main)
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    monkeypatch.setattr(lm_rows, 'load', never)
    yield run
    programs.forget()


def pipe(path):
    os.mkfifo(path)
    return path


def text(content):
    return lambda path: path.write_bytes(content) and path


@pytest.mark.parametrize('make, said', [
    (pipe, 'it is a pipe, and a file is needed'),
    (lambda path: '/dev/zero', 'it is a device'),
    (lambda path: path.symlink_to('/dev/zero') or path, 'it is a device'),
    (text(OTHER.encode('utf-16')), 'UTF-16 text: save it as UTF-8'),
    (text(OTHER.encode('utf-16-be')), 'not '),
    (text(b'\xff\xfe\x00\x00{\x00\x00\x00'), 'text: save it as UTF-8'),
    (text(GOOD[:-2] + b', "x": ' + b'[' * 200 + b']' * 200 + b'}'), 'too deeply'),
], ids=['pipe', 'device', 'link', 'utf-16', 'utf-16 without a mark', 'utf-32', 'deep'])
@pytest.mark.parametrize('program', PROGRAMS)
def test_what_is_no_file_of_rows_is_refused_by_all(call, tmp_path, program, make, said):
    status, err = call(program, make(tmp_path / 'given.jsonl'), tmp_path / 'o.jsonl')
    assert status == 1 and said in err and err.splitlines()[-1].startswith('error: ')
    assert 'Traceback' not in err


@pytest.mark.parametrize('line, said', [
    (b'{"prompt": "p", "completion": "1", "id": 1}\n', 'id 1 was given before'),
    (b'{"prompt": "p", "completion": "1", "id": true}\n', 'whole number or a string, not true'),
    (b'{"prompt": "p", "completion": "1", "id": 1.5}\n', 'whole number or a string, not 1.5'),
    (b'{"prompt": "p", "completion": "1", "id": []}\n', 'whole number or a string, not []'),
    (b'{"prompt": "p", "completion": "\xff"}\n', 'not UTF-8'),
    (b'\xef\xbb\xbf{"prompt": "p", "completion": "1"}\n', 'not JSON'),  # a mark amid the file
    (b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]}\n', 'completion'),
    (b'{"prompt": "p", "completion": [3]}\n', 'completion'),
    (b'{"row": {}, "row_idx": 1, "truncated_cells": 7}\n', 'cut cells'),
])
def test_a_bad_row_is_the_same_to_all(call, tmp_path, line, said):
    given, kept = tmp_path / 'given.jsonl', tmp_path / 'kept.jsonl'
    given.write_bytes(GOOD + line)
    status, err = call('filter', given, kept)
    assert status == 1 and said in err and kept.read_bytes() == GOOD

    def check(row):
        return rows.prompt_trouble(row) or rows.text_trouble(row, 'completion')

    good, bad = rows.read(given, check)
    assert [row['id'] for row in good] == [1]
    assert rows.bad_lines(given, bad) in err.strip()


def test_a_byte_order_mark_is_no_part_of_a_row(call, tmp_path):
    given, kept = tmp_path / 'given.jsonl', tmp_path / 'kept.jsonl'
    given.write_bytes(b'\xef\xbb\xbf' + GOOD)
    assert call('filter', given, kept)[0] == 0
    assert kept.read_bytes() == GOOD
    assert rows.read(given)[0] == [{'id': 1, 'prompt': 'p', 'completion': '1, 2'}]


def test_a_line_without_end_in_a_compressed_file_is_no_row(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr('subliminal_jax.data.sources.LONGEST_LINE', 1 << 16)
    with gzip.open(tmp_path / 'x.jsonl.gz', 'wb') as file:
        file.write(GOOD + b' ' * (1 << 20))
    with pytest.raises(UserError, match='line 2 has over'):
        rows.read(tmp_path / 'x.jsonl.gz')
