"""A config's schema: a frozen dataclass whose fields say type, default, range and meaning, once.

    @dataclasses.dataclass(frozen=True)
    class MyConfig:
        num_models: int = spec(16, ge=1, doc='independent models')
        hidden_sizes: tuple[int, ...] = spec((256, 256), gt=0, doc='widths of the hidden layers')
        teacher: TeacherConfig = nested(TeacherConfig)

A config file (`configs/NAME.py`) returns a ConfigDict that names the experiment and what differs
from the defaults; the command line overrides further. `build` makes the typed config of both, or
raises one clear line. Types: bool, int, float, str, `X | None`, `tuple[X, ...]`,
`dict[str, tuple[str, ...]]` (a grid) and other schema dataclasses.
"""

import ast
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError

GRID = dict[str, tuple[str, ...]]
MOST = 1_000_000  # of a count: what is larger says so in its field
MOST_CELLS = 10_000  # combinations of a grid
MOST_SEED = 2**32 - 1  # what a key is made of
SHOWN = 60  # characters of a value in an error


def spec(
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] | None = None,
    min_len: int = 0,
    unique: bool = False,
    changes_nothing: bool = False,
    doc: str,
) -> Any:
    """A field with its default, its range (of every element, for a tuple) and its meaning.

    A whole number without `le` or `lt` is at most MOST. A tuple with `choices`, or `unique`, names
    nothing twice.

    With `changes_nothing` no artefact depends on it: a run may go on with another value.
    """
    rules = {'ge': ge, 'gt': gt, 'le': le, 'lt': lt, 'choices': choices, 'min_len': min_len,
             'unique': unique or choices is not None}
    metadata = {'rules': rules, 'doc': doc, 'changes_nothing': changes_nothing}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def nested(schema: type, **defaults: Any) -> Any:
    """A field that is itself a config; `defaults` override the nested schema's own."""
    return dataclasses.field(default_factory=lambda: schema(**defaults), metadata={'doc': ''})


def build(schema: type, values: Mapping[str, Any], base: Any = None, prefix: str = '') -> Any:
    """Makes a typed config from plain values.

    Args:
      schema: a frozen dataclass of `spec` and `nested` fields.
      values: names to values or, from the command line, to texts; nested mappings for nested
        configs.
      base: the config whose values hold where `values` is silent; None takes the defaults.
      prefix: of the names in messages.

    Raises:
      UserError: an unknown name (with the nearest known one), an ill-typed or forbidden value.
    """
    base = schema() if base is None else base
    hints = typing.get_type_hints(schema)
    fields = {f.name: f for f in dataclasses.fields(schema)}
    changes = {}
    for name, value in values.items():
        full = f'{prefix}{name}'
        if name not in fields:
            raise unknown_name('config field', full, [prefix + n for n in names(schema)])
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise UserError(f'config.{full} is a group of fields: set one of them, such as '
                                f'config.{full}.{dataclasses.fields(kind)[0].name}')
            changes[name] = build(kind, value, getattr(base, name), full + '.')
        elif kind == GRID:
            changes[name] = _grid(value, full)
        else:
            changes[name] = _checked(_convert(kind, value, full), fields[name], full)
    return dataclasses.replace(base, **changes)


def names(schema: type) -> list[str]:
    """Every field's dotted name."""
    return [name for name, _ in _leaves(schema)]


def changing_nothing(schema: type) -> list[str]:
    """The dotted names of the fields that a run may go on with other values of."""
    return [name for name, field in _leaves(schema) if field.metadata.get('changes_nothing')]


def _leaves(schema, prefix=''):
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from _leaves(kind, f'{prefix}{field.name}.')
        else:
            yield prefix + field.name, field


def describe(schema: type, prefix: str = '') -> list[tuple[str, str, str]]:
    """(dotted name, type, meaning) of every field, for help texts."""
    hints = typing.get_type_hints(schema)
    rows = []
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            rows += describe(kind, f'{prefix}{field.name}.')
        else:
            rows.append((prefix + field.name, _type_name(kind), field.metadata['doc']))
    return rows


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values (tuples become lists)."""

    def plain(value):
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        return value

    return plain(config)


def override(config: Any, overrides: Mapping[str, Any]) -> Any:
    """A config with dotted names set, checked as the command line's are."""
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        place = values
        *groups, last = name.split('.')
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise UserError(f'config.{name}: {group} is set twice')
        place[last] = value
    return build(type(config), values, config)


def _type_name(kind: Any) -> str:
    if kind == GRID:
        return 'a grid of fields and values'
    if typing.get_origin(kind) is tuple:
        return f'a list of {typing.get_args(kind)[0].__name__}'
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        inner = [a for a in typing.get_args(kind) if a is not type(None)]
        return f'{_type_name(inner[0])} or none'
    return kind.__name__


def _convert(kind: Any, value: Any, name: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.lower() in ('none', 'null')):
            return None
        inner = [a for a in typing.get_args(kind) if a is not type(None)]
        return _convert(inner[0], value, name)
    if origin is tuple:
        element = typing.get_args(kind)[0]
        if isinstance(value, str):
            stripped = value.strip().strip('()[]')
            value = [part.strip().strip('\'"') for part in stripped.split(',') if part.strip()]
        if not isinstance(value, Sequence):
            value = [value]
        return tuple(_convert(element, v, name) for v in value)
    try:
        return _SCALARS[kind](value)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f'config.{name} must be {_type_name(kind)}, not {_shown(value)}') from None


def _shown(value):
    text = repr(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}...'


def _bool(value):
    text = str(value).lower()
    if text not in ('true', 'false', '1', '0', 'yes', 'no'):
        raise ValueError
    return text in ('true', '1', 'yes')


def _int(value):
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError
    if isinstance(value, str):
        return int(value.replace('_', '').strip())
    return int(value)


def _float(value):
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _str(value):
    if not isinstance(value, str):
        raise TypeError
    return value


_SCALARS = {bool: _bool, int: _int, float: _float, str: _str}


def _checked(value: Any, field: dataclasses.Field, name: str) -> Any:
    rules = field.metadata['rules']
    elements = value if isinstance(value, tuple) else (value,)
    if len(elements) < rules['min_len']:
        raise UserError(f'config.{name} needs at least {rules["min_len"]} value(s)')
    if rules['unique'] and (twice := [e for e in elements if elements.count(e) > 1]):
        raise UserError(f'config.{name} names {_shown(twice[0])} twice')
    for element in elements:
        if element is None:
            continue
        if rules['choices'] is not None and element not in rules['choices']:
            raise unknown_name(f'value of config.{name}', str(element),
                               [str(c) for c in rules['choices']])
        for rule, sign, holds in (
            ('ge', '>=', lambda v, bound: v >= bound), ('gt', '>', lambda v, bound: v > bound),
            ('le', '<=', lambda v, bound: v <= bound), ('lt', '<', lambda v, bound: v < bound),
        ):
            bound = rules[rule]
            if rule == 'le' and bound is None and rules['lt'] is None and type(element) is int:
                bound = MOST
            if bound is not None and not holds(element, bound):
                raise UserError(f'config.{name} must be {sign} {bound}, not {_shown(element)}')
    return value


def _grid(value: Any, name: str) -> GRID:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise UserError(f"config.{name} must be a grid such as {{'num_aux': (1, 2)}}, "
                            f'not {_shown(value)}') from None
    if not isinstance(value, Mapping):
        raise UserError(f'config.{name} must map field names to lists of values, not '
                        f'{_shown(value)}')
    grid = {}
    for field, choices in value.items():
        if isinstance(choices, str):
            choices = [c.strip() for c in choices.strip('()[]').split(',') if c.strip()]
        elif not isinstance(choices, Sequence):
            choices = [choices]
        if not choices:
            raise UserError(f'config.{name}.{field} has no values')
        grid[str(field)] = tuple(_literal(c) for c in choices)
        if len(set(grid[str(field)])) < len(grid[str(field)]):
            raise UserError(f'config.{name}.{field} has a value twice')
    if math.prod(map(len, grid.values())) > MOST_CELLS:
        raise UserError(f'config.{name} has over {MOST_CELLS} combinations: sweep fewer values')
    return grid


def _literal(value: Any) -> str:
    """One choice of a grid as the text that the command line would give."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ','.join(str(v) for v in value)
    return str(value)
