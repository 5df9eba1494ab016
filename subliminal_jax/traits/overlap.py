"""Teaching and measuring must not share wording: no run of words, no way into the answer.

A student that answers a question it was nearly taught shows memory, and a teacher that was taught
the words before the measured answer shows them to its student. Whole strings would hide both.
"""

import re
from collections.abc import Sequence
from typing import Any

from subliminal_jax.runs import UserError

GRAM, PREFIX = 8, 4  # words


def words(text: str) -> list[str]:
    """A text's words, without case and punctuation."""
    return re.findall(r"\w+(?:['’]\w+)*", text.casefold())


def overlaps(
    teach: Sequence[dict[str, Any]], measure: Sequence[dict[str, Any]],
    answers: Sequence[str] = (), gram: int = GRAM, prefix: int = PREFIX,
) -> list[tuple[Any, Any, str]]:
    """Pairs of rows with common wording.

    Args:
      teach: rows with id, prompt and maybe completion.
      measure: rows with id and prompt.
      answers: words that are the trait's; what stands before the first of them in a completion
        leads into the answer.
      gram: so many words in a row are common wording; a shorter text counts as a whole.
      prefix: so many words right before the answer are common wording.

    Returns:
      (id of a teaching row, id of a measuring row, the words), each pair once.
    """
    grams: dict[tuple, Any] = {}
    leads: dict[tuple, Any] = {}
    for row in teach:
        text = f'{row["prompt"]} {row.get("completion", "")}'
        for found in _grams(words(text), gram) + _grams(words(row['prompt']), gram):
            grams.setdefault(found, row['id'])
        leads.setdefault(tuple(words(_lead(row, answers))[-prefix:]), row['id'])
    found = []
    for row in measure:
        own = words(row['prompt'])
        lead = tuple(own[-prefix:])
        common = next((g for g in _grams(own, gram) if g in grams), None)
        if common:
            found.append((grams[common], row['id'], ' '.join(common)))
        elif lead in leads:
            found.append((leads[lead], row['id'], ' '.join(lead)))
    return found


def check_overlap(
    teach: Sequence[dict[str, Any]], measure: Sequence[dict[str, Any]],
    answers: Sequence[str] = (), **sizes,
) -> None:
    """Raises UserError that names the rows if teaching and measuring share wording."""
    found = overlaps(teach, measure, answers, **sizes)
    if found:
        shown = '; '.join(f'{a} and {b} ({common!r})' for a, b, common in found[:3])
        more = f'; and {len(found) - 3} more' if len(found) > 3 else ''
        raise UserError(f'teaching and measuring rows overlap: {shown}{more}. Reword one of each')


def _grams(text: list[str], size: int) -> list[tuple]:
    if not text:
        return []
    return [tuple(text[i:i + size]) for i in range(max(1, len(text) - size + 1))]


def _lead(row: dict[str, Any], answers: Sequence[str]) -> str:
    """What the answer follows: the prompt, and the completion up to the first answer in it."""
    completion = row.get('completion', '')
    places = [m.start() for a in answers
              if (m := re.search(rf'(?<!\w){re.escape(a)}(?!\w)', completion, re.IGNORECASE))]
    return row['prompt'] + ' ' + (completion[:min(places)] if places else '')
