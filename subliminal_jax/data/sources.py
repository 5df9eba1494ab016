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

from subliminal_jax.runs import UserError, local_path

Row = dict[str, Any]
KINDS = ('.jsonl', '.json', '.parquet', '.arrow')
ARROW_FILE = b'ARROW1'  # begins an arrow file; data sets are saved as streams
FORMS = ('a .jsonl, .jsonl.gz, .json or .parquet file, or the folder of a data set')


class Record(NamedTuple):
    """One row as its file has it.

    Attributes:
      number: of the line, or of the row, from 1.
      line: its bytes, with their line break; None where the file has no lines.
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
        named = json.loads((folder / 'state.json').read_bytes())['_data_files']
        return [folder / file['filename'] for file in named]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _records(path: pathlib.Path) -> Iterator[Record]:
    name = path.name.removesuffix('.gz')
    try:
        if name.endswith('.parquet'):
            yield from _numbered(_parquet(path))
        elif name.endswith('.arrow'):
            yield from _numbered(_arrow(path))
        else:
            opened = gzip.open if path.name.endswith('.gz') else open
            with opened(path, 'rb') as file:
                yield from _text(file)
    except FileNotFoundError:
        raise UserError(f'no such file: {path}') from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, 'strerror', None) or str(error) or 'it is truncated'
        raise UserError(f'cannot read {path}: {reason}') from None


def _text(file) -> Iterator[Record]:
    """Lines; or, of a JSON list or of what the data set viewer gives, the list's rows."""
    first = file.peek(64)[:64].removeprefix(b'\xef\xbb\xbf').lstrip()
    if first.startswith((b'[', b'{"features"', b'{"rows"')) or first.splitlines()[:1] == [b'{']:
        content = file.read()
        if (whole := _list_of(content)) is not None:
            yield from _numbered(iter(whole))
            return
        text_lines = content.splitlines(keepends=True)
    else:
        text_lines = file
    for number, line in enumerate(text_lines, start=1):
        text = line.removeprefix(b'\xef\xbb\xbf').strip() if number == 1 else line.strip()
        if text:
            yield Record(number, line, *parse(text))


def _list_of(content: bytes) -> list | None:
    """The rows of a whole file of JSON; None for lines of JSON."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
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
        row = json.loads(line)
    except UnicodeDecodeError:
        return None, 'not UTF-8'
    except json.JSONDecodeError as error:
        return None, f'not JSON ({error.msg} at character {error.pos + 1})'
    except (RecursionError, ValueError):
        return None, 'not JSON that can be read (nested too deeply, or a number too long)'
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
