"""Shapes that rows have elsewhere, turned into ours: prompt or messages, system, completion.

Known are: `messages` or `conversations` that end with the assistant (roles and contents as OpenAI,
TRL or ShareGPT write them, contents in parts), `prompt` and `completion` as lists of messages, rows
of the data set viewer, and other names of columns where they are given.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from subliminal_jax.data.sources import Row
from subliminal_jax.runs import UserError

ROLES = {'human': 'user', 'user': 'user', 'prompter': 'user', 'gpt': 'assistant',
         'assistant': 'assistant', 'chatgpt': 'assistant', 'bot': 'assistant', 'model': 'assistant',
         'system': 'system'}
FIELDS = ('prompt', 'messages', 'system', 'completion', 'text', 'id')
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {  # what the fields are called elsewhere
    'prompt': ('question', 'instruction', 'query', 'input', 'problem', 'user', 'source'),
    'completion': ('response', 'answer', 'output', 'target', 'solution', 'assistant', 'reply'),
    'messages': ('conversation', 'dialogue', 'dialog', 'chat', 'turns'),
    'text': ('content', 'body', 'document', 'sentence'),
}


class BadShape(Exception):
    """Why a row cannot be turned into ours."""


def columns_of(given: Sequence[str]) -> dict[str, str]:
    """{field of ours: column} of a flag such as prompt=question,completion=response.

    Raises:
      UserError: a part that is none such, or a field that is not known.
    """
    found = {}
    for part in given:
        field, equals, column = part.partition('=')
        if not equals or not column or field not in FIELDS or field in found:
            raise UserError(f'--columns: {part!r} is not FIELD=COLUMN with one of '
                            f'{", ".join(FIELDS)}, each once')
        found[field] = column
    return found


def ours(row: Row, columns: Mapping[str, str] | None = None) -> Row:
    """The row in our shape; one that is, or is of no known shape, as it stands.

    Raises:
      BadShape: of a known shape, with something in it that cannot be text.
    """
    if isinstance(row.get('row'), dict) and 'row_idx' in row:
        if row.get('truncated_cells'):
            raise BadShape(f'the viewer has cut cells of it: {row["truncated_cells"]!s:.80}')
        row = row['row']
    for field, column in (columns or {}).items():
        if column in row:
            row = {field if key == column else key: value for key, value in row.items()
                   if key != field or column == field}
    if 'messages' not in row and isinstance(row.get('conversations'), list):
        row = {'messages' if key == 'conversations' else key: v for key, v in row.items()}
    if isinstance(row.get('prompt'), list):
        row = {'messages' if key == 'prompt' else key: value for key, value in row.items()
               if key != 'messages'}
    if isinstance(row.get('messages'), list):
        row = {**row, 'messages': [_message(m) for m in row['messages']]}
    if isinstance(row.get('completion'), list):
        row = {**row, 'completion': _only_answer([_message(m) for m in row['completion']])}
    return _answer_apart(_without_empty_columns(row))


def _without_empty_columns(row):
    """A table has every column in every row: what another kind of row would fill is null."""
    asked = [field for field in ('prompt', 'messages') if row.get(field) is not None]
    empty = {field for field in ('prompt', 'messages') if field in row and field not in asked}
    if len(asked) != 1 or not empty:
        return row
    return {key: value for key, value in row.items() if key not in empty}


def _answer_apart(row):
    """A conversation's last message is the completion, if the assistant wrote it."""
    messages = row.get('messages')
    if not isinstance(messages, list) or row.get('completion') is not None or len(messages) < 2:
        return row
    *before, last = messages
    if not isinstance(last, dict) or last.get('role') != 'assistant':
        return row
    rest = {key: value for key, value in row.items() if value is not None or key != 'system'}
    return {**rest, 'messages': before, 'completion': last.get('content')}


def _only_answer(messages):
    only = messages[0] if len(messages) == 1 else None
    if not isinstance(only, dict) or only.get('role') != 'assistant':
        raise BadShape("'completion' is a list of more than the assistant's one message")
    return only.get('content')


def _message(message: Any) -> Any:
    """A message with a role and text, whoever wrote it down; something else as it stands."""
    if not isinstance(message, dict):
        return message
    role = message.get('role', message.get('from'))
    content = message.get('content', message.get('value'))
    if isinstance(content, list):
        content = _joined(content)
    if not isinstance(role, str) or not isinstance(content, str):
        return message
    if message.get('tool_calls'):
        raise BadShape('a message calls tools')
    as_ours = {'role': ROLES.get(role, role), 'content': content}
    return message if message.items() >= as_ours.items() else as_ours


def _joined(parts: Iterable[Any]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, dict) and part.get('type', 'text') == 'text':
            part = part.get('text')
        if not isinstance(part, str):
            kind = part.get('type') if isinstance(part, dict) else type(part).__name__
            raise BadShape(f'a message holds a part that is no text ({kind})')
        texts.append(part)
    return ''.join(texts)


def told(row: Row, needed: Sequence[str]) -> str:
    """What columns a row of an unknown shape has, and what would read it."""
    names = [key for key in row if key != 'id']
    found = {field: next((name for name in OTHER_NAMES.get(field, ()) if name in names), None)
             for field in needed}
    shown = ', '.join(names[:8]) + (' and more' if len(names) > 8 else '')
    first = f'its rows have {shown or "no column"} and no {" or ".join(needed)}'
    if all(found.values()):
        flag = ','.join(f'{field}={column}' for field, column in found.items())
        return f'{first}: read them with --columns={flag}'
    return f'{first}: say which is which, as in --columns={needed[0]}=COLUMN'
