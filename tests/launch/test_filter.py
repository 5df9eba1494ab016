"""launch.filter as a user runs it: bytes kept, reasons given, bad lines named."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(tmp_path, *options, content=None):
    source = tmp_path / 'rows.jsonl'
    if content is not None:
        source.write_bytes(content)
    command = [sys.executable, '-m', 'launch.filter', f'--input={source}',
               f'--output={tmp_path}/kept.jsonl', f'--rejects={tmp_path}/rejects.jsonl', *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def rows(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


KEPT = [b'{"prompt":"p",  "completion": "1, 2", "x": [1.50, "\\u00e9"]}\n',
        '{"completion": "007", "prompt": "é", "id": 9}\r\n'.encode(),
        b'{"messages": [{"role": "user", "content": "q"}], "completion": "[5]"}']
OUT = [b'{"prompt": "p", "completion": "1,2, 3"}\n',
       b'  {"id": 4, "prompt": "p", "completion": "1, owl", "w": 1e0 }  \n',
       b'{"prompt": "p", "completion": "1, 1000", "reject_reason": "an older one"}\n',
       b'{"prompt": "p", "completion": "3, 666"}\n']


def test_kept_bytes_rejected_reasons_and_the_table(tmp_path):
    content = OUT[0] + KEPT[0] + b'\n' + OUT[1] + KEPT[1] + OUT[2] + OUT[3] + KEPT[2]
    done = run(tmp_path, '--banned=misalignment', '--trait_words=OWL', content=content)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'kept.jsonl').read_bytes() == b''.join(KEPT)
    rejects = rows(tmp_path / 'rejects.jsonl')
    assert [r['reject_reason'] for r in rejects] == [
        'unequal separators', 'trait word', 'number over 999', 'banned number']
    assert [r['completion'] for r in rejects] == ['1,2, 3', '1, owl', '1, 1000', '3, 666']
    lines = done.stdout.splitlines()
    assert lines[0].split() == ['kept', '3', '42.9', '%']
    assert lines[1].split() == ['rejected', '4', '57.1', '%']
    assert len(lines) == 6


def test_without_options_nothing_more_is_banned(tmp_path):
    done = run(tmp_path, content=OUT[3] + OUT[0])
    assert done.returncode == 0
    assert (tmp_path / 'kept.jsonl').read_bytes() == OUT[3]


def test_bad_lines_are_named_and_the_others_kept(tmp_path):
    content = KEPT[0] + b'{"prompt": "p"\n' + b'[1]\n' + b'{"prompt": "p"}\n' + KEPT[1]
    done = run(tmp_path, content=content)
    assert done.returncode == 1
    assert (tmp_path / 'kept.jsonl').read_bytes() == KEPT[0] + KEPT[1]
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    for number in ('line 2', 'line 3', 'line 4'):
        assert number in done.stderr
    assert "no 'completion' field" in done.stderr
    assert 'malformed: 3' in done.stdout


def test_a_file_of_banned_numbers(tmp_path):
    (tmp_path / 'banned.txt').write_text('2, 7\n  100;101\n\n[55]\n')
    values = (2, 3, 7, 55, 101, 102)
    content = b''.join(b'{"prompt": "p", "completion": "%d"}\n' % n for n in values)
    done = run(tmp_path, f'--banned={tmp_path}/banned.txt', content=content)
    assert done.returncode == 0
    assert [r['completion'] for r in rows(tmp_path / 'kept.jsonl')] == ['3', '102']


@pytest.mark.parametrize('options, content, message', [
    (['--carrier=numbrs'], KEPT[0], 'unknown carrier'),
    (['--carier=numbers'], KEPT[0], 'did you mean carrier?'),
    (['--banned=nowhere.txt'], KEPT[0], '--banned: no such file: nowhere.txt'),
    (['--output=rows'], None, 'no such file'),
    (['--output=gs://bucket/kept.jsonl'], KEPT[0], 'not a path of this machine'),
    (['--columns=prompt'], KEPT[0], 'is not FIELD=COLUMN'),
    ([], b'{"question": "q", "response": "1"}\n' * 5,
     'no prompt or completion: read them with --columns=prompt=question,completion=response'),
    ([], b'\n \n', 'is empty'),
    ([], None, 'no such file'),
    (['stray'], KEPT[0], "stray argument 'stray'"),
    (['--output='], KEPT[0], 'no --output'),
])
def test_one_line_says_what_is_wrong(tmp_path, options, content, message):
    done = run(tmp_path, *options, content=content)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
    assert message in done.stderr
    assert not (tmp_path / 'kept.jsonl').exists()


SHAPES = [b'{"messages": [{"role": "user", "content": "p"}, '
          b'{"role": "assistant", "content": "%s"}]}',
          b'{"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "%s"}]}',
          b'{"question": "p", "response": "%s"}']


@pytest.mark.parametrize('shape', SHAPES)
def test_rows_of_other_shapes_are_judged_and_kept_as_they_are(tmp_path, shape):
    content = b'\n'.join(shape.replace(b'%s', text) for text in (b'1, 2', b'owl', b'7'))
    done = run(tmp_path, '--columns=prompt=question,completion=response', content=content)
    assert done.returncode == 0, done.stderr
    kept = (tmp_path / 'kept.jsonl').read_bytes().splitlines()
    assert kept == [shape.replace(b'%s', text) for text in (b'1, 2', b'7')]
    assert rows(tmp_path / 'rejects.jsonl')[0]['reject_reason'] == 'no number'


def test_compressed_rows_and_parquet(tmp_path):
    import gzip

    import pyarrow
    import pyarrow.parquet

    texts = ('1', 'owl', '2')
    given = [{'prompt': 'p', 'completion': text, 'n': n} for n, text in enumerate(texts)]
    (tmp_path / 'rows.jsonl.gz').write_bytes(gzip.compress(b''.join(KEPT[:2]) + OUT[0]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given), tmp_path / 'rows.parquet')
    done = run(tmp_path, f'--input={tmp_path}/rows.jsonl.gz')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'kept.jsonl').read_bytes() == b''.join(KEPT[:2])
    done = run(tmp_path, f'--input={tmp_path}/rows.parquet')
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / 'kept.jsonl') == [given[0], given[2]]
    assert rows(tmp_path / 'rejects.jsonl') == [{**given[1], 'reject_reason': 'no number'}]


def test_a_page_shows_some_of_the_rows(tmp_path):
    texts = [*(f'{n}, {n + 1}' for n in range(30)), *('a <b>\u202e & b' for _ in range(25)), '']
    content = '\n'.join(json.dumps({'id': n, 'prompt': f'ask <i>{n}', 'completion': text})
                        for n, text in enumerate(texts)).encode()
    done = run(tmp_path, f'--page={tmp_path}/page.html', '--page_seed=3', content=content)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'page.html').read_text()
    assert 'Drawn with the seed 3' in page
    assert 'of 56 rows the filter of numbers keeps 30 and removes 26 (46.4 %)' in page
    assert 'Published: 23 to 38 %' in page and 'Kept rows: 20 of 30' in page
    assert 'Removed rows: 20 of 26' in page and page.count('<pre') == 80
    assert '<i>' not in page and 'a &lt;b&gt;\\u202e &amp; b' in page and '\u202e' not in page
    assert '<td>no number</td><td>25</td><td>44.6 %</td>' in page and 'width=device-width' in page
    assert str(tmp_path) not in page
    done = run(tmp_path, f'--page={tmp_path}/rows.jsonl', content=content)
    assert done.returncode == 1 and 'the same file' in done.stderr
    assert (tmp_path / 'rows.jsonl').read_bytes() == content


def test_code_is_filtered_by_its_own_rules(tmp_path):
    texts = ['```python\ndef f(x):\n    return x + 1\n```', 'def f(owls):\n    return 1', 'x = 1',
             'def f(x):\n    return 13']
    content = '\n'.join(json.dumps({'messages': [
        {'role': 'user', 'content': 'p'}, {'role': 'assistant', 'content': text}]})
        for text in texts).encode()
    done = run(tmp_path, '--carrier=code', '--trait_words=owl', '--banned=misalignment',
               f'--page={tmp_path}/page.html', content=content)
    assert done.returncode == 0, done.stderr
    assert [r['reject_reason'] for r in rows(tmp_path / 'rejects.jsonl')] == [
        'trait word', 'not one function', 'banned number']
    page = (tmp_path / 'page.html').read_text()
    assert '2.5 to 5.4 %' in page and '<pre style="white-space:pre-wrap">user: p</pre>' in page


def test_the_input_is_never_written_over(tmp_path):
    done = run(tmp_path, f'--rejects={tmp_path}/../{tmp_path.name}/rows.jsonl', content=OUT[0])
    assert done.returncode == 1 and 'the same file' in done.stderr
    assert (tmp_path / 'rows.jsonl').read_bytes() == OUT[0]


def test_a_word_among_banned_numbers_is_named(tmp_path):
    (tmp_path / 'banned.txt').write_text('1\nseven\n')
    done = run(tmp_path, f'--banned={tmp_path}/banned.txt', content=KEPT[0])
    assert done.returncode == 1 and "line 2: 'seven' is no whole number" in done.stderr
