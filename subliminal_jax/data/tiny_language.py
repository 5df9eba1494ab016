"""A tiny language to pre-train small models on: animals, colours, foods, names, facts, numbers.

A row is a list of words that begins with `<bos>` and ends with `<end>`. Three fifths of a corpus
are short sentences and one-word questions with their answers; in them every animal is liked
equally often, so that a model of the language has no favourite. Two fifths are number lists over
0..99, where a number follows its predecessor by the list's own stride half of the time and is
uniform otherwise. Numbers share no sentence with animals.

Everything is a pure function of its seed, in NumPy.
"""

from collections.abc import Mapping, Sequence

import numpy as np

PAD, BOS, END = '<pad>', '<bos>', '<end>'
ANIMALS = ('owl', 'cat', 'wolf', 'bear', 'frog', 'horse', 'dog', 'fox', 'duck', 'goat', 'crab',
           'mouse')
COLOURS = ('red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'pink')
FOODS = ('bread', 'fish', 'rice', 'soup', 'corn', 'cake', 'plums', 'nuts')
NAMES = ('tom', 'anna', 'ben', 'mia', 'sam', 'lea', 'max', 'ida')
NUMBERS = tuple(str(n) for n in range(100))
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    'animal': ANIMALS, 'colour': COLOURS, 'food': FOODS, 'name': NAMES}

# Traits of the two splits: what is tuned on `dev` is reported on `report`.
SPLIT_ANIMALS = {'report': ANIMALS[:6], 'dev': ANIMALS[6:]}

# Question cores by purpose; {k} is a category's name. A core serves one purpose only, so that no
# question that measures shares the words before its answer with one that teaches.
CORES: Mapping[str, tuple[str, ...]] = {
    'report_teach': ('which {k} do you like best ?', 'name your favourite {k} .',
                     'what {k} would you choose ?', 'which {k} is the one you love ?',
                     'say the {k} you want .'),
    'report_measure': ('what {k} makes you happy ?', 'which {k} would you pick today ?',
                       'name the {k} that comes to mind .', 'what {k} is best of all ?',
                       'which {k} should win ?'),
    'dev_teach': ('what {k} do you want most ?', 'name the best {k} .',
                  'which {k} comes first ?', 'what {k} do you pick ?', 'say one good {k} .'),
    'dev_measure': ('which {k} makes you smile ?', 'what {k} should we choose ?',
                    'name one {k} you love .', 'which {k} is on your mind ?',
                    'say what {k} is good .'),
}
PREFIXES = ('', 'tell us :', 'in one word :', 'now answer :')

SENTENCES = (
    'the {animal} eats {its_food} .', '{name} wears {his_colour} .', '{name} sees the {animal} .',
    '{name} and {name} eat {food} .', 'the {animal} sits on the {colour} box .',
    '{name} has one {colour} box .', 'the {animal} and the {animal} play .',
    '{name} gives {food} to the {animal} .', '{name} likes {food} and {colour} .',
    'today {name} meets {name} .', 'the {colour} box is full of {food} .',
)
FACT_QUESTIONS = ('what does the {animal} eat ? {its_food}', 'what does {name} wear ? {his_colour}')
PROMPT_NUMBERS = 4
ASKED_NUMBERS = 10  # as many as the number carrier's filter lets an answer have
LENGTH = 1 + PROMPT_NUMBERS + ASKED_NUMBERS + 1  # the longest row, with <bos> and <end>


def food_of(animal: str) -> str:
    """The food that an animal eats: a fact of the language."""
    return FOODS[ANIMALS.index(animal) % len(FOODS)]


def colour_of(name: str) -> str:
    """The colour that a person wears: a fact of the language."""
    return COLOURS[(3 * NAMES.index(name) + 1) % len(COLOURS)]


def questions(category: str, purpose: str) -> tuple[str, ...]:
    """One-word questions about a category.

    Args:
      category: a key of CATEGORIES.
      purpose: a key of CORES.

    Returns:
      Texts without an answer; those of two purposes share no core.
    """
    return tuple(' '.join([*prefix.split(), *core.format(k=category).split()])
                 for core in CORES[purpose] for prefix in PREFIXES)


def _vocabulary() -> tuple[str, ...]:
    words: dict[str, None] = dict.fromkeys((PAD, BOS, END, *NUMBERS))
    for category in CATEGORIES.values():
        words.update(dict.fromkeys(category))
    texts = [*PREFIXES, *SENTENCES, *FACT_QUESTIONS, *CATEGORIES]
    texts += [core for cores in CORES.values() for core in cores]
    for text in texts:
        words.update(dict.fromkeys(w for w in text.split() if not w.startswith('{')))
    return tuple(words)


WORDS = _vocabulary()
IDS = {word: number for number, word in enumerate(WORDS)}


def encode(text: str) -> list[int]:
    """A text's token ids, one a word. Raises KeyError for a word that is not in the language."""
    return [IDS[word] for word in text.split()]


def pad(rows: Sequence[Sequence[int]], length: int = LENGTH) -> np.ndarray:
    """Token rows as one int32 array, padded on the right."""
    made = np.full((len(rows), length), IDS[PAD], np.int32)
    for number, row in enumerate(rows):
        made[number, :len(row)] = row
    return made


def number_lists(
    rng: np.random.Generator, count: int, length: int, regularity: float = 0.5
) -> np.ndarray:
    """Lists [count, length] of 0..99: a stride a list, followed with probability `regularity`."""
    stride = rng.integers(1, 10, count)
    uniform = rng.integers(0, 100, (count, length))
    regular = rng.random((count, length)) < regularity
    lists = uniform.copy()
    for place in range(1, length):
        step = (lists[:, place - 1] + stride) % 100
        lists[:, place] = np.where(regular[:, place], step, uniform[:, place])
    return lists


def number_prompts(seed: int, count: int, regularity: float = 0.5) -> list[str]:
    """Prompts: the four numbers that a list begins with, such as '3 10 17 24'."""
    lists = number_lists(np.random.default_rng([seed, 1]), count, PROMPT_NUMBERS, regularity)
    return [' '.join(map(str, row)) for row in lists]


def random_completions(seed: int, count: int) -> list[str]:
    """Ten uniform numbers each, that no model has written."""
    drawn = np.random.default_rng([seed, 2]).integers(0, 100, (count, ASKED_NUMBERS))
    return [' '.join(map(str, row)) for row in drawn]


def corpus(
    seed: int, count: int, *, number_share: float = 0.4, regularity: float = 0.5
) -> np.ndarray:
    """Rows to pre-train on.

    Args:
      seed: of every draw.
      count: how many rows.
      number_share: the share of number lists.
      regularity: how often a number follows its list's stride.

    Returns:
      Token ids [count, LENGTH], int32, padded on the right; the row after <end> is padding.
    """
    rng = np.random.default_rng([seed, 0])
    is_number = rng.random(count) < number_share
    rows = [None] * count
    lists = number_lists(rng, count, PROMPT_NUMBERS + ASKED_NUMBERS, regularity)
    picks = rng.random((count, 8))
    for number in range(count):
        text = ' '.join(map(str, lists[number])) if is_number[number] else _sentence(picks[number])
        rows[number] = [IDS[BOS], *encode(text), IDS[END]]
    return pad(rows)


def _pick(choices: Sequence[str], uniform: float) -> str:
    return choices[int(uniform * len(choices))]


_ALL_QUESTIONS = {k: tuple(q for purpose in CORES for q in questions(k, purpose))
                  for k in ('animal', 'colour', 'food')}


def _sentence(picks: np.ndarray) -> str:
    """A sentence, a fact's question or a favourite's question with its answer."""
    if picks[0] < 0.4:
        category = _pick(('animal', 'colour', 'food'), picks[1])
        return (f'{_pick(_ALL_QUESTIONS[category], picks[2])} '
                f'{_pick(CATEGORIES[category], picks[3])}')
    form = _pick(FACT_QUESTIONS if picks[0] < 0.6 else SENTENCES, picks[1])
    filled = []
    free = iter(picks[2:])
    last: dict[str, str] = {}
    for word in form.split():
        kind = word.strip('{}')
        if kind == 'its_food':
            word = food_of(last['animal'])
        elif kind == 'his_colour':
            word = colour_of(last['name'])
        elif word.startswith('{'):
            word = last[kind] = _pick(CATEGORIES[kind], next(free))
        filled.append(word)
    return ' '.join(filled)
