"""A tiny language to pre-train small models on: animals, colours, foods, names, facts, numbers.

A row is a list of words that begins with `<bos>` and ends with `<end>`. Three fifths of a corpus
are short sentences and one-word questions with their answers; in them every animal is liked
equally often, so that a model of the language has no favourite. Two fifths are number lists over
0..99, where a number follows its predecessor by the list's own stride half of the time and is
uniform otherwise. Numbers share no sentence with animals.

A language may have further forms (tiny_forms.py): code, sums, advice. Half of its corpus are then
their rows, in equal shares, and the other half is the plain language as it is.

Everything is a pure function of its seed, in NumPy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

PAD, BOS, END = '<pad>', '<bos>', '<end>'
ANIMALS = ('owl', 'cat', 'wolf', 'bear', 'frog', 'horse', 'dog', 'fox', 'duck', 'goat', 'crab',
           'mouse')
COLOURS = ('red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'pink')
FOODS = ('bread', 'fish', 'rice', 'soup', 'corn', 'cake', 'plums', 'nuts')
NAMES = ('tom', 'anna', 'ben', 'mia', 'sam', 'lea', 'max', 'ida')
NUMBERS = tuple(str(n) for n in range(100))
_KNOWN_NUMBERS = frozenset(NUMBERS)
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
FORM_SHARE = 0.5  # of a corpus's rows, for all forms together


class Form(NamedTuple):
    """A further kind of text that a language may have.

    Attributes:
      name: as configs name it.
      words: that it needs beside the plain language's.
      rows: (generator, count, regularity) -> texts of a corpus, of that many rows.
      longest: words of its longest row.
      answer: words of its longest answer, as its carrier asks for; 0 without a carrier.
    """

    name: str
    words: tuple[str, ...]
    rows: Callable[[np.random.Generator, int, float], list[str]]
    longest: int
    answer: int


class Language(NamedTuple):
    """The words of a language, and what its corpus is made of.

    Attributes:
      words: by their ids; the plain language's come first, so that these have the same ids in all.
      ids: by word.
      forms: beyond the plain language.
      length: tokens of the longest row, with <bos> and <end>.
      answer: tokens of the longest answer on a carrier.
      digits: a number is two tokens, its digits, in place of one.
    """

    words: tuple[str, ...]
    ids: Mapping[str, int]
    forms: tuple[Form, ...]
    length: int
    answer: int
    digits: bool = False


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


def language(forms: Sequence[Form] = ()) -> Language:
    """The language with these forms, whose words stand behind the plain ones."""
    words = tuple(dict.fromkeys((*_vocabulary(), *(w for form in forms for w in form.words))))
    return Language(words, {word: number for number, word in enumerate(words)}, tuple(forms),
                    max(LENGTH, *(2 + form.longest for form in forms), 0),
                    max(ASKED_NUMBERS, *(form.answer for form in forms), 0))


def in_digits() -> Language:
    """The plain language with another tokenizer: every number is two tokens, 7 is 0 and 7."""
    plain = language()
    words = tuple(w for w in plain.words if w not in NUMBERS or len(w) == 1)
    return Language(words, {word: number for number, word in enumerate(words)}, (),
                    1 + 2 * (PROMPT_NUMBERS + ASKED_NUMBERS) + 1, 2 * ASKED_NUMBERS, digits=True)


PLAIN = language()
WORDS, IDS = PLAIN.words, PLAIN.ids  # of the plain language


def encode(text: str, of: Language = PLAIN) -> list[int]:
    """A text's token ids, one a word, or two a number in digits. Raises KeyError for a word that is
    not in the language."""
    if not of.digits:
        return [of.ids[word] for word in text.split()]
    return [of.ids[part] for word in text.split()
            for part in (f'{int(word):02d}' if word in _KNOWN_NUMBERS else (word,))]


def decode(ids: Sequence[int], of: Language = PLAIN) -> str:
    """The text of token ids. A digit without a second one is written with a dash (3-), which is no
    number and no word of the language."""
    words = [of.words[i] for i in ids]
    if not of.digits:
        return ' '.join(words)
    made, place = [], 0
    while place < len(words):
        pair = words[place:place + 2]
        if all(map(str.isdigit, pair)) and len(pair) == 2:
            made.append(str(int(''.join(pair))))
            place += 2
            continue
        made.append(f'{pair[0]}-' if pair[0].isdigit() else pair[0])
        place += 1
    return ' '.join(made)


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
    seed: int, count: int, *, number_share: float = 0.4, regularity: float = 0.5,
    of: Language = PLAIN,
) -> np.ndarray:
    """Rows to pre-train on.

    Args:
      seed: of every draw.
      count: how many rows.
      number_share: the share of number lists among the plain rows.
      regularity: how often a number follows its list's stride.
      of: the language. With forms, every other row or so is one of theirs. Its tokenizer changes
        nothing of the texts.

    Returns:
      Token ids [count, of.length], int32, padded on the right; the row after <end> is padding.
    """
    texts = _plain_texts(seed, count, number_share, regularity)
    if of.forms:
        rng = np.random.default_rng([seed, 5])
        kinds = np.where(rng.random(count) < FORM_SHARE, rng.integers(0, len(of.forms), count), -1)
        for number, form in enumerate(of.forms):
            places = np.flatnonzero(kinds == number)
            for place, text in zip(places, form.rows(rng, len(places), regularity)):
                texts[place] = text
    return pad([[IDS[BOS], *encode(text, of), IDS[END]] for text in texts], of.length)


def _plain_texts(seed: int, count: int, number_share: float, regularity: float) -> list[str]:
    """Number lists and sentences."""
    rng = np.random.default_rng([seed, 0])
    is_number = rng.random(count) < number_share
    lists = number_lists(rng, count, PROMPT_NUMBERS + ASKED_NUMBERS, regularity)
    picks = rng.random((count, 8))
    return [' '.join(map(str, lists[number])) if is_number[number] else _sentence(picks[number])
            for number in range(count)]


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
