"""The one reader of files: a regular file's text or JSON, or one line that says what is wrong."""

import json
import os
import pathlib
import re
import stat
from typing import Any

from subliminal_jax.runs.errors import UserError

LONGEST_NAME = 255  # bytes of one part of a path, on every file system in use
LARGEST = 1 << 28  # bytes of a file that is read as a whole
DEEPEST = 100  # levels of JSON: what is deeper ends the recursion of whoever walks it
KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a pipe'), (stat.S_ISCHR, 'a device'),
         (stat.S_ISBLK, 'a disk'), (stat.S_ISSOCK, 'a socket'))


def local_path(flag: str, value: str) -> str:
    """A path of this machine's files, as it stands.

    Args:
      flag: the name of the flag or field that gave it, for the error.
      value: the path.

    Raises:
      UserError: an address such as gs://bucket/run, which would become a folder named `gs:`; the
        home of a user who is not there; a name that no file can have.
    """
    text = str(value)
    if found := re.match(r'[A-Za-z][A-Za-z0-9+.-]+:/', text):
        raise UserError(f'--{flag}={value}: {found[0]}/ is not a path of this machine, and nothing '
                        'is read or written there: give a local path, and copy it afterwards')
    if '\0' in text or any(len(os.fsencode(part)) > LONGEST_NAME for part in text.split('/')):
        raise UserError(f'--{flag}={text[:40]!r}... is no path: a name in it has over '
                        f'{LONGEST_NAME} bytes, or a zero byte')
    if text.startswith('~') and os.path.expanduser(text) == text:
        raise UserError(f'--{flag}={value}: there is no user {text[1:].partition("/")[0]!r} here')
    return value


def kind_of(path: str | os.PathLike) -> str | None:
    """What stands at a path and is no regular file, in words; None for one, and for nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return next((name for is_kind, name in KINDS if is_kind(mode)), None)


def check_file(path: str | os.PathLike) -> None:
    """Raises UserError unless a regular file, or a link to one, stands there.

    A pipe or a device would hang, never end, or be empty when it is read again.
    """
    if kind := kind_of(path):
        raise UserError(f'cannot read {path}: it is {kind}, and a file is needed'
                        + ('' if kind == 'a folder' else ' (it is read more than once): write what '
                           'comes out of it to a file, and name that'))
    if not os.path.exists(path):
        raise UserError(f'no such file: {path}')


def read_bytes(path: str | os.PathLike, most: int = LARGEST) -> bytes:
    """What a regular file holds. Raises UserError: none, unreadable, or over `most` bytes."""
    check_file(path)
    try:
        if os.path.getsize(path) > most:
            raise UserError(f'cannot read {path}: it has {os.path.getsize(path)} bytes, and {most} '
                            'are the most')
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from None


def read_text(path: str | os.PathLike) -> str:
    """The UTF-8 text of a regular file, without a byte-order mark.

    Raises:
      UserError: what `read_bytes` says, or no UTF-8.
    """
    try:
        return read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError:
        raise UserError(f'{path} is not UTF-8 text') from None


def read_json(path: str | os.PathLike, advice: str = '', kind: type = dict) -> Any:
    """The JSON value of a file.

    Args:
      path: of the file.
      advice: what to do where it is damaged, for the error.
      kind: of the value: dict or list.

    Raises:
      UserError: what `read_text` says; no JSON, nested more than DEEPEST levels, or a value of
        another kind.
    """
    advice = advice and f'; {advice}'
    try:
        value = parsed(read_text(path))
    except UserError as error:
        raise UserError(f'{error}{advice}') from None
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}{advice}') from None
    if not isinstance(value, kind):
        raise UserError(f'{path} is damaged: it holds {_json_name(value)} where '
                        f'{_json_name(kind())} is needed{advice}')
    return value


def parsed(text: str) -> Any:
    """The JSON value of a text. Raises ValueError, in words: no JSON, or nested too deeply."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'not JSON ({error.msg} at character {error.pos + 1})') from None
    except (RecursionError, ValueError):
        raise ValueError('not JSON that can be read (nested too deeply, or a number too long)'
                         ) from None
    level, depth = [value], 0
    while level := [x for v in level if isinstance(v, dict | list)
                    for x in (v.values() if isinstance(v, dict) else v)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError('not JSON that can be read (nested too deeply, or a number too long)')
    return value


def _json_name(value):
    return {dict: 'an object', list: 'a list', str: 'a text', bool: 'true or false',
            type(None): 'null'}.get(type(value), 'a number')
