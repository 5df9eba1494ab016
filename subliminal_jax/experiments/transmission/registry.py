"""Tables that a new kind of thing is added to by one registration."""

from typing import Any

from subliminal_jax.runs import UserError, unknown_name


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
        if name not in self:
            raise unknown_name(self.what, name, tuple(self))
        return self[name], rest


def whole_number(text: str) -> int:
    """A positive whole number, or 0 where the text is none."""
    return int(text) if text.isdigit() else 0


def positive(text: str) -> float:
    """A positive number, or 0 where the text is none."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0


def rank_of(text: str) -> int:
    """R of lora:R, 0 of anything else."""
    kind, _, rest = text.partition(':')
    return whole_number(rest) if kind == 'lora' else 0
