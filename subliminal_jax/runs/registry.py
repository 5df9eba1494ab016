"""Tables that a new kind of thing is added to by one registration."""

from typing import Any

from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError


class Registry(dict):
    """Rows by name; a text such as 'lora:8' names a row ('lora') and what it is given ('8')."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what

    def register(self, row: Any) -> Any:
        """Adds a row under its `name` and returns it.

        Raises:
          UserError: the name is taken.
        """
        if row.name in self:
            raise UserError(f'there is a {self.what} called {row.name!r} already')
        self[row.name] = row
        return row

    def find(self, text: str) -> tuple[Any, str]:
        """(the row that a text names, what follows the colon).

        Raises:
          UserError: no such row; the nearest known one is named.
        """
        name, _, rest = text.partition(':')
        return self.row(name), rest

    def row(self, name: str) -> Any:
        """The row of that very name; errors as of `find`."""
        if name not in self:
            raise unknown_name(self.what, name, tuple(self))
        return self[name]
