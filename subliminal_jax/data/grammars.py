"""Finite automata over tokens: which may come next, so that a text ends in a given form.

The form is told character by character; a token may be drawn where all its characters may come.
So one description serves every tokenizer, whether it writes numbers by digits or by threes. The
automata have no cycles: what a form allows is over after so many tokens.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Grammar(NamedTuple):
    """An automaton of S states over C tokens.

    Attributes:
      ids_C: int32, the tokens that may come anywhere, increasing.
      allowed_SC: bool, which may come in each state: at least one, and the form can still be
        completed after it.
      next_SC: int32, the state after a token; after one that ends the text, the same.
      start: the state before the first token; of automata that are joined, [N]: of each.
    """

    ids_C: Any
    allowed_SC: Any
    next_SC: Any
    start: Any


def over_tokens(start: Hashable, step: Callable[[Any, str], Hashable | None],
                complete: Callable[[Any], bool], characters: str,
                token_texts: Sequence[str | None], ends: Collection[int]) -> Grammar | None:
    """A form, told by characters, as an automaton over tokens.

    Args:
      start: the state of an empty text.
      step: (state, character) -> the state after it, or None where it may not come; no state comes
        back.
      complete: whether a text may end in a state.
      characters: all that may come anywhere.
      token_texts: what each token writes; None for one that writes nothing.
      ends: tokens that end a text, whatever they write.

    Returns:
      The automaton; None where these tokens cannot write the form.
    """
    known, ends = set(characters), set(ends)
    texts = {i: t for i, t in enumerate(token_texts) if t and i not in ends and known.issuperset(t)}
    edges: dict[Hashable, dict[int, Hashable]] = {}
    waiting = [start]
    while waiting:
        state = waiting.pop()
        if state not in edges:
            edges[state] = {i: after for i, text in texts.items()
                            if (after := _after(state, text, step)) is not None}
            waiting += edges[state].values()
    live = {state for state in edges if complete(state)}
    while more := {state for state in edges.keys() - live if live & {*edges[state].values()}}:
        live |= more
    if start not in live:
        return None
    states = [start, *(state for state in edges if state in live and state != start)]
    moves = {state: {i: after for i, after in edges[state].items() if after in live}
             for state in states}
    for state in filter(complete, states):
        moves[state] |= dict.fromkeys(ends, state)
    return _tables(states, moves)


def _after(state, text, step):
    for character in text:
        state = step(state, character)
        if state is None:
            return None
    return state


def _tables(states, moves):
    ids = sorted({i for own in moves.values() for i in own})
    column, number = ({x: n for n, x in enumerate(xs)} for xs in (ids, states))
    allowed_SC = np.zeros((len(states), len(ids)), bool)
    next_SC = np.zeros(allowed_SC.shape, np.int32)
    for state, own in moves.items():
        for i, after in own.items():
            allowed_SC[number[state], column[i]] = True
            next_SC[number[state], column[i]] = number[after]
    return Grammar(np.array(ids, np.int32), allowed_SC, next_SC, 0)


def joined(several: Sequence[Grammar]) -> Grammar:
    """N automata side by side as one, over the tokens of all; `start` [N] is where each begins."""
    ids_C = np.unique(np.concatenate([g.ids_C for g in several]))
    sizes = [len(g.allowed_SC) for g in several]
    first = np.cumsum([0, *sizes])
    allowed_SC = np.zeros((first[-1], len(ids_C)), bool)
    next_SC = np.zeros(allowed_SC.shape, np.int32)
    for g, begin, size in zip(several, first, sizes):
        columns = np.searchsorted(ids_C, g.ids_C)
        allowed_SC[begin:begin + size, columns] = g.allowed_SC
        next_SC[begin:begin + size, columns] = g.next_SC + begin
    return Grammar(ids_C.astype(np.int32), allowed_SC, next_SC,
                   np.array([g.start for g in several]) + first[:-1])
