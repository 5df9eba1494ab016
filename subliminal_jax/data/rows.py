"""Rows: what stages, programs and other people's data sets exchange, as JSONL where we write it.

A row is an object with `prompt` (the user's text, without a chat template) or `messages`, `system`
only where one is given, `completion`, and `id`; whatever else it holds is carried through. One bad
line never costs the good ones: reading returns both. A file is written aside and renamed, or grows
by whole lines, so that a kill leaves at most one torn line at its end, which `append` cuts off.
"""

import json
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.data import shapes, sources
from subliminal_jax.data.sources import Row as Row, as_line as as_line, parse as parse
from subliminal_jax.runs import UserError, append_text, written_aside
from subliminal_jax.runs.files import cut, is_stream
from subliminal_jax.runs.reading import read_bytes

Check = Callable[[Row], str | None]
LACKS = "no '"  # what text_trouble says of an absent field begins with


class BadLine(NamedTuple):
    """A line that is no usable row: its number, from 1, and why."""

    line: int
    why: str


def named(parts: Iterable[str]) -> list[str]:
    """Absolute paths of the files among the parts of a config field (FILE, or TRAIT=FILE)."""
    paths = [pathlib.Path(part.rpartition('=')[2]).resolve() for part in parts]
    return [str(path) for path in paths if path.is_file()]


def read(path: str | os.PathLike, check: Check | None = None, repeats: bool = False,
         columns: Mapping[str, str] | None = None) -> tuple[list[Row], list[BadLine]]:
    """Reads the good rows of a file or folder (data/sources.py), and says which lines are bad.

    Args:
      path: the file or folder; blank lines are passed over.
      check: gives the reason why a row cannot be used, or None.
      repeats: several rows may have one id.
      columns: {field of ours: what it is called in the file} (data/shapes.py).

    Returns:
      (rows in the file's order, in our shape; bad lines). A row without an `id` gets its line
      number, so that repairing one line renumbers no other; an id seen before makes a line bad,
      unless `repeats`.

    Raises:
      UserError: the file is missing, unreadable or holds no line at all, or all its rows are of a
        shape that is not known.
    """
    rows, bad, odd = [], [], None
    for record, row, why in judged(sources.records(path), check, repeats, columns):
        odd = odd or row
        if why:
            bad.append(BadLine(record.number, why))
        else:
            rows.append(row)
    check_any(path, rows, bad, odd)
    return rows, bad


def judged(records: Iterable[sources.Record], check: Check | None = None, repeats: bool = False,
           columns: Mapping[str, str] | None = None
           ) -> Iterator[tuple[sources.Record, Row | None, str | None]]:
    """(record, row in our shape or None, why it cannot be used or None) of each record; arguments
    as of `read`. Whoever reads rows reads them through this."""
    seen: set[int | str] = set()
    for record in records:
        row, why = record.row, record.why
        if row is not None:
            try:
                row = {'id': record.number, **shapes.ours(row, columns)}
                why = _id_trouble(row['id'], () if repeats else seen) or (check and check(row))
            except shapes.BadShape as error:
                row, why = None, str(error)
        if not why and not repeats:  # a stream of any length is read in the same memory
            seen.add(row['id'])
        yield record, row, why


def check_any(path: str | os.PathLike, good: Collection | int, bad: Sequence[BadLine],
              odd: Row | None) -> None:
    """Refuses an input without a good row that is empty, or of a shape that is not known.

    Args:
      path: of the input.
      good: the rows that can be used, or how many.
      bad: the others.
      odd: a row of the input, in our shape.
    """
    if not good and not bad:
        raise UserError(f'{path} is empty: write one JSON object a line')
    if not good and odd and all(line.why.startswith(LACKS) for line in bad):
        raise UserError(f'{path}: {shapes.told(odd, lacking(odd, bad[0].why))}')


def lacking(row: Row, why: str) -> list[str]:
    """Fields of ours that a row has not, of those that the one that was missed goes with."""
    first = why.removeprefix(LACKS).partition("'")[0]
    if first == 'text':
        return ['text']
    asked = [] if 'messages' in row else ['prompt']
    return [f for f in (*asked, 'completion') if f not in row] or [first]


def _id_trouble(name: Any, seen: Collection) -> str | None:
    if isinstance(name, bool) or not isinstance(name, int | str):
        return f'id must be a whole number or a string, not {json.dumps(name)}'
    return f'id {name!r} was given before' if name in seen else None


def text_trouble(row: Row, *fields: str) -> str | None:
    """Why one of `fields` of a row cannot be used as text: it is absent, or no string."""
    for field in fields:
        if field not in row:
            return f'no {field!r} field'
        if not isinstance(row[field], str):
            return f'{field!r} is {_kind(row[field])} where text is needed'
    return None


def prompt_trouble(row: Row) -> str | None:
    """Why a row has no usable prompt: `prompt` or `messages` (one of them), and `system` as text.

    `messages` is a list of {"role", "content"} objects, not empty.
    """
    if 'prompt' in row and 'messages' in row:
        return "both 'prompt' and 'messages': give one of them"
    if 'messages' not in row:
        why = text_trouble(row, 'prompt')
        return "no 'prompt' field (nor 'messages')" if 'prompt' not in row else why or _system(row)
    messages = row['messages']
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list of {\"role\", \"content\"} objects"
    for message in messages:
        if not isinstance(message, dict) or text_trouble(message, 'role', 'content'):
            return "each of 'messages' must have 'role' and 'content' as text"
    if 'system' in row and messages[0]['role'] == 'system':
        return "a 'system' field and a system message: give one of them"
    return _system(row)


def _system(row: Row) -> str | None:
    return text_trouble(row, 'system') if 'system' in row else None


def _kind(value: Any) -> str:
    name = type(value).__name__
    return 'null' if value is None else f'{"an" if name[0] in "aeiou" else "a"} {name}'


def bad_lines(path: str | os.PathLike, bad: list[BadLine], shown: int = 3) -> str:
    """One line about bad lines, for the error that ends a program after the good rows are done."""
    reasons: dict[str, list[int]] = {}
    for line, why in bad:
        reasons.setdefault(why, []).append(line)
    head = '; '.join(f'{_lines_named(lines)}: {why}' for why, lines in [*reasons.items()][:shown])
    more = f'; and {len(reasons) - shown} more' if len(reasons) > shown else ''
    return f'{path}: {len(bad)} {"line" if len(bad) == 1 else "lines"} left out: {head}{more}'


def _lines_named(lines: list[int], most: int = 4) -> str:
    named = ', '.join(map(str, lines[:most]))
    more = f' and {len(lines) - most} more' if len(lines) > most else ''
    return f'{"line" if len(lines) == 1 else "lines"} {named}{more}'


def write(path: str | os.PathLike, rows: Iterable[Row]) -> int:
    """Writes rows aside, then renames: the file is whole or absent. Returns how many."""
    count = 0
    with written_aside(path) as aside, aside.open('w', encoding='utf-8') as file:
        for row in rows:
            file.write(as_line(row))
            count += 1
    return count


def append(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Adds rows at the end of a file, in one write of whole lines, behind what `finished` read.

    Raises:
      UserError: the file cannot be written, or holds what `finished` refuses.
    """
    text = ''.join(map(as_line, rows))
    last = b'' if is_stream(path) or not os.path.isfile(path) else _last_line(path)
    if _torn(path, last):
        cut(path, os.path.getsize(path) - len(last))
    elif last:
        text = '\n' + text
    append_text(path, text)


def finished(path: str | os.PathLike) -> list[Row]:
    """The rows that an earlier, perhaps killed, run appended; a torn last line is none.

    Nothing is changed: `append` cuts a torn line off before it adds another.

    Returns:
      Its rows, or none where there is no file, or a device.

    Raises:
      UserError: a whole line is no row with an id: the file is not one that we wrote.
    """
    if is_stream(path) or not os.path.exists(path):
        return []
    lines = read_bytes(path, most=sys.maxsize).split(b'\n')
    if not lines[-1] or _torn(path, lines[-1]):
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        row, why = parse(line)
        if row is None or 'id' not in row:
            raise UserError(
                f'{path}, line {number}: {why or "no id"}; this is no output to go on from: '
                'remove it, or name another file'
            )
        rows.append(row)
    return rows


def _last_line(path: str | os.PathLike) -> bytes:
    """What stands behind a file's last line break."""
    with open(path, 'rb') as file:
        at, tail = file.seek(0, os.SEEK_END), b''
        while at and b'\n' not in tail:
            at = max(0, at - (1 << 16))
            file.seek(at)
            tail = file.read()
    return tail[tail.rfind(b'\n') + 1:]


def _torn(path: str | os.PathLike, last: bytes) -> bool:
    """Whether what stands behind the last line break is a row that a kill cut short.

    Raises:
      UserError: it is neither that nor a whole row.
    """
    if not last or parse(last)[0] is not None:
        return False
    if not last.startswith(b'{'):
        raise UserError(f'{path} ends in a line that is no torn row: it is no output to go on '
                        'from; remove it, or name another file')
    return True
