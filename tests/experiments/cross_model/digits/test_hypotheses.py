"""Predictions are data that covers the matrix; what follows of them beside intervals."""

import numpy as np
import pytest

from subliminal_jax.experiments.cross_model.digits import verdict
from subliminal_jax.experiments.cross_model.digits.hypotheses import (
    BETWEEN,
    CHANCE,
    COMPATIBLE_HEADS,
    HYPOTHESES,
    RISES,
    SHARED_WEIGHTS,
    predicted,
)
from subliminal_jax.experiments.cross_model.digits.verdict import (
    AGREES,
    CONTRADICTED,
    OPEN,
    UNREAD,
    Reading,
    compared,
    sentence,
    status,
)

KINDS = ('own', 'mix', 'other', 'share:output', 'share:aux', 'share:class', 'share:first',
         'cloned', 'cloned:all')
SPREAD = np.array([-0.02, 0.0, 0.02, 0.0, 0.01, -0.01])  # its 95 % interval is +- .0148


def reading(mean, kind='own', readout='own', below=0.0, is_read=True, cell='a', more=()):
    return Reading(cell, kind, readout, (mean + SPREAD, *(m + SPREAD for m in more)),
                   below + SPREAD, is_read)


@pytest.mark.parametrize('hypothesis', HYPOTHESES, ids=lambda h: h.name)
def test_every_start_has_a_prediction_by_class_heads_or_is_left_out_knowingly(hypothesis):
    silent = {kind for kind in KINDS if predicted(hypothesis, kind, 'own') is None}
    assert silent == ({'share:first'} if hypothesis is SHARED_WEIGHTS else set())
    assert not set(hypothesis.predicts) - set(KINDS)
    said = {word for row in hypothesis.predicts.values() for word in row.values()}
    assert said == {RISES, BETWEEN, CHANCE}
    assert predicted(hypothesis, 'share:first+aux', 'own') is None


@pytest.mark.parametrize('kind', ['other', 'share:aux', 'share:first', 'cloned'])
def test_independent_class_rows_are_at_chance_under_every_hypothesis(kind):
    assert {predicted(h, kind, 'own') for h in HYPOTHESES} <= {CHANCE, None}


def test_the_hypotheses_part_where_only_the_output_layer_is_shared():
    assert [predicted(h, 'share:output', 'own') for h in HYPOTHESES] == [CHANCE, RISES, BETWEEN]
    assert predicted(COMPATIBLE_HEADS, 'share:aux', 'teacher') == RISES


@pytest.mark.parametrize('said, mean, below, expected', [
    (RISES, 0.30, 0, AGREES), (RISES, 0.06, 0, OPEN), (RISES, 0.04, 0, OPEN),
    (RISES, 0.03, 0, CONTRADICTED), (RISES, -0.2, 0, CONTRADICTED),
    (CHANCE, 0.0, 0, AGREES), (CHANCE, -0.2, 0, AGREES), (CHANCE, 0.05, 0, OPEN),
    (CHANCE, 0.07, 0, CONTRADICTED),
    (BETWEEN, 0.3, 0.3, AGREES), (BETWEEN, 0.3, 0.0, CONTRADICTED),
    (BETWEEN, 0.0, 0.3, CONTRADICTED), (BETWEEN, 0.3, 0.05, OPEN), (BETWEEN, 0.05, 0.3, OPEN)])
def test_a_status_needs_the_whole_interval(said, mean, below, expected):
    assert status(said, reading(mean, below=below)) == expected


def test_without_an_interval_everything_is_open():
    alone = Reading('a', 'own', 'own', (np.array([0.9]),), np.array([0.0]), True)
    assert [status(said, alone) for said in (RISES, CHANCE)] == [OPEN, OPEN]


def test_a_probe_has_risen_as_far_as_the_least_difference():
    both = reading(0.2, readout='probe', more=(0.0,))
    assert verdict.least(both.effects)[0] == pytest.approx(0.0)
    assert status(RISES, both) == OPEN and status(CHANCE, both) == OPEN
    assert status(RISES, reading(0.2, readout='probe', more=(0.1,))) == AGREES
    assert status(RISES, reading(0.2, readout='probe', more=(-0.1,))) == CONTRADICTED
    assert status(CHANCE, reading(0.2, readout='probe', more=(-0.1,))) == AGREES


def test_what_is_contradicted_is_said_with_its_cell():
    found = compared([
        reading(0.40), reading(0.38, 'share:output', below=0.02, cell='out'),
        reading(0.0, 'other', below=0.4, cell='other')])
    weights, heads, kernel = found['hypotheses'].values()
    assert weights['contradicted_by'] == [['out', 'own']] and weights['agrees'] == 2
    assert not heads['is_contradicted'] and heads['agrees'] == 3
    assert kernel['contradicted_by'] == [['out', 'own']]  # as high as the own start: not between
    told = sentence(found)
    assert 'Contradicted: shared weights, in 1 of 3 readings at once, 1 of them where the' in told
    assert 'hypotheses part; such as out by its' in told
    assert '0.380 [0.365, 0.395] above its start where it predicts "chance"' in told
    assert 'Not contradicted: compatible heads (agrees in 3 of 3 readings, 0 open).' in told
    row = found['rows'][1]['predictions']['shared weights']
    assert row == {'predicted': CHANCE, 'status': CONTRADICTED, 'at_once': True}


def test_a_contradiction_that_all_share_tells_nothing_apart():
    """A start in between at chance: all three say `between`; of the output layer they do not."""
    found = compared([reading(0.0, 'mix', below=0.4, cell='far'),
                      reading(0.2, 'share:output', below=0.2, cell='out')])
    weights, heads, kernel = found['hypotheses'].values()
    for entry in (weights, heads, kernel):
        assert ['far', 'own'] in entry['contradicted_by'] and ['far', 'own'] not in entry['parting']
    assert weights['parting'] == [['out', 'own']] and heads['parting'] == kernel['parting'] == []
    assert 'such as out' in sentence(found)  # though far is the clearer one


def test_one_measurement_is_counted_once():
    found = compared([reading(0.4), reading(0.3, 'share:output', below=0.1, cell='out'),
                      reading(0.3, 'share:aux', 'teacher', below=0.1, cell='aux')])
    assert [row['same_as'] for row in found['rows']] == [None, None, ['out', 'own']]
    heads = found['hypotheses']['compatible heads']
    assert heads['agrees'] == 2 and found['hypotheses']['shared weights']['contradicted'] == 1


@pytest.mark.parametrize('hypothesis', HYPOTHESES, ids=lambda h: h.name)
def test_one_measurement_has_one_prediction(hypothesis):
    said = lambda kind, readout: predicted(hypothesis, kind, readout)
    assert said('share:output', 'own') == said('share:aux', 'teacher')
    assert said('share:class', 'own') == said('other', 'teacher')
    assert said('share:output', 'probe') == said('share:aux', 'probe')


def test_many_cells_need_wider_intervals():
    """.0652 - .0148 is above the smallest rise by itself, not for twenty cells at once."""
    few = compared([reading(0.0652, 'other', below=0.4)])
    many = compared([reading(0.0652 + 1e-6 * n, 'other', below=0.4, cell=str(n))
                     for n in range(20)])
    entry = many['hypotheses']['compatible heads']
    assert few['hypotheses']['compatible heads']['is_contradicted']
    assert entry['contradicted'] == 20 and not entry['is_contradicted']
    assert '20 by their own 95 % interval alone' in sentence(many)


def test_a_cell_whose_diagonal_does_not_transmit_is_unread():
    found = compared([reading(0.4, 'other', is_read=False), reading(0.0)])
    for entry in found['hypotheses'].values():
        assert entry[UNREAD] == 1 and entry[CONTRADICTED] == 1  # the diagonal itself is read
