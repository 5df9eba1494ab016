"""What hypotheses say of a matrix before it is run, and which of them the run contradicts.

A hypothesis is a name with a sentence; it predicts, for some cells, between which bounds the share
lies: transmission to the cell's students, over transmission from their own teacher. The lines of a
config say both:

    hypotheses   'heads: compatible output matrices suffice'
    predictions  'heads: text_next=-0.1..0.1 share_head=0.5..1.2'

A cell contradicts a hypothesis where its interval lies wholly outside of the bounds. The intervals
that decide are wider than 95 %: with n predictions each has the level 1 - .05 / n (Bonferroni), so
that a hypothesis that is true is contradicted in at most one run of twenty.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subliminal_jax.evaluation import intervals
from subliminal_jax.runs import UserError, unknown_name

ALPHA = 0.05  # chance that a true hypothesis is contradicted
WORDS = ('contradicted', 'held', 'open', 'unread')


class Hypothesis(NamedTuple):
    """A hypothesis.

    Attributes:
      name: one word.
      says: in a sentence, without its full stop.
      predicts: (least, most) share by cell.
    """

    name: str
    says: str
    predicts: Mapping[str, tuple[float, float]]


def parse(hypotheses: Sequence[str], predictions: Sequence[str]) -> list[Hypothesis]:
    """The hypotheses of a config.

    Raises:
      UserError: a line that cannot be read, or predictions of a hypothesis that has no sentence.
    """
    says: dict[str, str] = {}
    for line in hypotheses:
        name, colon, text = line.partition(':')
        if not colon or not text.strip():
            raise UserError(f'config.matrix.hypotheses: {line!r} is no NAME: SENTENCE')
        says[name.strip()] = text.strip().rstrip('.')
    predicts: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in says}
    for line in predictions:
        name, _, rest = line.partition(':')
        if name.strip() not in says:
            raise UserError('config.matrix.predictions: ' + str(unknown_name(
                'hypothesis', name.strip(), tuple(says))))
        for part in rest.split():
            cell, bounds = _bounds(part)
            if cell in predicts[name.strip()]:
                raise UserError(f'config.matrix.predictions: {name.strip()} predicts {cell} twice')
            predicts[name.strip()][cell] = bounds
    return [Hypothesis(name, text, predicts[name]) for name, text in says.items()]


def _bounds(part: str) -> tuple[str, tuple[float, float]]:
    cell, _, both = part.partition('=')
    least, dots, most = both.partition('..')
    try:
        bounds = float(least), float(most)
    except ValueError:
        dots, bounds = '', (0.0, 0.0)
    if not (cell and dots and all(map(math.isfinite, bounds)) and bounds[0] < bounds[1]):
        raise UserError(f'config.matrix.predictions: {part!r} is no CELL=LEAST..MOST, such as '
                        'text_next=-0.1..0.1')
    return cell, bounds


def check(hypotheses: Sequence[Hypothesis], cells: Sequence[str]) -> None:
    """Raises UserError for a prediction of a cell that the matrix has not got."""
    for hypothesis in hypotheses:
        for cell in hypothesis.predicts:
            if cell not in cells:
                raise UserError(f'config.matrix.predictions: {hypothesis.name}: ' + str(
                    unknown_name('cell of this matrix', cell, cells)))


def judged(hypotheses: Sequence[Hypothesis], shares: Mapping[str, Mapping[str, Any]]
           ) -> list[dict[str, Any]]:
    """Every hypothesis beside what was seen.

    Args:
      hypotheses: of the config.
      shares: the entries of results.json of measure `share`, by their arm (`pairs` of above and
        below by unit).

    Returns:
      {'name', 'says', 'contradicted': bool, 'cells': [{'cell', 'least', 'most', 'mean', 'ci95',
      'level', 'wide', 'word'}]}: `wide` is the interval at `level`, which decides; `word` is one of
      WORDS.
    """
    found = []
    for hypothesis in hypotheses:
        read = [cell for cell in hypothesis.predicts if shares[cell]['read']]
        level = 1 - ALPHA / max(1, len(read))
        cells = [_beside(cell, bounds, shares[cell], level)
                 for cell, bounds in hypothesis.predicts.items()]
        found.append({'name': hypothesis.name, 'says': hypothesis.says, 'cells': cells,
                      'contradicted': any(c['word'] == 'contradicted' for c in cells)})
    return found


def _beside(cell, bounds, share, level):
    wide = None
    if share['read']:
        above, below = zip(*share['pairs'].values())
        ratio = intervals.ratio(above, below, level)  # None: the wider interval of `below` holds 0
        wide = ratio[1] if ratio else None
    return {'cell': cell, 'least': bounds[0], 'most': bounds[1], 'mean': share['mean'],
            'ci95': share['ci95'], 'level': level, 'wide': wide,
            'word': _word(bounds, share, wide)}


def _word(bounds, share, wide):
    if not share['read']:
        return 'unread'
    if wide and (wide[1] < bounds[0] or wide[0] > bounds[1]):
        return 'contradicted'
    low, high = share['ci95']
    return 'held' if bounds[0] <= low and high <= bounds[1] else 'open'


def sentence(found: Sequence[Mapping[str, Any]]) -> str:
    """Which hypotheses the run contradicts, in words; '' without any."""
    if not found:
        return ''
    against = [h for h in found if h['contradicted']]
    others = [h for h in found if not h['contradicted']]
    said = [f'Contradicted: {"; ".join(map(_against, against))}.' if against
            else 'No hypothesis is contradicted.']
    if others and against:
        said.append(f'Not contradicted: {"; ".join(map(_for, others))}.')
    elif others:
        said.append(f'{"; ".join(map(_for, others))}.')
    return ' '.join(said)


def _against(hypothesis):
    cells = [c for c in hypothesis['cells'] if c['word'] == 'contradicted']
    told = ', '.join(
        f'{c["cell"]} {c["mean"]:.2f} [{c["wide"][0]:.2f}, {c["wide"][1]:.2f}] where '
        f'{c["least"]:g} to {c["most"]:g} was said' for c in cells)
    return f'{hypothesis["says"]} ({told})'


def _for(hypothesis):
    count = {word: sum(c['word'] == word for c in hypothesis['cells']) for word in WORDS}
    return (f'{hypothesis["says"]} ({count["held"]} of {len(hypothesis["cells"])} shares within '
            f'what it said, {count["open"]} open, {count["unread"]} unread)')
