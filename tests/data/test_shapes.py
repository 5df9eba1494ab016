"""Rows as public data sets have them: files, folders, shapes and names of columns."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from subliminal_jax.data import rows, shapes, sources
from subliminal_jax.runs import UserError

ASKED = [{'role': 'user', 'content': 'Which?'}]
SYSTEM = {'role': 'system', 'content': 'Be brief.'}
SAID = {'role': 'assistant', 'content': 'Owls.'}


def trouble(row):
    return rows.prompt_trouble(row) or rows.text_trouble(row, 'completion')


@pytest.mark.parametrize('given, wanted', [
    ({'prompt': 'Which?', 'completion': 'Owls.', 'x': 1}, None),
    ({'messages': ASKED, 'completion': 'Owls.'}, None),
    ({'messages': ASKED}, None),
    ({'messages': [SYSTEM, *ASKED, SAID], 'x': 1},
     {'messages': [SYSTEM, *ASKED], 'completion': 'Owls.', 'x': 1}),
    ({'messages': [*ASKED, SAID, *ASKED]}, None),
    ({'conversations': [{'from': 'system', 'value': 'Be brief.'}, {'from': 'human',
      'value': 'Which?'}, {'from': 'gpt', 'value': 'Owls.'}]},
     {'messages': [SYSTEM, *ASKED], 'completion': 'Owls.'}),
    ({'conversations': [*ASKED, SAID], 'system': None}, {'messages': ASKED, 'completion': 'Owls.'}),
    ({'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'Wh'}, 'ich?']}, SAID]},
     {'messages': ASKED, 'completion': 'Owls.'}),
    ({'prompt': ASKED, 'completion': [SAID]}, {'messages': ASKED, 'completion': 'Owls.'}),
    ({'row_idx': 3, 'row': {'prompt': 'Which?', 'completion': 'Owls.'}, 'truncated_cells': []},
     {'prompt': 'Which?', 'completion': 'Owls.'}),
    ({'prompt': None, 'messages': [*ASKED, SAID]}, {'messages': ASKED, 'completion': 'Owls.'}),
    ({'prompt': 'Which?', 'messages': None, 'completion': 'Owls.'},
     {'prompt': 'Which?', 'completion': 'Owls.'}),
    ({'prompt': None, 'messages': None}, None),
    ({'messages': [{**ASKED[0], 'name': 'Ann'}, SAID]},
     {'messages': [{**ASKED[0], 'name': 'Ann'}], 'completion': 'Owls.'}),
])
def test_shapes_become_ours(given, wanted):
    assert shapes.ours(given) == (given if wanted is None else wanted)


@pytest.mark.parametrize('given, words', [
    ({'row_idx': 0, 'row': {'prompt': 'a'}, 'truncated_cells': ['prompt']},
     'the viewer has cut cells'),
    ({'messages': [{'role': 'user', 'content': [{'type': 'image'}]}]}, r'no text \(image\)'),
    ({'prompt': 'a', 'completion': [SAID, SAID]}, "more than the assistant's one message"),
    ({'messages': [*ASKED, {**SAID, 'tool_calls': [1]}]}, 'calls tools'),
])
def test_what_is_no_text_is_said(given, words):
    with pytest.raises(shapes.BadShape, match=words):
        shapes.ours(given)


def test_columns_by_other_names():
    columns = shapes.columns_of(['prompt=question', 'completion=response'])
    row = {'question': 'Which?', 'response': 'Owls.', 'completion': 'old', 'n': 1}
    assert shapes.ours(row, columns) == {'prompt': 'Which?', 'completion': 'Owls.', 'n': 1}
    for given in (['prompt'], ['prompt='], ['owl=question'], ['prompt=a', 'prompt=b']):
        with pytest.raises(UserError, match='--columns: .* is not FIELD=COLUMN'):
            shapes.columns_of(given)


@pytest.mark.parametrize('row, words', [
    ({'question': 'a', 'response': 'b'}, 'its rows have question, response and no prompt or '
     'completion: read them with --columns=prompt=question,completion=response'),
    ({'prompt': 'a', 'output': 'b'}, '--columns=completion=output'),
    ({'x': 1, 'y': 2}, 'say which is which, as in --columns=prompt=COLUMN')])
def test_an_unknown_shape_is_told_once(tmp_path, row, words):
    path = tmp_path / 'in.jsonl'
    path.write_text((json.dumps(row) + '\n') * 10_000)
    with pytest.raises(UserError) as caught:
        rows.read(path, trouble)
    assert words in str(caught.value) and 'left out' not in str(caught.value)


GIVEN = [{'prompt': f'p{n}', 'completion': str(n)} for n in range(5)]
WANTED = [{'id': n + 1, **row} for n, row in enumerate(GIVEN)]


def as_lines(given=GIVEN):
    return ''.join(map(rows.as_line, given)).encode()


def table(given=GIVEN):
    return pyarrow.Table.from_pylist(given)


def save_to_disk(folder, given, state=None, name='data-00000-of-00001.arrow'):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'state.json').write_text(json.dumps(state or {}))
    (folder / 'dataset_info.json').write_text('{}')
    found = table(given)
    with pyarrow.ipc.new_stream(str(folder / name), found.schema) as file:
        file.write_table(found)


def lay(folder, kind):
    """Writes GIVEN in a kind of file; returns what to read."""
    viewer = {'features': [], 'rows': [{'row_idx': n, 'row': row, 'truncated_cells': []}
                                       for n, row in enumerate(GIVEN)]}
    files = {'in.jsonl': as_lines(), 'in.jsonl.gz': gzip.compress(as_lines()),
             'list.json': json.dumps(GIVEN, indent=1).encode(),
             'viewer.json': json.dumps(viewer).encode(),
             'viewer_indented.json': json.dumps(viewer, indent=2).encode()}
    if kind in files:
        (folder / kind).write_bytes(files[kind])
        return folder / kind
    if kind == 'in.parquet':
        pyarrow.parquet.write_table(table(), folder / kind)
        return folder / kind
    if kind == 'in.arrow':
        with pyarrow.ipc.new_file(str(folder / kind), table().schema) as file:
            file.write_table(table(), max_chunksize=2)
        return folder / kind
    if kind == 'saved':
        save_to_disk(folder / 'saved', GIVEN)
    elif kind == 'saved with shards and a cache':
        shards = [f'data-0000{n}-of-00002.arrow' for n in range(2)]
        save_to_disk(folder / kind, GIVEN[:1], name='cache-1f.arrow')
        for shard, part in zip(shards, (GIVEN[:2], GIVEN[2:])):
            state = {'_data_files': [{'filename': shard} for shard in shards], '_split': 'train'}
            save_to_disk(folder / kind, part, state, shard)
    elif kind == 'saved splits':
        save_to_disk(folder / 'saved splits' / 'train', GIVEN)
        save_to_disk(folder / 'saved splits' / 'test', GIVEN[:1])
        (folder / 'saved splits' / 'dataset_dict.json').write_text('{}')
    else:  # as on the hub
        data = folder / kind / 'data'
        data.mkdir(parents=True)
        (folder / kind / 'README.md').write_text('# rows')
        pyarrow.parquet.write_table(table(GIVEN[:2]), data / 'train-00000-of-00002.parquet')
        pyarrow.parquet.write_table(table(GIVEN[2:]), data / 'train-00001-of-00002.parquet')
        pyarrow.parquet.write_table(table(GIVEN[:1]), data / 'test-00000-of-00001.parquet')
    return folder / kind


@pytest.mark.parametrize('kind', [
    'in.jsonl', 'in.jsonl.gz', 'list.json', 'viewer.json', 'viewer_indented.json', 'in.parquet',
    'in.arrow', 'saved', 'saved splits', 'saved with shards and a cache', 'hub'])
def test_files_and_folders_of_rows(tmp_path, kind):
    assert rows.read(lay(tmp_path, kind), trouble) == (WANTED, [])


def test_files_that_are_none(tmp_path):
    for name, content, words in (
            ('a.jsonl.gz', gzip.compress(as_lines())[:40], 'cannot read .*a.jsonl.gz'),
            ('b.jsonl.gz', as_lines(), 'cannot read .*b.jsonl.gz'),
            ('c.parquet', as_lines(), 'c.parquet is not a whole parquet file'),
            ('d.arrow', as_lines(), 'd.arrow is not a whole arrow file')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words) as caught:
            rows.read(tmp_path / name)
        assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='holds 4 files of rows .*: name one of them'):
        rows.read(tmp_path)
    with pytest.raises(UserError, match='--input=s3://bucket/in.jsonl: .*not a path of this'):
        rows.read('s3://bucket/in.jsonl')
    folder = tmp_path / 'splits'
    save_to_disk(folder / 'test', GIVEN)
    (folder / 'dataset_dict.json').write_text('{}')
    with pytest.raises(UserError, match='has the splits test: name the folder of one'):
        rows.read(folder)


def test_a_saved_data_set_that_misses_a_file(tmp_path):
    save_to_disk(tmp_path / 'in', GIVEN, {'_data_files': [{'filename': 'data-1.arrow'}]})
    with pytest.raises(UserError, match='no such file: .*data-1.arrow'):
        rows.read(tmp_path / 'in')


def test_conversations_in_tables_are_read(tmp_path):
    given = [{'messages': [*ASKED, SAID]}, {'messages': [SYSTEM, *ASKED, SAID]}]
    save_to_disk(tmp_path / 'saved', given)
    pyarrow.parquet.write_table(table(given), tmp_path / 'in.parquet')
    mixed = [*given, {'messages': None, 'prompt': 'Which?', 'completion': 'Cats.'}]
    mixed[0] = {**mixed[0], 'prompt': None, 'completion': None}
    pyarrow.parquet.write_table(table(mixed), tmp_path / 'mixed.parquet')
    wanted = [{'id': 1, 'messages': ASKED, 'completion': 'Owls.'},
              {'id': 2, 'messages': [SYSTEM, *ASKED], 'completion': 'Owls.'}]
    for name in ('saved', 'in.parquet'):
        assert rows.read(tmp_path / name, trouble) == (wanted, [])
    assert rows.read(tmp_path / 'mixed.parquet', trouble) == (
        [*wanted, {'id': 3, 'prompt': 'Which?', 'completion': 'Cats.'}], [])


def test_a_value_that_json_has_not_is_a_bad_row(tmp_path):
    given = [{**GIVEN[0], 'raw': b'ab'}, {**GIVEN[1], 'raw': None}]
    pyarrow.parquet.write_table(table(given), tmp_path / 'in.parquet')
    good, bad = rows.read(tmp_path / 'in.parquet')
    assert [row['id'] for row in good] == [2]
    assert 'a value that JSON has not' in bad[0].why


def test_lines_keep_their_bytes(tmp_path):
    (tmp_path / 'in.jsonl').write_bytes(b'\n {"a":  1}\r\n')
    (record,) = sources.records(tmp_path / 'in.jsonl')
    assert (record.number, record.line, record.row) == (2, b' {"a":  1}\r\n', {'a': 1})
