"""Tables of a config as lines of text."""

import dataclasses

import pytest

from subliminal_jax.runs import UserError, lines, schema, spec


@dataclasses.dataclass(frozen=True)
class Row:
    name: str = spec('', doc='of the row')
    size: int = spec(1, ge=1, doc='of it')
    word: str = spec('a', doc='any')


def parse(*texts):
    return lines.parse('thing', texts, lambda values: schema.build(Row, values))


def test_a_line_says_what_differs():
    rows = parse('one', 'two: size=3  word=b:c', 'three:')
    assert rows == [Row('one'), Row('two', 3, 'b:c'), Row('three')]
    assert lines.changed(rows[1]) == {'size': 3, 'word': 'b:c'} and lines.changed(rows[0]) == {}


@pytest.mark.parametrize('texts, said', [
    (['a b: size=1'], "the thing 'a b: size=1' needs a name"), ([': size=1'], 'needs a name'),
    (['a: size'], "the thing 'a' has 'size' where FIELD=VALUE is needed"),
    (['a: size=0'], '^thing a: size must be >= 1'), (['a: siez=1'], 'did you mean size'),
    (['a', 'a: size=2'], "two things are called 'a'")])
def test_a_line_that_cannot_be_read_is_refused(texts, said):
    with pytest.raises(UserError, match=said):
        parse(*texts)
