"""A table of a config as lines of text, a row each:

    'NAME: field=value field=value'

What a line leaves out holds the defaults of its schema, which has a field `name`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from subliminal_jax.runs import schema
from subliminal_jax.runs.errors import UserError

Row = TypeVar('Row')


def parse(
    kind: str, lines: Sequence[str], build: Callable[[dict[str, str]], Row]
) -> list[Row]:
    """The rows of a table, each with a name of its own.

    Args:
      kind: what a row is called in messages, such as 'arm'.
      lines: of the table.
      build: a line's fields, its `name` among them -> the row; may raise UserError.

    Raises:
      UserError: a line that cannot be read, an unknown field, two rows of one name.
    """
    rows = [_row(kind, line, build) for line in lines]
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two {kind}s are called {name!r}: give each its own name')
    return rows


def _row(kind: str, line: str, build: Callable[[dict[str, str]], Any]) -> Any:
    name, _, fields = line.partition(':') if ':' in line.split(' ')[0] else (line, '', '')
    name = name.strip()
    if not name or not all(c.isalnum() or c in '_-.' for c in name):
        raise UserError(f'the {kind} {line!r} needs a name of letters, digits, . - or _ before its '
                        'colon')
    values = {'name': name}
    for part in fields.split():
        field, equals, value = part.partition('=')
        if not equals:
            raise UserError(f'the {kind} {name!r} has {part!r} where FIELD=VALUE is needed')
        values[field] = value
    try:
        return build(values)
    except UserError as error:
        raise UserError(f'{kind} {name}: {str(error).replace("config.", "")}') from None


def changed(row: Any) -> dict[str, Any]:
    """The fields of a row that differ from its schema's defaults, without its name."""
    default = type(row)()
    return {name: getattr(row, name) for name in schema.names(type(row))
            if name != 'name' and getattr(row, name) != getattr(default, name)}
