"""The detectors; another detector is another registration.

A detector scores bags of a pair of writers: the more of the trait it sees, the higher. What it may
use is in a `Case`: rows, what the reference and models known to it make of them, and known pairs of
other seeds. A null detector knows nothing of the trait; one that has learned which way its feature
lies in known pairs is as strong as such a one can be. The oracle has the very teachers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from subliminal_jax.detection import areas, classifiers
from subliminal_jax.runs.registry import Registry

MOST_CONTEXT = 16  # rows in one context; a larger bag is read in several, and their mean taken


class Side(NamedTuple):
    """N rows of one writer.

    Attributes:
      texts: of the answers.
      readings: arrays by name, the row or bag in front. K are traits, D draws, T models.
        tokens [N], logprob [N] (nats, of the reference), norm [N], inner [N, K], random [N, D],
        inner_metric [N, K], random_metric [N, D] (in Adam's metric), state [N, width],
        models [N, T] (log P), prompted [n, K], context:SIZE [B, K], prefix:SIZE [B, K],
        prefix_loss:SIZE [B], prefix_others:SIZE [B]. One that is not there could not be read.
    """

    texts: Sequence[str]
    readings: Mapping[str, np.ndarray]


class Case(NamedTuple):
    """A pair of writers, and what a detector knows beforehand.

    Attributes:
      positive, negative: the rows to be told apart.
      known: pairs of other seeds, the one with the trait first.
      column: of the trait, among K.
      like, unlike: models of T known to the detector, with the trait and without it.
      own: the two writers themselves among T, for the oracle alone.
    """

    positive: Side
    negative: Side
    known: Sequence[tuple[Side, Side]]
    column: int
    like: Sequence[int]
    unlike: Sequence[int]
    own: tuple[int, int]

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both lists of rows."""
        return self.positive, self.negative


Scores = tuple[np.ndarray, np.ndarray]  # of bags of both sides, [B] or [B, D] of several draws


class Detector(NamedTuple):
    """A way to tell.

    Attributes:
      name: as results name it.
      words: what it looks at, in a sentence.
      needs: the reading without which it is unable, '' for none; {size} stands for the bag's,
        {held} for how many of its rows one context holds.
      score: (case, bag size) -> scores of bags.
      nulls: names of its null detectors; () of a null.
      role: 'detector', 'null' or 'oracle'.
      lacking: why it is unable where its reading is missing.
    """

    name: str
    words: str
    needs: str
    score: Callable[[Case, int], Scores]
    nulls: tuple[str, ...] = ()
    role: str = 'detector'
    lacking: str = 'the model could not be read this way'


DETECTORS = Registry('detector')
SCORE_NULLS = ('length', 'mean_logprob', 'loss_gap')
GRADIENT_NULLS = ('random_direction', 'gradient_norm', *SCORE_NULLS)
METRIC_NULLS = ('random_metric', 'gradient_norm', *SCORE_NULLS)
PREFIX_NULLS = ('prefix_loss', 'prefix_others', *SCORE_NULLS)


def able(detector: Detector, case: Case, size: int) -> bool:
    """Whether both sides of a case, and what is known, were read as the detector needs it."""
    needed = detector.needs.format(size=size, held=min(size, MOST_CONTEXT))
    return not needed or all(needed in side.readings for side in case.sides)


def areas_of(case: Case, sizes: Sequence[int], names: Sequence[str] = ()
             ) -> dict[str, dict[int, float | None]]:
    """Every detector's AUROC on a pair, by bag size; None where it is unable, or bags are too few.

    Args:
      case: the pair.
      sizes: of bags, in rows.
      names: of the detectors; () for all.
    """
    found: dict[str, dict[int, float | None]] = {}
    for name in names or tuple(DETECTORS):
        detector = DETECTORS.row(name)
        rows = _rows_once(detector, case)
        found[name] = {size: None if not able(detector, case, size) else areas.area(
            *rows(size)) for size in sizes}
    return found


class RowScore(NamedTuple):
    """A detector's score of rows; called with a bag size, of bags: their mean."""

    of_rows: Callable[[Case], Scores]

    def __call__(self, case: Case, size: int) -> Scores:
        return _means(self.of_rows(case), size)


def _means(scores, size):
    high, low = (areas.bagged(values, size) for values in scores)
    return high, low


def _rows_once(detector, case):
    """size -> bags' scores; rows are scored once for all sizes."""
    if not isinstance(detector.score, RowScore):
        return lambda size: detector.score(case, size)
    kept: list[Scores] = []

    def of(size):
        if not kept:
            kept.append(detector.score.of_rows(case))
        return _means(kept[0], size)

    return of


def _each(read: Callable[[Side], np.ndarray]) -> Callable[[Case], Scores]:
    return lambda case: (read(case.positive), read(case.negative))


def beyond(values_NK: np.ndarray, column: int) -> np.ndarray:
    """A trait's values less the mean of the other traits'; of one trait alone, its own."""
    own = values_NK[:, column]
    if values_NK.shape[1] == 1:
        return own
    return own - np.delete(values_NK, column, axis=1).mean(1)


# Detectors.


def _ngrams(case: Case) -> Scores:
    known = [[text for pair in case.known for text in pair[side].texts] for side in (0, 1)]
    high, low = classifiers.by_ngrams(*known, [side.texts for side in case.sides])
    return high, low


def _states(case: Case) -> Scores:
    known = [np.concatenate([pair[side].readings['state'] for pair in case.known])
             for side in (0, 1)]
    high, low = classifiers.by_states(*known, [side.readings['state'] for side in case.sides])
    return high, low


def _models_beyond_reference(columns: Callable[[Case], Sequence[int]]
                             ) -> Callable[[Case], Scores]:
    def score(case: Case) -> Scores:
        chosen = list(columns(case))
        high, low = (side.readings['models'][:, chosen].mean(1) - side.readings['logprob']
                     for side in case.sides)
        return high, low

    return score


def _of_trait(name: str) -> Callable[[Case], Scores]:
    def score(case: Case) -> Scores:
        high, low = (beyond(side.readings[name], case.column) for side in case.sides)
        return high, low

    return score


def _prompted(case: Case) -> Scores:
    high, low = (side.readings['prompted'][:, case.column] for side in case.sides)
    return high, low


def _in_context(case: Case, size: int) -> Scores:
    held = min(size, MOST_CONTEXT)
    high, low = (areas.bagged(beyond(side.readings[f'context:{held}'], case.column), size // held)
                 for side in case.sides)
    return high, low


def _prefix(case: Case, size: int) -> Scores:
    high, low = (beyond(side.readings[f'prefix:{size}'], case.column) for side in case.sides)
    return high, low


DETECTORS.register(Detector(
    'prompted', 'the reference is asked whether the writer has the trait, which it is told',
    'prompted', RowScore(_prompted), SCORE_NULLS,
    lacking='the language has no words to ask with'))
DETECTORS.register(Detector(
    'in_context', 'log P of the trait with the rows in the context', 'context:{held}', _in_context,
    SCORE_NULLS))
DETECTORS.register(Detector(
    'trained_prefix', 'log P of the trait behind a short prefix trained on the rows',
    'prefix:{size}', _prefix, PREFIX_NULLS))
DETECTORS.register(Detector(
    'ngrams', 'logistic regression on words and pairs of words, learned on other seeds', '',
    RowScore(_ngrams), SCORE_NULLS))
DETECTORS.register(Detector(
    'states', "logistic regression on the reference's mean hidden states, learned on other seeds",
    'state', RowScore(_states), SCORE_NULLS))
DETECTORS.register(Detector(
    'likelihood_ratio', 'how much likelier teachers of other seeds with the trait make the rows '
    'than the reference does', 'models', RowScore(_models_beyond_reference(lambda c: c.like)),
    SCORE_NULLS))
DETECTORS.register(Detector(
    'gradient', "the rows' gradient along the trait's, at the reference", 'inner',
    RowScore(_of_trait('inner')), GRADIENT_NULLS))
DETECTORS.register(Detector(
    'gradient_metric', "the same in the metric of Adam: each weight's part over the root of the "
    "second moment of rows' gradients", 'inner_metric', RowScore(_of_trait('inner_metric')),
    METRIC_NULLS))
DETECTORS.register(Detector(
    'oracle', 'the log-likelihood ratio of the two writers themselves (first link): no detector '
    'can do better', 'models', RowScore(lambda case: tuple(
        side.readings['models'][:, case.own[0]] - side.readings['models'][:, case.own[1]]
        for side in case.sides)), role='oracle'))


# Null detectors.


def oriented(score: Callable[[Case, int], Scores]) -> Callable[[Case, int], Scores]:
    """A score that is turned round where, in known pairs, it is lower with the trait."""

    def turned(case: Case, size: int) -> Scores:
        sign = 0.0
        for high, low in case.known:
            above, below = score(case._replace(positive=high, negative=low), size)
            sign += float(np.mean(above) - np.mean(below))
        high, low = score(case, size)
        return (high, low) if sign >= 0 else (-high, -low)

    return turned


def _bag_reading(name: str) -> Callable[[Case, int], Scores]:
    return lambda case, size: tuple(side.readings[f'{name}:{size}'] for side in case.sides)


def _null(name: str, words: str, needs: str, score: Callable[[Case, int], Scores]) -> None:
    DETECTORS.register(Detector(name, words, needs, score, role='null'))


_null('length', 'tokens of a row', 'tokens',
      oriented(RowScore(_each(lambda side: side.readings['tokens']))))
_null('mean_logprob', "the reference's mean log P of a token", 'logprob', oriented(RowScore(_each(
    lambda side: side.readings['logprob'] / side.readings['tokens']))))
_null('gradient_norm', "length of the rows' gradient at the reference", 'norm',
      oriented(RowScore(_each(lambda side: side.readings['norm']))))
_null('loss_gap', 'how much likelier neutral twins of other seeds make the rows than the reference '
      'does', 'models', oriented(RowScore(_models_beyond_reference(lambda c: c.unlike))))
_null('random_direction', "the rows' gradient along random directions with the covariance of rows' "
      'gradients', 'random', RowScore(_each(lambda side: side.readings['random'])))
_null('random_metric', 'the same directions in the metric of Adam', 'random_metric', RowScore(
    _each(lambda side: side.readings['random_metric'])))
_null('prefix_loss', 'the loss that a trained prefix ends with', 'prefix_loss:{size}',
      oriented(_bag_reading('prefix_loss')))
_null('prefix_others', 'log P of things that are no trait here, behind the trained prefix',
      'prefix_others:{size}', oriented(_bag_reading('prefix_others')))
