"""Rows: what stages, programs and other people's data sets exchange, as JSONL where we write it.

A row is an object with `prompt` (the user's text, without a chat template) or `messages`, `system`
only where one is given, `completion`, and `id`; whatever else it holds is carried through. One bad
line never costs the good ones: reading returns both. A file is written aside and renamed, or grows
by whole lines, so that a kill leaves at most one torn line at its end, which `finished` cuts off.
"""

import json
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from subliminal_jax.data import shapes, sources
from subliminal_jax.data.sources import Row as Row, as_line as as_line, parse as parse
from subliminal_jax.runs import UserError, written_aside

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
    rows, bad, seen, odd = [], [], set(), None
    for number, _, row, why in sources.records(path):
        if row is not None:
            row, why = shaped(row, columns)
        if row is not None:
            row = {'id': number, **row}
            why = _id_trouble(row['id'], () if repeats else seen) or (check(row) if check else None)
            odd = odd or row
        if why:
            bad.append(BadLine(number, why))
        else:
            seen.add(row['id'])
            rows.append(row)
    if not rows and not bad:
        raise UserError(f'{path} is empty: write one JSON object a line')
    if not rows and odd and all(line.why.startswith(LACKS) for line in bad):
        raise UserError(f'{path}: {shapes.told(odd, lacking(odd, bad[0].why))}')
    return rows, bad


def shaped(row: Row, columns: Mapping[str, str] | None = None) -> tuple[Row | None, str | None]:
    """A row in our shape as (row, None), or (None, what is wrong with it)."""
    try:
        return shapes.ours(row, columns), None
    except shapes.BadShape as error:
        return None, str(error)


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
    with written_aside(pathlib.Path(path)) as aside, aside.open('w', encoding='utf-8') as file:
        for row in rows:
            file.write(as_line(row))
            count += 1
    return count


def append(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Adds rows at the end of a file, in one write of whole lines."""
    text = ''.join(map(as_line, rows)).encode()
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('ab') as file:
            file.write(text)
    except OSError as error:
        raise UserError(f'cannot write {path}: {error.strerror}') from None


def finished(path: str | os.PathLike) -> list[Row]:
    """The rows that an earlier, perhaps killed, run appended; cuts off a torn last line.

    Returns:
      Its rows, or none where there is no file.

    Raises:
      UserError: a whole line is no row with an id: the file is not one that we wrote.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from None
    whole = data[: data.rfind(b'\n') + 1]
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        row, why = parse(line)
        if row is None or 'id' not in row:
            raise UserError(
                f'{path}, line {number}: {why or "no id"}; this is no output to go on from: '
                'remove it, or name another file'
            )
        rows.append(row)
    if len(whole) < len(data):
        if data[len(whole) :][:1] != b'{':
            raise UserError(f'{path} ends in a line that is no torn row: it is no output to go on '
                            'from; remove it, or name another file')
        with path.open('r+b') as file:
            file.truncate(len(whole))
    return rows
