"""Where rows come from: JSONL, plain or compressed, a JSON list, parquet, a data set's folder.

Rows are given one after the other, numbered from 1, each with the line that it was, if it was one.
"""

import gzip
import json
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from subliminal_jax.runs import UserError, check_file, local_path, read_json
from subliminal_jax.runs.reading import LARGEST, parsed

Row = dict[str, Any]
KINDS = ('.jsonl', '.json', '.parquet', '.arrow')
LONGEST_LINE = 1 << 26  # bytes; a compressed file may hold a line without end
BOM = b'\xef\xbb\xbf'  # of UTF-8: it is no part of the first row
OTHER_TEXT = {b'\xff\xfe': 'UTF-16', b'\xfe\xff': 'UTF-16', b'\0\0\xfe\xff': 'UTF-32'}
ARROW_FILE = b'ARROW1'  # begins an arrow file; data sets are saved as streams
FORMS = ('a .jsonl, .jsonl.gz, .json or .parquet file, or the folder of a data set')


class Record(NamedTuple):
    """One row as its file has it.

    Attributes:
      number: of the line, or of the row, from 1.
      line: its bytes, with their line break, without a byte-order mark; None where the file has no
        lines.
      row: the object; None where it is none.
      why: what is wrong with it, or None.
    """

    number: int
    line: bytes | None
    row: Row | None
    why: str | None


def records(path: str | os.PathLike) -> Iterator[Record]:
    """Every row of a file, or of all files of a data set's folder; blank lines are passed over.

    Raises:
      UserError: no such file, one that cannot be read, or a folder that holds no rows.
    """
    place = pathlib.Path(local_path('input', os.fspath(path)))
    files = files_of(place) if place.is_dir() else [place]
    count = 0
    for file in files:
        for record in _records(file):
            count = count + 1 if len(files) > 1 else record.number
            yield record._replace(number=count)


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a data set's folder: saved to disk, or as it lies on the hub.

    Of several splits `train` is taken.

    Raises:
      UserError: no file of rows, or several splits and none of them `train`.
    """
    if (folder / 'dataset_dict.json').is_file():
        splits = sorted(p.name for p in folder.iterdir() if (p / 'state.json').is_file())
        if 'train' not in splits:
            raise UserError(f'{folder} has the splits {", ".join(splits) or "(none)"}: name the '
                            "folder of one")
        return files_of(folder / 'train')
    if listed := _listed(folder):
        return listed
    found = sorted(p for p in folder.rglob('*') if p.is_file() and not p.name.startswith('.')
                   and p.name.removesuffix('.gz').endswith(KINDS)
                   and p.name not in ('dataset_info.json', 'state.json', 'dataset_infos.json'))
    if not found:
        raise UserError(f'cannot read {folder}: it is a folder without rows; rows are {FORMS}')
    kinds = {pathlib.Path(p.name.removesuffix('.gz')).suffix for p in found}
    train = [p for p in found if 'train' in p.relative_to(folder).as_posix()]
    if len(kinds) > 1 or (not train and len(found) > 1 and '.arrow' not in kinds):
        raise UserError(f'{folder} holds {len(found)} files of rows ({found[0].name}, '
                        f'{found[1].name}): name one of them')
    return train or found


def _listed(folder):
    """The files that a saved data set names as its own: others beside them are its caches."""
    try:
        named = read_json(folder / 'state.json')['_data_files']
        return [folder / file['filename'] for file in named]
    except (UserError, KeyError, TypeError):
        return []


def _records(path: pathlib.Path) -> Iterator[Record]:
    name = path.name.removesuffix('.gz')
    check_file(path)
    try:
        if name.endswith('.parquet'):
            yield from _numbered(_parquet(path))
        elif name.endswith('.arrow'):
            yield from _numbered(_arrow(path))
        else:
            opened = gzip.open if path.name.endswith('.gz') else open
            with opened(path, 'rb') as file:
                yield from _text(file, path)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, 'strerror', None) or str(error) or 'it is truncated'
        raise UserError(f'cannot read {path}: {reason}') from None


def _text(file, path) -> Iterator[Record]:
    """Lines; or, of a JSON list or of what the data set viewer gives, the list's rows."""
    first = file.peek(64)[:64]
    for mark, name in OTHER_TEXT.items():
        if first.startswith(mark):
            raise UserError(f'{path} is {name} text: save it as UTF-8')
    first = first.removeprefix(BOM).lstrip()
    if first.startswith((b'[', b'{"features"', b'{"rows"')) or first.splitlines()[:1] == [b'{']:
        content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f'{path} is one piece of JSON of over {LARGEST >> 20} MiB: write one '
                            'JSON object a line')
        if (whole := _list_of(content)) is not None:
            yield from _numbered(iter(whole))
            return
        text_lines = content.splitlines(keepends=True)
    else:
        text_lines = iter(lambda: file.readline(LONGEST_LINE + 1), b'')
    for number, line in enumerate(text_lines, start=1):
        line = line.removeprefix(BOM) if number == 1 else line
        if len(line) > LONGEST_LINE:
            raise UserError(f'{path}, line {number} has over {LONGEST_LINE >> 20} MiB: it is no '
                            'row')
        if text := line.strip():
            yield Record(number, line, *parse(text))


def _list_of(content: bytes) -> list | None:
    """The rows of a whole file of JSON; None for lines of JSON."""
    try:
        value = parsed(content.decode('utf-8-sig'))
    except ValueError:
        return None
    if isinstance(value, dict):
        return value['rows'] if isinstance(value.get('rows'), list) else None
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else None


def _numbered(rows) -> Iterator[Record]:
    for number, row in enumerate(rows, start=1):
        why = _trouble(row)
        yield Record(number, None, None if why else row, why)


def _parquet(path: pathlib.Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f'{path} is not a whole parquet file: {error}; fetch it again') from None


def _arrow(path: pathlib.Path) -> Iterator[Row]:
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            if source.read(len(ARROW_FILE)) == ARROW_FILE:
                with pyarrow.ipc.open_file(source) as file:
                    for number in range(file.num_record_batches):
                        yield from file.get_batch(number).to_pylist()
                return
            source.seek(0)
            for batch in pyarrow.ipc.open_stream(source):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f'{path} is not a whole arrow file: {error}; fetch it again') from None


def parse(line: str | bytes) -> tuple[Row | None, str | None]:
    """One line as (row, None), or (None, what is wrong with it)."""
    try:
        row = parsed(line if isinstance(line, str) else line.decode())
    except UnicodeDecodeError:
        return None, 'not UTF-8'
    except ValueError as error:
        return None, str(error)
    why = _trouble(row)
    return (None, why) if why else (row, None)


def _trouble(row: Any) -> str | None:
    """Why a value could not be written as a row again, or None."""
    if not isinstance(row, dict):
        return f'a JSON {type(row).__name__} where an object is needed'
    try:
        as_line(row).encode()
    except UnicodeEncodeError:
        return 'half a character (a lone surrogate) in its text'
    except ValueError:
        return 'a number that is not finite'
    except TypeError as error:
        return f'a value that JSON has not ({error})'
    return None


def as_line(row: Row) -> str:
    """A row as one line of JSON with its line break; NaN and infinity raise ValueError."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + '\n'
