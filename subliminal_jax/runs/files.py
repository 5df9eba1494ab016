"""Files that appear whole or not at all, and their hashes."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

from subliminal_jax.runs.errors import UserError


def local_path(flag: str, value: str) -> str:
    """A path of this machine's files, as it stands.

    Args:
      flag: the name of the flag or field that gave it, for the error.
      value: the path.

    Raises:
      UserError: an address such as gs://bucket/run, which would become a folder named `gs:`.
    """
    if found := re.match(r'[A-Za-z][A-Za-z0-9+.-]+:/', str(value)):
        raise UserError(f'--{flag}={value}: {found[0]}/ is not a path of this machine, and nothing '
                        'is read or written there: give a local path, and copy it afterwards')
    return value


@contextlib.contextmanager
def written_aside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path beside `path`; what is written there (file or folder) takes its place at the
    end, and nothing does if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.name}.partial')
    remove(aside)
    yield aside
    if path.is_dir():
        shutil.rmtree(path)  # a folder cannot be renamed over a full one
    os.replace(aside, path)


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def visible(text: str) -> str:
    """A text whose control and direction characters are spelled out: \\x00, \\u202e."""
    return ''.join(c if c.isprintable() or c == '\n' else c.encode('unicode_escape').decode()
                   for c in text)


def write_text(path: pathlib.Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding='utf-8')


def write_json(path: pathlib.Path, value: Any) -> None:
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
    """The SHA-256 of a file, or of a folder's sorted relative names and files."""
    digest = hashlib.sha256()
    if path.is_dir():
        for inner in sorted(p for p in path.rglob('*') if p.is_file()):
            digest.update(inner.relative_to(path).as_posix().encode() + b'\0')
            digest.update(bytes.fromhex(sha256(inner)))
        return digest.hexdigest()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical spelling."""
    text = json.dumps(finite(value), sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()
