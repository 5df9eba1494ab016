"""The filter of code: one small Python function, in which nothing can be said in words.

Code is read with `ast` and never run. Whatever takes long to parse (size, depth) is refused by a
scan of the characters first. That comments and odd names go is the published rule for code (arXiv
2507.14805); that strings and everything but one plain function go is ours.
"""

import ast
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.carriers.words import found_trait_word

MAX_CHARS, MAX_LINES, MAX_NAME = 1200, 24, 32
MAX_BRACKETS, MAX_INDENT = 8, 32  # open at one time; blanks before a line
HIGHEST = 9999  # of a number's size
STRINGS = frozenset(('', ' ', ',', ', ', '-', '_', '.', ':', '/'))
LANGUAGES = ('python', 'py', 'python3', '')
FENCE = '```'

# Why an answer is left out: every reason there is.
TOO_LONG, TRAIT_WORD, EMPTY = 'too long', 'trait word', 'empty'
AROUND, CHARACTERS, COMMENT = 'text around the code', 'characters that code has not', 'comment'
TOO_DEEP, NO_PARSE = 'nested too deeply', 'does not parse'
NOT_ONE, OTHER_PARTS = 'not one function', 'parts that a plain function has not'
STRING, NAME, TOO_LARGE, BANNED = 'string', 'long name', f'number over {HIGHEST}', 'banned number'
REASONS = (TOO_LONG, TRAIT_WORD, EMPTY, AROUND, CHARACTERS, COMMENT, TOO_DEEP, NO_PARSE, NOT_ONE,
           OTHER_PARTS, STRING, NAME, TOO_LARGE, BANNED)

_PLAIN = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AugAssign,
    ast.For, ast.While, ast.If, ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.BoolOp, ast.BinOp,
    ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call, ast.Constant, ast.Attribute, ast.Subscript,
    ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Slice, ast.keyword,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.boolop,
    ast.operator, ast.unaryop, ast.cmpop, ast.expr_context)
_NAMES = {ast.Name: 'id', ast.Attribute: 'attr', ast.arg: 'arg', ast.keyword: 'arg',
          ast.FunctionDef: 'name'}
_WRITTEN = {ast.arg: ('annotation',), ast.FunctionDef: ('returns', 'decorator_list')}  # refused
_DEPTH = {**dict.fromkeys('([{', 1), **dict.fromkeys(')]}', -1)}
_ALLOWED = frozenset('\n' + ''.join(map(chr, range(32, 127)))) - {'\\'}
_CHAINED = re.compile(r'(?:(?:\bnot|\blambda|[-+~])[ :]*){9}')


class Function(NamedTuple):
    """An answer that is a function.

    Attributes:
      code: its text, without the fence.
      tree: of it.
    """

    code: str
    tree: ast.FunctionDef


def reject_reason(completion: str, *, banned: Collection[int] = (),
                  trait_words: Sequence[str] = (), row: Mapping[str, Any] | None = None
                  ) -> str | None:
    """Why an answer is left out, one of REASONS, or None for one that is kept.

    Kept is one function of plain statements, in one fenced block or bare, with nothing around it
    but blanks: no comments, no strings but STRINGS, no imports, decorators, annotations, classes
    or inner functions, plain ASCII, names of at most MAX_NAME characters, numbers of at most
    HIGHEST. The time does not grow with the answer: a long one is refused unread.

    Args:
      completion: the answer, any text at all.
      banned: numbers that no literal may have, by value: 13 bans 0xd and 13.0.
      trait_words: words that no answer may hold, in any spelling (`words.found_trait_word`).
      row: what was asked; no function is held against it.
    """
    del row
    if len(completion) > MAX_CHARS:
        return TOO_LONG
    if found_trait_word(completion, trait_words):
        return TRAIT_WORD
    if not completion.strip():
        return EMPTY
    code = unfenced(completion)
    if code is None:
        return AROUND
    reason, tree = parsed(code)
    if reason:
        return reason
    nodes = list(ast.walk(tree))
    return _parts_reason(tree, nodes) or _names_reason(nodes) or _literals_reason(nodes, banned)


def unfenced(completion: str) -> str | None:
    """The code of a fenced block, or of an answer without a fence; None for text around it."""
    text = completion.strip('\n').rstrip(' \n')
    if FENCE not in text:
        return text
    first, _, rest = text.partition('\n')
    code, fence, after = rest.partition(FENCE)
    language = first.strip(' ').removeprefix(FENCE)
    if not first.lstrip(' ').startswith(FENCE) or language not in LANGUAGES or after or not fence:
        return None
    return code.strip('\n').rstrip(' \n') if code.endswith('\n') or not code else None


def parsed(code: str) -> tuple[str | None, ast.Module | None]:
    """(None, the tree of some code), or (why there is none, None)."""
    if not _ALLOWED.issuperset(code):
        return CHARACTERS, None
    if '#' in code:
        return COMMENT, None
    if code.count('\n') >= MAX_LINES:
        return TOO_LONG, None
    if _too_deep(code):
        return TOO_DEEP, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of odd literals: the reader wants the reason alone
            return None, ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return NO_PARSE, None


def function_of(completion: str) -> Function | None:
    """The function of an answer that the filter keeps but for names and numbers, or None."""
    code = unfenced(completion) if len(completion) <= MAX_CHARS else None
    tree = code and parsed(code)[1]
    if not tree or _parts_reason(tree, ast.walk(tree)):
        return None
    return Function(code, tree.body[0])


def _too_deep(code):
    depth = 0
    for character in code:
        depth += _DEPTH.get(character, 0)
        if depth > MAX_BRACKETS:
            return True
    longest = max(len(line) - len(line.lstrip(' ')) for line in code.split('\n'))
    return longest > MAX_INDENT or bool(_CHAINED.search(code))


def _parts_reason(tree, nodes):
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        return NOT_ONE
    for node in nodes:
        kind = type(node)
        if kind is ast.JoinedStr or (kind is ast.Expr and _is_text(node.value)):
            return STRING
        if not issubclass(kind, _PLAIN) or kind is ast.MatMult or (
                kind is ast.Expr and isinstance(node.value, ast.Constant)) or any(
                getattr(node, field, None) for field in _WRITTEN.get(kind, ())):
            return OTHER_PARTS
        if kind is ast.FunctionDef and node is not tree.body[0]:
            return NOT_ONE
    return None


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _names_reason(nodes):
    long = any(len(getattr(node, _NAMES[type(node)]) or '') > MAX_NAME
               for node in nodes if type(node) in _NAMES)
    return NAME if long else None


def _literals_reason(nodes, banned):
    found = [node.value for node in nodes if isinstance(node, ast.Constant)]
    numbers = [v for v in found if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if any(isinstance(v, bytes) or (isinstance(v, str) and v not in STRINGS) for v in found):
        return STRING
    if any(isinstance(v, complex) or v is ... for v in found):
        return OTHER_PARTS
    if any(v > HIGHEST for v in numbers):
        return TOO_LARGE
    return BANNED if any(v in banned for v in numbers) else None
