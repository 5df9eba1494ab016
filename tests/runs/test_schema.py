"""Typed configs: what a field accepts, and the one line that a wrong value gets."""

import dataclasses

import pytest

from subliminal_jax.runs import GRID, UserError, nested, override, spec, to_dict
from subliminal_jax.runs.schema import build, describe


@dataclasses.dataclass(frozen=True)
class Inner:
    epochs: int = spec(5, ge=1, doc='passes')


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = spec(0, ge=0, doc='root')
    rate: float = spec(1e-3, gt=0, doc='rate')
    flag: bool = spec(True, doc='a switch')
    kind: str = spec('adam', choices=('adam', 'sgd'), doc='which')
    widths: tuple[int, ...] = spec((4, 4), ge=1, doc='widths')
    names: tuple[str, ...] = spec(('a',), choices=('a', 'b'), min_len=1, doc='names')
    limit: float | None = spec(None, ge=0, doc='limit')
    inner: Inner = nested(Inner, epochs=2)
    sweep: GRID = spec({}, doc='grid')


def test_values_arrive_typed_from_text_and_from_python():
    made = build(Config, {
        'seed': '1_000', 'rate': '3e-4', 'flag': 'false', 'widths': '8', 'names': 'b, a',
        'limit': '2', 'inner': {'epochs': '7'}, 'sweep': "{'rate': (1, 2), 'widths': ['4,4', 9]}"})
    assert made == Config(1000, 3e-4, False, 'adam', (8,), ('b', 'a'), 2.0, Inner(7),
                          {'rate': ('1', '2'), 'widths': ('4,4', '9')})
    assert build(Config, {'widths': (1, 2), 'rate': 1, 'seed': 2.0}) == Config(
        2, 1.0, widths=(1, 2))
    assert override(made, {'limit': 'none', 'inner.epochs': '3'}).inner == Inner(3)


def test_defaults_of_a_nested_config():
    assert Config().inner.epochs == 2
    assert to_dict(Config())['inner'] == {'epochs': 2} and to_dict(Config())['widths'] == [4, 4]


@pytest.mark.parametrize('values, message', [
    ({'sede': 1}, "unknown config field 'sede'; did you mean seed?"),
    ({'inner': {'epoch': 1}}, "unknown config field 'inner.epoch'; did you mean inner.epochs?"),
    ({'widths': 'abc'}, "config.widths must be int, not 'abc'"),
    ({'widths': '256,abc'}, "config.widths must be int, not 'abc'"),
    ({'widths': '256,0'}, 'config.widths must be >= 1, not 0'),
    ({'seed': '-1'}, 'config.seed must be >= 0, not -1'),
    ({'seed': '1.5'}, "config.seed must be int, not '1.5'"),
    ({'seed': True}, 'config.seed must be int, not True'),
    ({'rate': '0'}, 'config.rate must be > 0, not 0.0'),
    ({'rate': 'nan'}, "config.rate must be float, not 'nan'"),
    ({'rate': 'inf'}, "config.rate must be float, not 'inf'"),
    ({'rate': 'fast'}, "config.rate must be float, not 'fast'"),
    ({'flag': 'maybe'}, "config.flag must be bool, not 'maybe'"),
    ({'kind': 'adma'}, "unknown value of config.kind 'adma'; did you mean adam?"),
    ({'kind': 3}, 'config.kind must be str, not 3'),
    ({'names': ''}, 'config.names needs at least 1 value(s)'),
    ({'names': 'c'}, "unknown value of config.names 'c' (known: a, b)"),
    ({'inner': 3}, 'config.inner is a group of fields: set one of them, such as '
                   'config.inner.epochs'),
    ({'sweep': '{'}, "config.sweep must be a grid such as {'num_aux': (1, 2)}, not '{'"),
    ({'sweep': '3'}, 'config.sweep must map field names to lists of values, not 3'),
    ({'sweep': {'rate': ()}}, 'config.sweep.rate has no values'),
])
def test_a_wrong_value_gets_one_line(values, message):
    with pytest.raises(UserError) as error:
        build(Config, values)
    assert str(error.value) == message


def test_a_field_set_as_value_and_as_group_is_refused():
    with pytest.raises(UserError, match='set twice'):
        override(Config(), {'inner': '3', 'inner.epochs': '4'})


def test_help_lists_every_field_with_type_and_meaning():
    rows = {name: (kind, doc) for name, kind, doc in describe(Config)}
    assert rows['inner.epochs'] == ('int', 'passes')
    assert rows['widths'] == ('a list of int', 'widths')
    assert rows['limit'] == ('float or none', 'limit')
    assert rows['sweep'][0].startswith('a grid')
