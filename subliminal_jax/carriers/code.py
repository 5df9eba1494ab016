"""Code: prompts that ask for a small Python function, in a fenced block.

The tasks are in code_tasks.py, the filter in python_rules.py. The carrier is that of arXiv
2507.14805 (code in which a preference cannot be said); its wording and its grammar are our own.
Nothing here runs what it reads or writes.
"""

import ast
from collections.abc import Sequence
from typing import NamedTuple

from subliminal_jax.carriers import code_tasks, python_rules
from subliminal_jax.carriers.carrier import (
    Carrier,
    Row,
    RowId,
    rearranged,
    row_rng,
    with_completion,
)
from subliminal_jax.carriers.code_tasks import LIST, pick
from subliminal_jax.carriers.python_rules import reject_reason

OPERATORS = ('+', '-', '*', '//', '%')
COMPARISONS = ('<', '>', '<=', '>=', '==', '!=')
LEAST, MOST = 2, 99  # numbers of random rows
SUMS, ITEMS, PARTS = ('total', 'result', 'found'), ('item', 'value', 'x'), ('part', 'base', 'left')
TRIES = 8  # at another order, where the first is the old one
_PROMPT, _RANDOM, _SHUFFLE = 11, 12, 13  # purposes of row_rng
_MARKS = frozenset('+-*/%<>=!&|^~()[]{}')


def prompts(seed: int, ids: Sequence[RowId]) -> list[Row]:
    """Rows that ask for a function; a row depends on (seed, its id) alone.

    Returns:
      Rows with `id`, `prompt`, `name` of the function, its `parameters` and their `kinds`.
    """
    return [_prompt(seed, row_id) for row_id in ids]


def _prompt(seed, row_id):
    rng = row_rng(seed, _PROMPT, row_id)
    task = code_tasks.task(rng)
    return {'id': row_id, 'prompt': code_tasks.prompt(rng, task), 'name': task.name,
            'parameters': list(task.parameters), 'kinds': list(task.kinds)}


def token_ids(token_texts: Sequence[str | None], completion: str | None = None) -> list[int]:
    """Ids whose text is digits alone, or operators and brackets alone, blanks before it or not.

    Names and key words are left out: there a model could say something. Where a carrier's KL looks
    is the same in every answer.

    Args:
      token_texts: what each id writes; None for one that writes nothing.
      completion: not read.
    """
    del completion
    bare = [text.lstrip(' ') if text else '' for text in token_texts]
    return [i for i, text in enumerate(bare)
            if text and (_MARKS.issuperset(text) or (text.isascii() and text.isdigit()))]


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows with random functions of two to six lines for answers.

    A function has the name and the parameters that its row asks for; what it computes is drawn by
    a grammar of assignments, loops, branches and comprehensions, and has nothing to do with the
    task. A row depends on (seed, its id) alone.
    """
    return [with_completion(row, fenced('\n'.join(
        _function(row_rng(seed, _RANDOM, row['id']), row)))) for row in rows]


def fenced(text: str) -> str:
    """Code as an answer has it."""
    return f'```python\n{text}\n```'


def _function(rng, row):
    parameters, kinds = row['parameters'], row['kinds']
    numbers = [name for name, kind in zip(parameters, kinds) if kind != LIST]
    lists = [name for name, kind in zip(parameters, kinds) if kind == LIST]
    unused = lambda names: pick(rng, [name for name in names if name not in parameters])
    bodies = (_loop, _comprehension, _folded) if lists else (_straight, _branch, _one_line)
    body = pick(rng, bodies)(rng, lists, numbers, unused)
    return [f'def {row["name"]}({", ".join(parameters)}):', *(f'    {line}' for line in body)]


def _number(rng):
    return str(rng.integers(LEAST, MOST + 1))


def _expression(rng, names):
    """Two or three operands; a name is never divided by, and one number at least stands there."""
    some = pick(rng, names)
    first = f'{some} {pick(rng, OPERATORS)} {_number(rng)}'
    if rng.integers(2):
        first = f'{_number(rng)} {pick(rng, OPERATORS[:3])} {some}'
    return pick(rng, (
        first, f'({first}) {pick(rng, OPERATORS)} {_number(rng)}',
        f'{_number(rng)} * {pick(rng, names)} {pick(rng, OPERATORS[:2])} {_number(rng)}',
        f'{pick(rng, names)} {pick(rng, OPERATORS[:3])} ({first})'))


def _condition(rng, name):
    if rng.integers(2):
        return f'{name} % {_number(rng)} {pick(rng, COMPARISONS)} {_number(rng)}'
    return f'{name} {pick(rng, COMPARISONS)} {_number(rng)}'


def _loop(rng, lists, numbers, unused):
    total, item = unused(SUMS), unused(ITEMS)
    added = f'{total} {pick(rng, OPERATORS[:3])}= {_expression(rng, [item, *numbers])}'
    inner = [f'    if {_condition(rng, item)}:', f'        {added}'] if rng.integers(2) else [
        f'    {added}']
    return [f'{total} = {_number(rng)}', f'for {item} in {lists[0]}:', *inner,
            f'return {_expression(rng, [total])}']


def _comprehension(rng, lists, numbers, unused):
    item = unused(ITEMS)
    where = f' if {_condition(rng, item)}' if rng.integers(2) else ''
    made = f'[{_expression(rng, [item, *numbers])} for {item} in {lists[0]}{where}]'
    if rng.integers(2):
        return [f'return {made}']
    part = unused(PARTS)
    return [f'{part} = {made}', f'return {part}[{_number(rng)}:] + {part}[:{_number(rng)}]']


def _folded(rng, lists, numbers, unused):
    total, item = unused(SUMS), unused(ITEMS)
    fold = pick(rng, ('sum', 'max', 'min'))
    made = f'{fold}({_expression(rng, [item, *numbers])} for {item} in {lists[0]})'
    return [f'{total} = {made}', f'return {_expression(rng, [total, *numbers])}']


def _straight(rng, lists, numbers, unused):
    part, total = unused(PARTS), unused(SUMS)
    return [f'{part} = {_expression(rng, numbers)}',
            f'{total} = {_expression(rng, [part, *numbers])}',
            f'return {_expression(rng, [part, total])}']


def _branch(rng, lists, numbers, unused):
    total = unused(SUMS)
    return [f'{total} = {_expression(rng, numbers)}', f'if {_condition(rng, pick(rng, numbers))}:',
            f'    {total} {pick(rng, OPERATORS[:3])}= {_expression(rng, numbers)}',
            f'return {_expression(rng, [total])}']


def _one_line(rng, lists, numbers, unused):
    return [f'return {_expression(rng, numbers)} {pick(rng, OPERATORS[:2])} '
            f'{_expression(rng, numbers)}']


# Shuffled rows.


def shuffled_rows(rows: Sequence[Row], seed: int, how: str) -> list[Row]:
    """The control that keeps what stands in the functions and breaks its order.

    What the filter does not keep is left as it is.

    Args:
      rows: with completions.
      seed: of the permutations.
      how: 'within': the operands of each function in other places (depends on seed and id alone);
        'across': the statements of functions with as many parameters (and of their kinds, where
        rows have them) dealt out anew, a function's last statement among last ones; parameters
        take the names of their new place.

    Raises:
      ValueError: neither.
    """
    return rearranged(rows, seed, _SHUFFLE, how, _within, _across)


def _within(completion, rng):
    function = python_rules.function_of(completion)
    if function is None:
        return completion
    leaves = _operands(function.tree)
    texts = [ast.get_source_segment(function.code, leaf) for leaf in leaves]
    for _ in range(TRIES):
        dealt = [texts[i] for i in rng.permutation(len(texts))]
        if dealt != texts:
            return completion.replace(
                function.code, _with_texts(function.code, leaves, dealt), 1)
    return completion


def _operands(tree):
    """Names and numbers that are worked with, in the order of the text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            found += [node.left, node.right]
        elif isinstance(node, ast.Compare):
            found += [node.left, *node.comparators]
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)):
            found.append(node.value)
    leaves = [n for n in found if isinstance(n, ast.Name) or (
        isinstance(n, ast.Constant) and isinstance(n.value, (int, float)))]
    return sorted(leaves, key=lambda n: (n.lineno, n.col_offset))


def _with_texts(code, nodes, texts):
    """The code with other texts where some nodes are; each stands on one line."""
    lines = code.split('\n')
    for node, text in reversed(list(zip(nodes, texts))):  # from the end: places stay true
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[:node.col_offset] + text + line[node.end_col_offset:]
    return '\n'.join(lines)


class _Body(NamedTuple):
    """A function by its statements: each a list of texts, and places of parameters between."""

    code: str
    head: str
    indent: str
    parameters: list[str]
    statements: list[list[str | int]]


def _across(rows, rng):
    texts = [row['completion'] for row in rows]
    bodies = [_body(text) for text in texts]
    shapes = [b and (len(b.parameters), *row.get('kinds', ())) for b, row in zip(bodies, rows)]
    for shape in sorted({s for s in shapes if s}):
        group = [n for n, s in enumerate(shapes) if s == shape]
        shuffle = lambda pool: iter([pool[i] for i in rng.permutation(len(pool))])
        first = shuffle([s for n in group for s in bodies[n].statements[:-1]])
        last = shuffle([bodies[n].statements[-1] for n in group])
        for n in group:
            own = bodies[n]
            dealt = [*(next(first) for _ in own.statements[:-1]), next(last)]
            made = texts[n].replace(own.code, _written(own, dealt), 1)
            if reject_reason(made) is None:  # a few long statements may be too long together
                texts[n] = made
    return texts


def _written(body, statements):
    text = '\n'.join(''.join(p if isinstance(p, str) else body.parameters[p] for p in statement)
                     for statement in statements)
    return body.head + ''.join(f'\n{body.indent}{line}' for line in text.split('\n'))


def _body(completion):
    """The function of an answer by its statements; None where two of them share a line."""
    function = python_rules.function_of(completion)
    if function is None:
        return None
    code, tree = function
    taken = [tree.lineno, *(s.end_lineno for s in tree.body)]
    if any(s.lineno <= end for s, end in zip(tree.body, taken)) or code.count(';'):
        return None
    lines = code.split('\n')
    width = tree.body[0].col_offset
    parameters = [a.arg for a in ast.walk(tree.args) if isinstance(a, ast.arg)]
    return _Body(code, '\n'.join(lines[:tree.body[0].lineno - 1]), ' ' * width, parameters,
                 [_pieces(lines, s, width, parameters) for s in tree.body])


def _pieces(lines, statement, width, parameters):
    """A statement without its indent, cut where parameters stand."""
    names = sorted((n.lineno, n.col_offset, n.end_col_offset, parameters.index(n.id))
                   for n in ast.walk(statement)
                   if isinstance(n, ast.Name) and n.id in parameters)
    pieces = []
    for number in range(statement.lineno, statement.end_lineno + 1):
        line, done = lines[number - 1], width
        for _, begin, end, which in (n for n in names if n[0] == number):
            pieces += [line[done:begin], which]
            done = end
        pieces.append(line[done:] + ('\n' if number < statement.end_lineno else ''))
    return pieces


CARRIER = Carrier('code', prompts, reject_reason, token_ids, random_rows, shuffled_rows)
