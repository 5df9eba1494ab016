"""Answers of an endpoint on disk, by content: what was paid for once is not paid for again.

An entry's name is the SHA-256 of everything that was sent but the key. It appears whole or not at
all; one that is damaged counts as absent and is written anew. Several processes may share a folder.
"""

import pathlib
from typing import Any, NamedTuple

from subliminal_jax.runs import UserError, read_json, sha256_of, write_json


class Reply(NamedTuple):
    """What a model said, and the tokens that it read and wrote (None where it did not tell)."""

    text: str
    read: int | None = None
    written: int | None = None


def entry_path(folder: pathlib.Path, sent: Any) -> pathlib.Path:
    """The file of a request; `sent` is JSON."""
    name = sha256_of(sent)
    return folder / name[:2] / f'{name}.json'


def load(folder: pathlib.Path | None, sent: Any) -> Reply | None:
    """The reply to a request, or None where none is kept, or none that is whole."""
    if folder is None:
        return None
    path = entry_path(folder, sent)
    try:
        entry = read_json(path)
        reply = Reply(*(entry[field] for field in Reply._fields))
        whole = entry['sha256'] == _digest(path.stem, reply) and isinstance(reply.text, str)
    except (UserError, KeyError, TypeError):
        return None
    return reply if whole else None


def save(folder: pathlib.Path | None, sent: Any, reply: Reply) -> None:
    """Keeps a reply.

    Raises:
      UserError: the folder cannot be written.
    """
    if folder is None:
        return
    path = entry_path(folder, sent)
    entry = {**reply._asdict(), 'sha256': _digest(path.stem, reply)}
    try:
        write_json(path, entry)
    except UserError as error:
        raise UserError(f"the judge's cache cannot be written ({error}): name another folder with "
                        '--cache') from None


def _digest(name: str, reply: Reply) -> str:
    return sha256_of([name, *reply])
