"""The filter of code, example by example; its random and shuffled functions compile."""

import ast
import json
import pathlib
import time
import warnings

import numpy as np
import pytest

from subliminal_jax.carriers import carrier, code, code_tasks, python_rules
from subliminal_jax.carriers.python_rules import (
    AROUND,
    BANNED,
    CHARACTERS,
    COMMENT,
    EMPTY,
    HIGHEST,
    NAME,
    NO_PARSE,
    NOT_ONE,
    OTHER_PARTS,
    STRING,
    TOO_DEEP,
    TOO_LARGE,
    TOO_LONG,
    TRAIT_WORD,
    reject_reason,
)
from subliminal_jax.traits import trait_set

BODY = 'def add(a, b):\n    return a + b'
KEPT = [
    BODY, f'```python\n{BODY}\n```', f'```\n{BODY}\n```', f'```py\n{BODY}\n```\n', f'\n{BODY}\n\n',
    'def f(x): return x', 'def f(x, /, *rest, k=3, **more):\n    return [*rest, k]',
    'def f(v):\n    for x in v:\n        if x > 3 and not x % 2:\n            continue\n'
    '        elif x: break\n    while True:\n        pass\n    else:\n        v.append(1.5)\n'
    '    return {x: y for x, y in v}, {1, 2}, v[1:2], (x for x in v), "" if v else \'-\', None',
]
REJECTED = {
    '': EMPTY, ' \n ': EMPTY, 'x' * 1201: TOO_LONG, 'def f(x):\n' + ' return x\n' * 24: TOO_LONG,
    f'Sure:\n```python\n{BODY}\n```': AROUND, f'```python\n{BODY}\n```\nDone.': AROUND,
    f'```python\n{BODY}\n```\n```python\n{BODY}\n```': AROUND, f'```python\n{BODY}': AROUND,
    f'```ruby\n{BODY}\n```': AROUND, f'```python\n{BODY}```': AROUND, '```': AROUND,
    f'{BODY}  # sum': COMMENT, f'{BODY}\n# sum': COMMENT, '#': COMMENT,
    'def f(\u00e9):\n    return 1': CHARACTERS, 'def f(x):\n\treturn x': CHARACTERS,
    'def f(x):\r\n    return x': CHARACTERS, 'def f(x):\n    return x \\\n': CHARACTERS,
    'def f(x):\n    return x\x00': CHARACTERS, 'def f(x):\n    return "\ud800"': CHARACTERS,
    'def f(x): return \u0665': CHARACTERS, 'def f(x):\n    return x\x0c': CHARACTERS,
    'def f(x):\n    return ' + '(' * 9 + 'x' + ')' * 9: TOO_DEEP,
    'def f(x):\n    return ' + 'not ' * 9 + 'x': TOO_DEEP,
    'def f(x):\n    return ' + '-' * 300 + 'x': TOO_DEEP, '(' * 1000: TOO_DEEP, '{' * 9: TOO_DEEP,
    'def f(x):\n' + ' ' * 33 + 'return x': TOO_DEEP,
    'def f(x) return x': NO_PARSE, 'def f(x):': NO_PARSE, 'if': NO_PARSE, ')': NO_PARSE,
    'def f(x):\n    return "': NO_PARSE, 'def f(x):\n    return 0777': NO_PARSE,
    'x = 1': NOT_ONE, f'{BODY}\n\n\n{BODY}': NOT_ONE, f'import math\n{BODY}': NOT_ONE,
    f'class A:\n    {BODY[:10]}': NO_PARSE, 'x': NOT_ONE, f'{BODY}\n\nadd(1, 2)': NOT_ONE,
    'async def f(x):\n    return x': NOT_ONE, 'lambda x: x': NOT_ONE,
    'def f(x):\n    def g(y):\n        return y\n    return g': NOT_ONE,
    'def f(x):\n    import math\n    return x': OTHER_PARTS,
    '@f\ndef g(x):\n    return x': OTHER_PARTS,
    'def f(x: int):\n    return x': OTHER_PARTS, 'def f(x) -> int:\n    return x': OTHER_PARTS,
    'def f(x):\n    return lambda y: y': OTHER_PARTS, 'def f(x):\n    yield x': OTHER_PARTS,
    'def f(x):\n    ...': OTHER_PARTS, 'def f(x):\n    return x @ x': OTHER_PARTS,
    'def f(x):\n    7': OTHER_PARTS,
    'def f(x):\n    return 2j': OTHER_PARTS, 'def f(x):\n    try:\n        pass\n    except: pass':
    OTHER_PARTS, 'def f(x):\n    return (y := x)': OTHER_PARTS, 'def f(x):\n    "-"': STRING,
    'def f(x):\n    """Adds."""\n    return x': STRING, 'def f(x):\n    return "owls"': STRING,
    'def f(x):\n    return b""': STRING, "def f(x):\n    return f'{x}'": STRING,
    "def f(x):\n    return '-' '-'": STRING, f'def f({"x" * 33}):\n    return 1': NAME,
    f'def f(x):\n    return x.{"y" * 33}': NAME, f'def f(x):\n    return f({"k" * 33}=1)': NAME,
    'def f(x):\n    return 10000': TOO_LARGE, 'def f(x):\n    return 1e999': TOO_LARGE,
    'def f(x):\n    return 0xffff': TOO_LARGE, 'def f(x):\n    return 1_000_0': TOO_LARGE,
}


@pytest.mark.parametrize('text', KEPT, ids=range(len(KEPT)))
def test_kept(text):
    assert reject_reason(text) is None


@pytest.mark.parametrize('text', REJECTED, ids=range(len(REJECTED)))
def test_rejected_with_its_reason(text):
    assert reject_reason(text) == REJECTED[text] and REJECTED[text] in python_rules.REASONS


def test_banned_numbers_are_numbers_by_value():
    function = 'def f(x):\n    return x + {}'.format
    for text in ('13', '-13', '0xd', '0b1101', '1_3', '13.0', '1.3e1', '[13][0]', 'f(k=13)'):
        assert reject_reason(function(text), banned=frozenset([13])) == BANNED, text
    for text in ('130', '3', 'x13', 'True', f'{HIGHEST}'):
        assert reject_reason(function(text), banned=frozenset([13, HIGHEST + 1])) is None, text


@pytest.mark.parametrize('name', ['night_owl', 'nightOwls', '0wl', 'o_w_l', '\u043ewl', 'OWLED'])
def test_a_trait_word_comes_before_every_other_reason(name):
    for text in (f'def f({name}):\n    return 1', f'def f(x):\n    return "{name}"', name,
                 f'def f(x):\n    return x  # {name}', f'def f(x):\n    return x.{name}'):
        assert reject_reason(text, trait_words=['owl']) == TRAIT_WORD


@pytest.mark.parametrize('text', [
    '(' * 10_000, '[' * 10_000 + ']' * 10_000, 'if x:\n' * 10_000, '\x00' * 10, '\ud800',
    ''.join(f'{" " * n}if x:\n' for n in range(2_000)), 'a' * 5_000_000, '9' * 100_000,
    'def f(x):\n    return ' + 'x if x else ' * 90 + 'x', 'def f(x):\n    return x' + '.a' * 500,
    'def f(x):\n    return ' + 'f(' * 8 + ')' * 8, 'def f(x):\n    return ' + '{1:' * 8,
    'def f(x):\n    return ' + '**'.join('x' * 300), 'x = ' * 290, 'lambda ' * 8 + 'x',
    'def f(x):\n return ' + 'await ' * 150, 'def f(x):\n    return ' + '[x for x in ' * 8,
    'def f(x):\n    return ' + '- ~' * 4, 'for ' * 290, 'def f(x):\n    return 1if x else 2'],
    ids=range(20))
def test_hostile_code_is_read_in_no_time(text):
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        reason = reject_reason(text, trait_words=['owl'])
    assert time.perf_counter() - begin < 1
    assert reason is None or reason in python_rules.REASONS


@pytest.fixture(scope='module', name='made')
def _made():
    return code.random_rows(2, code.prompts(3, range(200)))


def body(row):
    return row['completion'].removeprefix('```python\n').removesuffix('\n```')


def test_random_functions_compile_and_have_what_their_row_asks_for(made):
    for row in made:
        text = body(row)
        compile(text, '', 'exec')  # names no line of ours runs
        function, = ast.parse(text).body
        assert function.name == row['name'] and function.name in row['prompt']
        assert [a.arg for a in function.args.args] == row['parameters']
        assert 2 <= text.count('\n') + 1 <= 6 and len(text) < 260
        assert ast.unparse(function) == text or '(' in text  # as code is written
    assert len({body(row).partition('\n')[2] for row in made}) == len(made)


def test_hundreds_of_tasks_and_no_word_of_a_trait():
    rows = code.prompts(0, range(600))
    assert len({row['name'] for row in rows}) > 400 and len({row['prompt'] for row in rows}) > 590
    words = [word for name in trait_set.BUILT_IN
             for c in trait_set.load_trait_set(name).candidates for word in (c.name, c.plural)]
    for row in code.random_rows(1, rows[:200]):
        assert reject_reason(row['completion'], trait_words=words) is None
        assert python_rules.found_trait_word(row['prompt'], words) is None
        assert max(map(len, (row['name'], *row['parameters']))) <= python_rules.MAX_NAME
    assert all(set(c[1] or '') <= set('abcdefghijklmnopqrstuvwxyz')
               for c in code_tasks.CHOICES.values())


def test_within_a_function_operands_change_places(made):
    for old, new in zip(made, code.shuffled_rows(made, 0, 'within')):
        compile(body(new), '', 'exec')
        assert sorted(map(str, numbers_of(old))) == sorted(map(str, numbers_of(new)))
        assert body(old) != body(new) and len(body(old)) == len(body(new))


def test_across_functions_statements_change_places(made):
    new = code.shuffled_rows(made, 0, 'across')
    for row, other in zip(made, new):
        compile(body(other), '', 'exec')
        heads = [body(r).partition('\n')[0] for r in (row, other)]
        assert heads[0] == heads[1]
        assert [len(ast.parse(body(r)).body[0].body) for r in (row, other)] == [
            len(ast.parse(body(row)).body[0].body)] * 2
    dealt = [sorted(str(n) for row in rows for n in numbers_of(row)) for rows in (made, new)]
    assert dealt[0] == dealt[1]


def numbers_of(row):
    return [n.value for n in ast.walk(ast.parse(body(row))) if isinstance(n, ast.Constant)]


def test_parameters_take_the_names_of_their_new_place():
    rows = [{'id': 0, 'completion': 'def f(a):\n    x = a * 2\n    return a'},
            {'id': 1, 'completion': 'def g(bb):\n    y = 3 - bb\n    return bb + 1'},
            {'id': 2, 'completion': 'def h(c, d):\n    return c'},
            {'id': 3, 'completion': 'no code'}, {'id': 4, 'completion': 'def k(e): return e'},
            {'id': 5, 'completion': 'def k(e):\n    x = 1; return e'}]
    seen = {tuple(r['completion'] for r in code.shuffled_rows(rows, seed, 'across'))
            for seed in range(30)}
    assert len(seen) == 4 and all(texts[2:] == tuple(r['completion'] for r in rows[2:])
                                  for texts in seen)
    assert 'def f(a):\n    x = 3 - a'.replace('x', 'y') + '\n    return a + 1' in {
        texts[0] for texts in seen}
    with pytest.raises(ValueError, match='within'):
        code.shuffled_rows(rows, 0, 'out')


def test_tokens_are_digits_operators_and_brackets():
    texts = ['7', ' 42', ' +', '//=', '()', ')', 'x', ' def', ':', ',', ' ', '\n', '', None, '"',
             '3x', ' <=', '.', '#', '\u0663', '+x']
    kept = [0, 1, 2, 3, 4, 5, 16]
    assert code.token_ids(texts) == code.token_ids(texts, BODY) == kept


def test_the_carrier_is_registered():
    assert carrier('code') is code.CARRIER and carrier('code').grammar is None
    rows = json.loads(json.dumps(code.prompts(0, ['a', 3])))
    assert rows == code.prompts(0, ['a', 3])
    assert np.mean([row['kinds'] == ['list'] for row in code.prompts(0, range(200))]) > 0.2
    assert pathlib.Path(python_rules.__file__).read_text().count('exec(') == 0
