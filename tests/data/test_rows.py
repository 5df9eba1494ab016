"""Rows: bad lines are named and cost nothing else; files are whole, or torn at the end only."""

import json

import pytest
from hypothesis import given, strategies as st

from subliminal_jax.data import rows
from subliminal_jax.runs import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                      allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5)


def test_files_among_what_a_field_names(tmp_path, monkeypatch):
    (tmp_path / 'a.jsonl').write_text('{}')
    monkeypatch.chdir(tmp_path)
    assert rows.named(['owl=a.jsonl', 'animals', '', 'b.jsonl']) == [str(tmp_path / 'a.jsonl')]
    assert rows.named(['a.jsonl']) == [str(tmp_path / 'a.jsonl')]


def test_good_rows_survive_the_bad_ones(tmp_path):
    path = tmp_path / 'in.jsonl'
    path.write_bytes(
        b'{"prompt": "a", "mine": [1]}\n'
        b'{"prompt": "b"\n'
        b'\n'
        b'[1, 2]\n'
        b'{"prompt": "c", "id": "x"}\n'
        b'{"prompt": "d", "id": "x"}\n'
        b'{"prompt": 5}\n'
        b'{"text": "e"}\n'
        b'\xff\xfe\n'
        b'{"prompt": "f"}')
    good, bad = rows.read(path, rows.prompt_trouble)
    assert good == [{'id': 1, 'prompt': 'a', 'mine': [1]}, {'id': 'x', 'prompt': 'c'},
                    {'id': 10, 'prompt': 'f'}]
    assert [line for line, _ in bad] == [2, 4, 6, 7, 8, 9]
    assert 'not JSON' in bad[0].why
    assert 'list' in bad[1].why
    assert 'given before' in bad[2].why
    assert 'int' in bad[3].why
    assert "'prompt'" in bad[4].why
    message = rows.bad_lines(path, bad)
    assert '6 lines' in message
    assert 'line 2' in message
    assert '3 more' in message
    assert '\n' not in message


@pytest.mark.parametrize('line, why', [
    ('{"prompt": "a", "x": NaN}', 'not finite'), ('{"prompt": "a", "x": 1e999}', 'not finite'),
    ('{"prompt": "a\\ud83d"}', 'half a character'), ('[' * 100_000, 'nested too deeply'),
    ('{"prompt": "a", "x": ' + '9' * 5000 + '}', 'a number too long')])
def test_what_could_not_be_written_again_is_not_read(line, why):
    row, found = rows.parse(line)
    assert row is None
    assert why in found
    assert rows.parse('{"prompt": "a\\ud83d\\ude00"}') == ({'prompt': 'a😀'}, None)


def test_lines_of_one_trouble_are_named_together():
    bad = [rows.BadLine(n, 'no date') for n in (1, 2, 5, 7, 9, 11)] + [rows.BadLine(4, 'not JSON')]
    message = rows.bad_lines('in.jsonl', bad)
    assert message == ('in.jsonl: 7 lines left out: lines 1, 2, 5, 7 and 2 more: no date; '
                       'line 4: not JSON')


@pytest.mark.parametrize('text', ['', '\n \n'])
def test_an_empty_file_is_an_error(tmp_path, text):
    path = tmp_path / 'in.jsonl'
    path.write_text(text)
    with pytest.raises(UserError, match='is empty'):
        rows.read(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(UserError, match='no such file'):
        rows.read(tmp_path / 'none.jsonl')
    with pytest.raises(UserError, match='cannot read'):
        rows.read(tmp_path)


@pytest.mark.parametrize('row, words', [
    ({'prompt': 'a'}, None),
    ({'prompt': 'a', 'system': ''}, None),
    ({'prompt': 'a', 'system': None}, 'null'),
    ({'messages': [{'role': 'user', 'content': 'a'}]}, None),
    ({'messages': []}, 'list'),
    ({'messages': [{'role': 'user'}]}, 'content'),
    ({'messages': [{'role': 'user', 'content': 'a'}], 'prompt': 'b'}, 'both'),
    ({'messages': [{'role': 'system', 'content': 'a'}], 'system': 'b'}, 'system'),
    ({}, 'messages'),
])
def test_prompt_trouble(row, words):
    why = rows.prompt_trouble(row)
    assert (why is None) if words is None else (words in why)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('rows') / 'out.jsonl'
    content = [{**row, 'id': number} for number, row in enumerate(content)]
    assert rows.write(path, content) == len(content)
    assert rows.read(path) == (content, [])
    path.unlink()
    for row in content:
        rows.append(path, [row])
    assert rows.finished(path) == content


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'out.jsonl'
    rows.write(path, [{'id': 1}])
    with pytest.raises(ValueError):
        rows.write(path, [{'id': 2}, {'id': 3, 'x': float('nan')}])
    assert rows.read(path)[0] == [{'id': 1}]


def test_every_cut_of_an_appended_file_can_be_gone_on_from(tmp_path):
    path = tmp_path / 'out.jsonl'
    content = [{'id': 1, 'completion': 'zażółć'}, {'id': 2, 'completion': 'a\nb\u2028c'}]
    rows.append(path, content)
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        done = rows.finished(path)
        whole = data[:cut].count(b'\n') + (data[cut:cut + 1] == b'\n')  # all but its line break
        assert done == content[:whole]
        assert path.read_bytes() == data[:cut]  # to read changes nothing
        rows.append(path, content[len(done):])
        assert path.read_bytes() == data


def test_a_foreign_output_is_refused_and_kept(tmp_path):
    path = tmp_path / 'out.jsonl'
    path.write_text('precious\nnotes\n')
    with pytest.raises(UserError, match='line 1'):
        rows.finished(path)
    assert path.read_text() == 'precious\nnotes\n'
    path.write_text('precious notes')
    with pytest.raises(UserError, match='no torn row'):
        rows.finished(path)
    assert path.read_text() == 'precious notes'
    path.write_text(json.dumps({'prompt': 'a'}) + '\n')
    with pytest.raises(UserError, match='no id'):
        rows.finished(path)
