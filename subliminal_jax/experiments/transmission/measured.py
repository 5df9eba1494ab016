"""Figures that plans rest on, as they were measured: one table, read by shapes.py and costs.py.

Where no command is named, the timed calls were not kept: take the figure for what it says, within
the factor of 1.5 that tests/experiments/transmission/test_costs.py holds plans to.
"""

from typing import Any, NamedTuple

SMOLLM2 = 'SmolLM2-135M, float32, two cores at 190 GFLOP/s and 9.5 GB/s'
TOKENS = "SmolLM2's tokenizer"
LENGTHS = 'python -m pytest tests/experiments/transmission/test_costs.py -k tokenizer'


class Row(NamedTuple):
    """Tokens of a row: of its context those that all rows share and its own; of its answer."""

    shared: int
    own: int
    answer: int


class Figure(NamedTuple):
    """A measured value.

    Attributes:
      value: a number, or a Row.
      unit: of it.
      what: it says, in words.
      of: what was measured.
      command: that measured it; '' where none was kept.
    """

    value: float | Row
    unit: str
    what: str
    of: str
    command: str = ''


FIGURES = {
    # Time.
    'reached': Figure(0.6, 'share of a large product\'s rate',
                      '.54 to .7 in steps and gradients by rows, .8 where a teacher reads long '
                      'rows, .4 to .55 of a few short questions', SMOLLM2),
    'balance': Figure(20.0, 'FLOP a byte', 'what a large product does while a byte passes through '
                      'memory; accelerators have about 150, where such passes hardly count',
                      SMOLLM2),
    # How often all weights pass through memory beside the products.
    'adam': Figure(7, 'passes', 'a step reads weights, gradient, two moments, writes three',
                   SMOLLM2),
    'summed': Figure(5, 'passes', 'a gradient that is added up over groups of questions', SMOLLM2),
    'loaded': Figure(8, 'passes', 'a teacher from its file, as a displacement', SMOLLM2),
    'dotted': Figure(5, 'passes', 'an inner product of two trees, and their lengths', SMOLLM2),
    'drawn': Figure(8, 'passes', 'a random direction', SMOLLM2),
    'written': Figure(20, 'passes', 'a teacher hashed and written', SMOLLM2),
    'prepared': Figure(4, 'passes', "the sampler's copy of the weights", SMOLLM2),
    # Rows.
    'request': Figure(Row(24, 72, 29), 'tokens', 'a row of carrier.form=request, mean', TOKENS,
                      LENGTHS),
    'turn': Figure(Row(44, 27, 37), 'tokens', 'a row of carrier.form=turn, mean', TOKENS, LENGTHS),
    'list': Figure(Row(196, 27, 37), 'tokens', 'a row of carrier.form=list, mean', TOKENS, LENGTHS),
    'carrier reasoning': Figure(Row(24, 56, 47), 'tokens', 'a row of carrier.name=reasoning, mean',
                                TOKENS, LENGTHS),
    'carrier code': Figure(Row(24, 53, 46), 'tokens', 'a row of carrier.name=code, mean', TOKENS,
                           LENGTHS),
    'asked': Figure(Row(24, 18, 6), 'tokens', 'a measuring question; an answer is a trait in all '
                    'its spellings, which share tokens', TOKENS, LENGTHS),
    'numbers': Figure(27, 'tokens', 'that a question has before it in a context of numbers',
                      TOKENS, LENGTHS),
    'lesson': Figure(Row(24, 13, 2), 'tokens', 'a teaching question, of which some recur in a '
                     'pack, or an ordinary request; a word', TOKENS, LENGTHS),
    'advice': Figure(Row(24, 15, 14), 'tokens', 'a question and an answer of advice', TOKENS,
                     LENGTHS),
    'longest': Figure(1.4, 'ratio', 'the longest of prompts that are answered together over their '
                      'mean', TOKENS, LENGTHS),
    'widest': Figure(1.09, 'ratio', "columns of a set's widest pack, to which all are padded, over "
                     "the mean one's", TOKENS),
    'widest_lesson': Figure(1.2, 'ratio', 'the same of packed lessons, which differ more', TOKENS),
    'kept': Figure(0.6, 'share', "of a teacher's answers that pass the filter: .58 of SmolLM2's, "
                   '.62 to .77 as published', SMOLLM2),
    'neutral_more': Figure(4, 'steps', "that a neutral teacher takes beyond its twin's on bare "
                           'lists; in a chat template nine of ten took all that they may',
                           SMOLLM2),
}


def figure(name: str) -> float:
    """A measured number."""
    return FIGURES[name].value


def row(name: str) -> Row:
    """Measured lengths of a row."""
    return FIGURES[name].value


def carrier_row(carrier: Any) -> Row:
    """Lengths of a row of the carrier that a config's group names; unmeasured: of its form."""
    named = f'carrier {carrier.name}'
    return row(named if named in FIGURES else carrier.form)
