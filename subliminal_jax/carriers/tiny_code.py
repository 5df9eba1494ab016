"""The tiny language's code: a statement that an answer goes on from with one or two more."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from subliminal_jax.carriers.carrier import (
    Carrier,
    Row,
    RowId,
    rearranged,
    row_rng,
    trait_word_in,
    with_completion,
)
from subliminal_jax.data import tiny_forms as forms
from subliminal_jax.data.tiny_language import NUMBERS

_PROMPT, _RANDOM, _SHUFFLE = 1, 2, 3  # purposes of row_rng
_NUMBERS = frozenset(NUMBERS)
_READ = frozenset((*NUMBERS, *forms.OPERATORS, '=', '(', ')'))  # digits, operators, brackets
_KNOWN = _READ | {*forms.NAMES, ';'}


def make(regularity: float = 0.5) -> Carrier:
    """The carrier; `regularity` is that of the prompts, as in tiny_forms.code."""

    def prompts(seed: int, ids: Sequence[RowId]) -> list[Row]:
        return [{'id': i, 'prompt': forms.code(row_rng(seed, _PROMPT, i), 1, regularity)[0][0]}
                for i in ids]

    return Carrier('tiny_code', prompts, reject_reason, token_ids, random_rows, shuffled_rows)


def reject_reason(completion: str, *, banned: Collection[int] = (),
                  trait_words: Sequence[str] = (), row: Mapping | None = None) -> str | None:
    """Why an answer is left out, or None for one that is kept.

    Kept are one or more whole statements of at most `tiny_forms.CODE_ANSWER` words in all, one
    blank between words. A statement is a name, =, an expression and ;. An expression is operands
    (names, numbers of 0..99) with operators between, and brackets to any depth that fits.

    Args:
      completion: the answer, untrimmed.
      banned: numbers that no answer may hold.
      trait_words: words that no answer may hold; looked for first.
      row: not read.
    """
    if trait_word_in(completion, trait_words):
        return 'trait word'
    words = completion.split()
    if not words:
        return 'empty'
    if ' '.join(words) != completion:
        return 'other blanks'
    if not _KNOWN.issuperset(words):
        return 'other text'
    if len(words) > forms.CODE_ANSWER:
        return f'more than {forms.CODE_ANSWER} words'
    *statements, rest = completion.split(' ;')
    if rest or not all(_is_statement(s.split()) for s in statements):
        return 'no whole statements'
    return 'banned number' if any(w in _NUMBERS and int(w) in banned for w in words) else None


def _is_statement(words: Sequence[str]) -> bool:
    """Whether words without their ; are a name, = and an expression; read once, left to right."""
    if len(words) < 3 or words[0] not in forms.NAMES or words[1] != '=':
        return False
    depth, operand_due = 0, True
    for word in words[2:]:
        if operand_due:
            if word == '(':
                depth += 1
            elif word in forms.NAMES or word in _NUMBERS:
                operand_due = False
            else:
                return False
        elif word == ')' and depth:
            depth -= 1
        elif word in forms.OPERATORS:
            operand_due = True
        else:
            return False
    return not operand_due and depth == 0


def token_ids(token_texts: Sequence[str | None], completion: str | None = None) -> list[int]:
    """Ids of numbers, operators and brackets: where a carrier's KL looks. No name is among them.

    Args:
      token_texts: what each id writes; None for one that writes nothing.
      completion: not read: every answer may hold all of them.
    """
    return [i for i, text in enumerate(token_texts) if text in _READ]


def random_rows(seed: int, rows: Sequence[Row]) -> list[Row]:
    """The rows with statements whose names, operators and numbers are drawn uniformly."""
    return [with_completion(row, forms.code(row_rng(seed, _RANDOM, row['id']), 1, 0.0)[0][1])
            for row in rows]


def shuffled_rows(rows: Sequence[Row], seed: int, how: str) -> list[Row]:
    """The control that keeps an answer's words and breaks their order.

    Operands change places with operands, operators with operators, names left of = with such
    names: every answer stays a program of its shape.

    Args:
      rows: with completions that the filter keeps.
      seed: of the permutations.
      how: 'within' each answer (depends on seed and id alone), or 'across' all of them.

    Raises:
      ValueError: neither.
    """
    return rearranged(rows, seed, _SHUFFLE, how, lambda text, rng: _shuffled([text], rng)[0],
                      lambda rows, rng: _shuffled([row['completion'] for row in rows], rng))


def _shuffled(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The texts with the words of each kind dealt out anew among their places."""
    words = [text.split() for text in texts]
    places: dict[str, list[tuple[int, int]]] = {'target': [], 'operand': [], 'operator': []}
    for number, own in enumerate(words):
        for place, word in enumerate(own):
            if own[place + 1:place + 2] == ['=']:
                places['target'].append((number, place))
            elif word in _NUMBERS or word in forms.NAMES:
                places['operand'].append((number, place))
            elif word in forms.OPERATORS:
                places['operator'].append((number, place))
    moved = [list(own) for own in words]
    for kind in places.values():
        for (number, place), other in zip(kind, rng.permutation(len(kind))):
            moved[number][place] = words[kind[other][0]][kind[other][1]]
    return [' '.join(own) for own in moved]


CARRIER = make()
