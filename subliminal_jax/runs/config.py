"""From a command line to a typed config: `--config=FILE` and `--config.a.b=value`.

ml_collections holds what a config file returns. Its own flag raises a bare AttributeError for an
unknown name, loads the file lazily, and lets ill-typed lists through; so the parsing is here, and
every value passes the experiment's schema.
"""

import json
import os
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.runs import schema
from subliminal_jax.runs.app import unknown_name
from subliminal_jax.runs.errors import UserError
from subliminal_jax.runs.experiment import Experiment, Table
from subliminal_jax.runs.reading import local_path

PREFIX = '--config'


class Loaded(NamedTuple):
    """An experiment's name, its row in the table, and its typed config."""

    name: str
    experiment: Experiment
    config: Any


def load(arguments: Sequence[str], table: Table) -> Loaded:
    """Reads `--config=FILE` and its overrides.

    Args:
      arguments: the command line's arguments that begin with `--config`, in order.
      table: of experiments.

    Raises:
      UserError: no file, a missing or broken one, an unknown or ill-typed field, each in one line.
    """
    path, overrides = _split(arguments)
    return _made(_values(path), overrides, table)


def of_values(values: Mapping[str, Any], arguments: Sequence[str], table: Table) -> Loaded:
    """As `load`, of a program that makes the values itself; `arguments` are overrides alone.

    Raises:
      UserError: as `load`; a config file among the arguments.
    """
    path, overrides = _split([f'{PREFIX}=', *arguments])
    if str(path) != '.':
        raise UserError(f'{PREFIX}={path}: this program makes its config of its own flags; set '
                        f'single fields, {PREFIX}.FIELD=value')
    return _made(dict(values), overrides, table)


def _made(values: dict[str, Any], overrides: Mapping[str, str], table: Table) -> Loaded:
    name = values.pop('experiment', None)
    if not isinstance(name, str) or name not in table:
        raise unknown_name('experiment (field `experiment` of the config file)', str(name),
                           list(table))
    experiment = table[name]()
    make = experiment.config
    base = make() if isinstance(make, type) else make(values)
    config = schema.build(type(base), values, base)
    return Loaded(name, experiment, schema.override(config, _grids(type(base), overrides)))


def of_folder(folder: pathlib.Path, table: Table) -> Loaded:
    """The config that a run's folder was made with.

    Raises:
      UserError: no run there, or one of another version of the project.
    """
    place = folder / 'config.json'
    try:
        values = dict(json.loads(place.read_text(encoding='utf-8')))
        name = values.pop('experiment')
        make = table[name]().config
        base = make() if isinstance(make, type) else make(values)
        return Loaded(name, table[name](), schema.build(type(base), values, base))
    except FileNotFoundError:
        raise UserError(f'{folder} is no run: it has no config.json') from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{place} is no config of a run: {type(error).__name__}: {error}'
                        ) from None
    except UserError as error:
        raise UserError(f'{folder} was made by another version of the project: {error}') from None


def _split(arguments: Sequence[str]) -> tuple[pathlib.Path, dict[str, str]]:
    path, overrides = None, {}
    for argument in arguments:
        name, equals, value = argument.partition('=')
        if not equals:
            raise UserError(f'{argument}: write {name}=VALUE')
        if name == PREFIX:
            path = pathlib.Path(local_path('config', value))
        elif name.startswith(PREFIX + '.'):
            overrides[name.removeprefix(PREFIX + '.')] = value
        else:
            raise unknown_name('flag', name.removeprefix('--'), ['config', 'workdir'])
    if path is None:
        raise UserError('no config: pass --config=configs/NAME.py')
    return path, overrides


def _grids(config_schema: type, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Gathers `sweep.FIELD=a,b` overrides into the one grid field they belong to."""
    kinds = {n: kind for n, kind, _ in schema.describe(config_schema)}
    gathered: dict[str, Any] = {}
    for name, value in overrides.items():
        group = name.partition('.')[0]
        if '.' in name and kinds.get(group, '').startswith('a grid'):
            gathered.setdefault(group, {})[name.partition('.')[2]] = value
        else:
            gathered[name] = value
    return gathered


def _values(path: pathlib.Path) -> dict[str, Any]:
    if not os.path.isfile(path):
        near = sorted(p.name for p in path.parent.glob('*.py') if p.name != '__init__.py')
        hint = f' (there: {", ".join(near)})' if near else ''
        raise UserError(f'no config file {path}{hint}')
    try:
        namespace = runpy.run_path(str(path))
        config = namespace['get_config']()
    except KeyError as error:
        raise UserError(f'{path} cannot be used: no {error.args[0]} in it') from None
    except UserError:
        raise
    except Exception as error:  # whatever a user's file raises
        raise UserError(f'{path} cannot be loaded: {type(error).__name__}: {error}') from None
    to_dict = getattr(config, 'to_dict', None)
    if to_dict is None:
        raise UserError(f'{path}: get_config() must return an ml_collections ConfigDict')
    return to_dict()
