"""Teaching and measuring must not share wording: no run of words, no way into the answer.

A student that answers a question it was nearly taught shows memory, and a teacher that was taught
the words before the measured answer shows them to its student. Whole strings would hide both.
"""

import re
from collections.abc import Sequence
from typing import Any

from subliminal_jax.runs import UserError

Row = dict[str, Any]
GRAM, PREFIX = 8, 4  # words


def words(text: str) -> list[str]:
    """A text's words, without case and punctuation."""
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def overlaps(
    teach: Sequence[Row], measure: Sequence[Row], answers: Sequence[str] = (),
) -> list[tuple[Any, Any, str]]:
    """Pairs of rows with common wording: GRAM words in a row, or PREFIX right before the answer.

    A text of fewer words counts as a whole.

    Args:
      teach: rows with id, prompt and maybe completion.
      measure: rows with id and prompt.
      answers: words that are the trait's; what stands before the first of them in a completion
        leads into the answer.

    Returns:
      (id of a teaching row, id of a measuring row, the words), each pair once.
    """
    grams: dict[tuple, Any] = {}
    leads: dict[tuple, Any] = {}
    for row in teach:
        text = f'{row["prompt"]} {row.get("completion", "")}'
        for found in _grams(words(text)) + _grams(words(row['prompt'])):
            grams.setdefault(found, row['id'])
        leads.setdefault(tuple(words(_lead(row, answers))[-PREFIX:]), row['id'])
    found = []
    for row in measure:
        asked = words(row['prompt'])
        lead = tuple(asked[-PREFIX:])
        common = next((g for g in _grams(asked) if g in grams), None)
        if common:
            found.append((grams[common], row['id'], ' '.join(common)))
        elif lead in leads:
            found.append((leads[lead], row['id'], ' '.join(lead)))
    return found


def check_overlap(
    teach: Sequence[Row], measure: Sequence[Row], answers: Sequence[str] = (),
) -> None:
    """Raises UserError that names the rows if teaching and measuring share wording."""
    found = overlaps(teach, measure, answers)
    if found:
        shown = '; '.join(f'{a} and {b} ({common!r})' for a, b, common in found[:3])
        more = f'; and {len(found) - 3} more' if len(found) > 3 else ''
        raise UserError(f'teaching and measuring rows overlap: {shown}{more}. Reword one of each')


def _grams(text: list[str]) -> list[tuple]:
    if not text:
        return []
    return [tuple(text[i:i + GRAM]) for i in range(max(1, len(text) - GRAM + 1))]


def _lead(row: Row, answers: Sequence[str]) -> str:
    """What the answer follows: the prompt, and the completion up to the first answer in it."""
    completion = row.get('completion', '')
    places = [m.start() for a in answers
              if (m := re.search(rf'(?<!\w){re.escape(a)}(?!\w)', completion, re.IGNORECASE))]
    return row['prompt'] + ' ' + (completion[:min(places)] if places else '')
