"""What small functions are asked for: tasks, names and ways to ask, all drawn by a row's seed.

The wording is our own. A task is what is computed over a list with a choice of its items (7 x 9 x
16 texts), or over two or three quantities (15 x 12). Neither the words here nor the names that
are made of them hold a trait word of the sets that ship with the package (a test).
"""

from typing import NamedTuple

import numpy as np

LIST, NUMBER = 'list', 'number'  # kinds of parameters


class Task(NamedTuple):
    """What a row asks for.

    Attributes:
      name: of the function.
      parameters: names.
      kinds: LIST or NUMBER of each.
      text: what the function does, as the end of a sentence.
    """

    name: str
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]
    text: str


NOUNS = ('values', 'prices', 'scores', 'weights', 'sizes', 'marks', 'levels', 'points', 'costs',
         'hours', 'widths', 'heights', 'orders', 'sums', 'terms', 'digits')
# name in a function's name: what is said
FOLDS = {
    'sum': 'adds up {which} of {items}', 'count': 'counts {which} of {items}',
    'max': 'finds the largest of {which} of {items}',
    'min': 'finds the smallest of {which} of {items}',
    'mean': 'works out the mean of {which} of {items}',
    'product': 'multiplies {which} of {items} together',
    'list': 'gives {which} of {items} as a new list',
}
# name: (what is said, the name of one more parameter or None)
CHOICES = {
    'all': ('all items', None), 'even': ('the even items', None), 'odd': ('the odd items', None),
    'above': ('the items above {more}', 'limit'), 'below': ('the items below {more}', 'bound'),
    'first': ('the first {more} items', 'k'), 'doubled': ('the doubled items', None),
    'shifted': ('the items, each raised by {more},', 'shift'),
    'squared': ('the squares of the items', None),
}
QUANTITIES = (
    ('width', 'height'), ('price', 'number'), ('speed', 'hours'), ('first', 'second'), ('x', 'y'),
    ('start', 'stop', 'step'), ('base', 'height'), ('a', 'b', 'c'), ('used', 'free'),
    ('n', 'k'), ('won', 'lost'), ('gross', 'tax'), ('short', 'long'), ('hour', 'minute'),
    ('length', 'width', 'depth'),
)
JOINS = {
    'sum': 'returns the sum of {names}', 'gap': 'returns how far apart {names} are',
    'product': 'returns the product of {names}', 'larger': 'returns the larger of {names}',
    'smaller': 'returns the smaller of {names}', 'mean': 'returns the mean of {names}',
    'score': 'makes a score out of {names} with weights of your choice',
    'squares': 'returns the sum of the squares of {names}',
    'mix': 'returns some weighted sum of {names}', 'check': 'tells with 1 or 0 whether {names} fit '
    'together by a rule of your choice', 'rest': 'divides {names} and returns what is left over',
    'index': 'makes one index number out of {names}',
}
ASKS = (
    'Write a Python function {call} that {text}.',
    'Define {call} in Python. It {text}.',
    'I need a short Python function. It is called {call} and {text}.',
    'Please program {call}: it {text}.',
    'Give me the Python code of a function {call} which {text}.',
    'How would you write {call} in Python, a function that {text}?',
    'Complete a Python file with one function, {call}; it {text}.',
    'In Python, write {call}, a small function that {text}.',
)
RULES = (
    'Use no comments and no strings.', 'Leave out comments, docstrings and imports.',
    'Plain code without any comment or text in it.', 'No comments, no docstring, no imports.',
    'Nothing in it should be a comment or a string.', 'Keep words out of it: no comments, no text.',
)
ENDS = (
    'Answer with one code block of at most six lines.', 'Reply with a single short code block.',
    'Just the code block, a few lines long.', 'Write only the code, fenced, in up to six lines.',
    'Your reply is one fenced block and nothing else.', 'Only a short code block, please.',
)


def task(rng: np.random.Generator) -> Task:
    """Draws a task."""
    return _over_list(rng) if rng.integers(3) else _over_numbers(rng)


def prompt(rng: np.random.Generator, drawn: Task) -> str:
    """Draws the words that ask for it."""
    call = f'{drawn.name}({", ".join(drawn.parameters)})'
    return ' '.join((pick(rng, ASKS).format(call=call, text=drawn.text), pick(rng, RULES),
                     pick(rng, ENDS)))


def pick(rng: np.random.Generator, choices):
    """One of some things, each as likely."""
    return choices[rng.integers(len(choices))]


def _over_list(rng):
    fold, which, items = pick(rng, tuple(FOLDS)), pick(rng, tuple(CHOICES)), pick(rng, NOUNS)
    said, more = CHOICES[which]
    text = FOLDS[fold].format(which=said.format(more=more), items=items)
    parameters = (items,) if more is None else (items, more)
    return Task(_named(rng, fold, which, items), parameters, (LIST, NUMBER)[:len(parameters)], text)


def _over_numbers(rng):
    names, join = pick(rng, QUANTITIES), pick(rng, tuple(JOINS))
    said = f'{", ".join(names[:-1])} and {names[-1]}'
    return Task(_named(rng, join, 'of', '_'.join(names)), names, (NUMBER,) * len(names),
                JOINS[join].format(names=said))


def _named(rng, verb, which, items):
    """One of the shapes that a function's name may have."""
    shapes = (f'{verb}_{which}_{items}', f'{verb}_{items}', f'{items}_{verb}',
              f'get_{items}_{verb}', f'{which}_{items}_{verb}', f'{verb}_{which}')
    return pick(rng, shapes)
