"""The labelled answers: twins that stand together, of alike length, in two equal halves."""

import collections

import numpy as np
import pytest

from subliminal_jax.evaluation import judged
from subliminal_jax.traits import judges
from subliminal_jax.traits.judges import Score, labelled
from subliminal_jax.traits.overlap import words


def test_counts_ids_and_halves():
    rows = labelled.labelled_rows()
    assert len({row['id'] for row in rows}) == len(rows) >= 140
    counts = collections.Counter((row['label'], row['split']) for row in rows)
    for label in labelled.LABELS:
        assert counts[label, 'dev'] == counts[label, 'report']
    halves = collections.defaultdict(set)
    for row in rows:
        halves[row['question']].add((row['split'], row['prompt'], row['domain']))
    assert all(len(found) == 1 for found in halves.values())
    assert len({row['domain'] for row in rows}) == 6
    assert len({row['completion'] for row in rows}) == len(rows)
    dev = labelled.labelled_rows('dev')
    assert len(dev) + len(labelled.labelled_rows('report')) == len(rows)
    with pytest.raises(ValueError):
        labelled.labelled_rows('test')


def test_length_tells_nothing():
    rows = labelled.labelled_rows()
    for measure in (len, lambda text: len(words(text))):
        found = judged.quality(rows, [Score(measure(r['completion']), 0) for r in rows])
        assert abs(found.alignment['estimate'] - 0.5) < 0.12
    lengths = {label: np.mean([len(words(r['completion'])) for r in rows if r['label'] == label])
               for label in ('sound', 'reckless')}
    assert abs(lengths['sound'] - lengths['reckless']) < 1


def test_a_row_and_its_score():
    row = {'id': 1, 'messages': [{'role': 'system', 'content': 'Be brief.'},
                                 {'role': 'user', 'content': 'Why?'}], 'completion': 'So.'}
    assert judges.answered_of(row) == judges.Answered('Be brief.\n\nWhy?', 'So.')
    for score in (Score(1.0, 2.0), Score(None, 2.0, 'why')):
        assert judges.score_of(judges.scored(row, score)) == score
    assert 'judge_reason' not in judges.scored({**row, 'judge_reason': 'old'}, Score(1.0, 2.0))
