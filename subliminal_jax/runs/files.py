"""The one writer of files: what is written appears whole or not at all, and nothing that others
made is removed or shortened. Reading is in runs/reading.py."""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from subliminal_jax.runs.errors import UserError
from subliminal_jax.runs.reading import check_file, kind_of

ASIDE = '.partial'  # ends the name of a folder in which something is being written
STREAM = re.compile(r'/dev/(stdin|stdout|stderr|fd/\d+)|/proc/\w+/fd/\d+')


class Form(NamedTuple):
    """What a program writes: its name, and what a file of it begins with."""

    name: str
    begins: bytes


ROWS = Form('file of rows (JSONL)', b'{')
JSON_OBJECT = Form('JSON object', b'{')
PAGE = Form('page of this project', b'<!doctype html><html lang="en"><head><meta charset="utf-8">')


def is_stream(path: str | os.PathLike) -> bool:
    """Whether what is written there goes on at once: a device, or an open output by its name."""
    return kind_of(path) == 'a device' or bool(STREAM.fullmatch(os.path.abspath(path)))


def check_output(path: str | os.PathLike, form: Form | None = None, stream: bool = True) -> None:
    """Refuses, before anything is computed, an output that would destroy or could not be written.

    Args:
      path: of the output; a link stands for what it leads to.
      form: of a program's own output: what a file that stands there already must be, to be
        replaced; it may not lie in a run's folder.
      stream: a device such as /dev/null will do.

    Raises:
      UserError: a folder, a pipe or a disk; a file of another form; no right to write.
    """
    if is_stream(path):
        if not stream:
            raise UserError(f'{path} is a device: what is written is read again, so name a file')
        return
    if kind := kind_of(path):
        raise UserError(f'cannot write {path}: it is {kind}: name a file')
    place = pathlib.Path(os.path.realpath(path))
    above = next((p for p in (place, *place.parents) if os.path.lexists(p)), place)
    if (above != place and not above.is_dir()) or not os.access(above, os.W_OK):
        why = 'may not be written' if above == place or above.is_dir() else 'is no folder'
        raise UserError(f'cannot write {path}: {above} {why}')
    if form:
        _check_no_run(path, place)
    if form and place.exists():
        with place.open('rb') as file:
            begins = file.read(len(form.begins) + 64).removeprefix(b'\xef\xbb\xbf').lstrip()
        if begins and not begins.startswith(form.begins):
            raise UserError(f'{path} exists and is no {form.name}: it stays as it is; remove it, '
                            'or name another file')


def _check_no_run(path, place):
    for above in place.parents:
        if (above / 'manifests').is_dir() and (above / 'config.json').is_file():
            raise UserError(f'cannot write {path}: it is inside the folder of a run, {above}: name '
                            'a file outside it')


def check_apart(reads: Mapping[str, str | None], writes: Mapping[str, str | None]) -> None:
    """Refuses outputs that are inputs, lie in a folder that is read, or are one another.

    Args:
      reads: what a program reads, by flag; an empty path is none.
      writes: what it writes, by flag.

    Raises:
      UserError: it names both flags.
    """
    seen = {}
    for flag, path in [*reads.items(), *writes.items()]:
        if not path or (flag in writes and is_stream(path)):
            continue
        place = os.path.realpath(os.path.expanduser(path))
        for other, known in seen.items():
            same = place == known or (os.path.exists(place) and os.path.exists(known)
                                      and os.path.samefile(place, known))
            if same and flag in writes:
                raise UserError(f'--{other} and --{flag} name the same file: {path}')
            if flag in writes and other in reads and os.path.isdir(known) and place.startswith(
                    known + os.sep):
                raise UserError(f'--{flag}={path} lies in the folder of --{other}, {known}: name '
                                'a file outside it')
        seen[flag] = place


@contextlib.contextmanager
def written_aside(path: str | os.PathLike, form: Form | None = None, ours: bool = False
                  ) -> Iterator[pathlib.Path]:
    """Yields a path of its own; what is written there takes the place of `path` at the end, and
    nothing does if the block raises.

    A link's target is written, and a device is handed the bytes.

    Args:
      path: of the file, or folder.
      form: what a file that stands there must be (`check_output`).
      ours: what stands there was made by us, so that a folder may be replaced.

    Raises:
      UserError: as `check_output`, and what the system says of the writing, such as a full disk.
    """
    if not ours:
        check_output(path, form)
    stream, place = is_stream(path), pathlib.Path(os.path.realpath(path))
    with _written(path):
        if not stream:
            place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
                prefix='.', suffix=ASIDE, dir=None if stream else place.parent,
                ignore_cleanup_errors=True) as folder:
            aside = pathlib.Path(folder) / (place.name or 'new')
            yield aside
            if stream:
                with open_stream(path) as file, aside.open('rb') as made:
                    shutil.copyfileobj(made, file)
                return
            if place.is_dir() and ours:
                shutil.rmtree(place)  # a folder cannot be renamed over a full one
            elif place.is_file() and aside.is_file():
                shutil.copymode(place, aside)
            os.replace(aside, place)


def sweep(folder: pathlib.Path) -> None:
    """Removes what killed writers left in a folder of ours that nobody else writes in."""
    for left in folder.rglob(f'.*{ASIDE}'):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def open_stream(path: str | os.PathLike):
    """A device or an open output, to be written on at its end; nothing of it is shortened."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)  # never waits for a reader
    os.set_blocking(handle, True)
    return os.fdopen(handle, 'ab')


@contextlib.contextmanager
def _written(path) -> Iterator[None]:
    """Turns what the system says while an output is written into a UserError."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or '')
        if error.errno is None or not (ASIDE in where
                                       or os.path.realpath(path).startswith(where)):
            raise  # it is about another file
        what = os.strerror(error.errno)
        more = ': make room' if error.errno in (errno.ENOSPC, errno.EDQUOT) else ''
        raise UserError(f'cannot write {path}: {what}{more}') from None


def append_text(path: str | os.PathLike, text: str) -> None:
    """Adds a text at the end of a file, in one write; a device is handed it.

    Raises:
      UserError: what the system says.
    """
    with _written(path):
        if is_stream(path):
            with open_stream(path) as file:
                file.write(text.encode())
            return
        place = pathlib.Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open('ab') as file:
            file.write(text.encode())


def cut(path: str | os.PathLike, size: int) -> None:
    """Shortens a file of ours to so many bytes: a kill has torn its last line."""
    with _written(path), pathlib.Path(path).open('r+b') as file:
        file.truncate(size)


def visible(text: str) -> str:
    """A text whose control and direction characters are spelled out: \\x00, \\u202e."""
    return ''.join(c if c.isprintable() or c == '\n' else c.encode('unicode_escape').decode()
                   for c in text)


def write_text(path: str | os.PathLike, text: str, form: Form | None = None) -> None:
    """Writes a text as UTF-8, whole or not at all."""
    with written_aside(path, form) as aside:
        aside.write_text(text, encoding='utf-8')


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON whose numbers are finite or null."""
    write_text(path, json.dumps(finite(value), indent=1, allow_nan=False) + '\n')


def finite(value: Any) -> Any:
    """A JSON tree with NumPy and JAX numbers made plain, and NaN and infinity made null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if hasattr(value, 'tolist'):
        return finite(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def sha256(path: pathlib.Path) -> str:
    """The SHA-256 of a file, or of a folder's sorted relative names and files.

    Raises:
      UserError: nothing, or no file that can be read, is there.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for inner in sorted(p for p in path.rglob('*') if p.is_file()):
            digest.update(inner.relative_to(path).as_posix().encode() + b'\0')
            digest.update(bytes.fromhex(sha256(inner)))
        return digest.hexdigest()
    check_file(path)
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical spelling."""
    text = json.dumps(finite(value), sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()
