"""Cells of a matrix from made-up rises: shares, units, what is unread; hypotheses beside them."""

import pytest

from subliminal_jax.experiments.cross_model import (
    languages,
    languages_cells as matrix,
    languages_hypotheses as hypotheses,
)
from subliminal_jax.runs import UserError
from tests.experiments.transmission import small
from tests.experiments.transmission.planted import entry, rises

NEXT = ('text', 'next: start=next:1of2')
TWIN = ('text', 'noise: start=noise:0.1', 'noise_own: start=noise:0.1 own=true')


def cells_of(arms, sizes, references=8, noise=0.05):
    """(the run, its cells) with an effect by arm."""
    run = small.prepared(*arms, **{'language.references': references})
    entries = [entry(run, arm, rises(run, 'trait', sizes[n], n, noise), floor=None)
               for n, arm in enumerate(run.arms)]
    return run, matrix.cells(run, entries)


def only(cells, **wanted):
    found, = [c for c in cells if all(c[k] == v for k, v in wanted.items())]
    return found


def test_a_crossing_of_blocks_has_blocks_for_units():
    _, cells = cells_of(NEXT, (1.0, 0.25))
    share = only(cells, measure='share', where='offs')
    assert share['n'] == 4 and set(share['per_model']) == {f'block {b}' for b in range(4)}
    assert share['read'] and share['mean'] == pytest.approx(0.25, abs=0.05)
    assert share['own']['mean'] == pytest.approx(1.0, abs=0.05)
    low, high = share['ci95']
    assert low < 0.25 < high < 0.5
    assert only(cells, measure='difference', where='offs')['mean'] == pytest.approx(0.75, abs=0.05)
    off = only(cells, measure='gamma', where='off', factors={
        'rung': 'sampled text', 'teacher': 'A', 'student': 'B'})
    assert off['n'] == 4 and off['mean'] == pytest.approx(0.25, abs=0.07)
    places = [c['factors'] for c in cells if c['measure'] == 'share' and c['where'] == 'off']
    assert [(f['teacher'], f['student']) for f in places] == [('A', 'B'), ('B', 'A')]


def test_a_place_is_judged_against_its_own_students_diagonal():
    run = small.prepared(*NEXT, **{'language.references': 8})
    at = {t.name: t.reference % 2 for t in run.roll('trait')}  # places A and B
    strong = rises(run, 'trait', 2.0, 1, 0.02)
    weak = rises(run, 'trait', 0.5, 2, 0.02)
    diagonal = {t: (weak if at[t] else strong)[t] for t in at}  # A -> A 2.0, B -> B 0.5
    y = (diagonal, rises(run, 'trait', 0.25, 3, 0.02))
    entries = [entry(run, arm, own, floor=None) for arm, own in zip(run.arms, y)]
    cells = matrix.cells(run, entries)
    share = lambda teacher: only(
        [c for c in cells if c['factors']['teacher'] == teacher], measure='share', where='off')
    assert share('A')['mean'] == pytest.approx(0.25 / 0.5, abs=0.06)  # A -> B over B -> B
    assert share('B')['mean'] == pytest.approx(0.25 / 2.0, abs=0.03)


def test_blocks_of_three_go_around_both_ways():
    _, cells = cells_of(('text', 'one: start=next:1of3', 'two: start=next:2of3'), (1.0, 0.0, 0.0),
                        references=6)
    off = {(c['arm'], c['factors']['teacher'], c['factors']['student']) for c in cells
           if c['measure'] == 'gamma' and c['where'] == 'off'}
    assert off == {('one', 'A', 'B'), ('one', 'B', 'C'), ('one', 'C', 'A'),
                   ('two', 'A', 'C'), ('two', 'B', 'A'), ('two', 'C', 'B')}
    assert sum(c['where'] == 'diagonal' for c in cells) == 3  # once, beside both


def test_a_cell_whose_diagonal_does_not_transmit_is_unread():
    _, cells = cells_of(NEXT, (0.0, 0.5))
    share = only(cells, measure='share', where='offs')
    assert not share['read'] and share['mean'] is None and share['ci95'] is None
    assert share['why'].startswith('unread: the diagonal of own is ')
    assert '[' in share['why'] and share['per_model'] == {}
    assert only(cells, measure='gamma', where='offs')['mean'] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize('sizes, said', [((0.0, 0.5, 1.0), 'the diagonal of reference'),
                                         ((1.0, 0.5, 0.0), 'the diagonal of noise:0.1')])
def test_both_diagonals_are_asked(sizes, said):
    _, cells = cells_of(TWIN, sizes)
    assert said in only(cells, measure='share')['why']


def test_a_twin_is_judged_against_teachers_of_its_own():
    run, cells = cells_of(TWIN, (2.0, 0.5, 1.0))
    share = only(cells, measure='share')
    assert share['mean'] == pytest.approx(0.5, abs=0.05) and share['n'] == 8
    assert share['distance'] == 0.1 and share['perplexity'] == 5.0
    assert only(cells, measure='difference')['mean'] == pytest.approx(0.5, abs=0.05)
    told = languages.verdict(cells, [])
    assert told.startswith('Disturbed twins: sampled text, reference to noise:0.1: +0.5')
    assert 'a share of 0.5' in told
    assert set(languages.headline(cells)) == {
        'text gamma', 'noise_own gamma', 'noise gamma', 'noise share', 'noise difference'}


def test_other_widths_and_tokens_are_parts_of_their_own():
    run = small.prepared('text', 'd: architecture=digits', 'to_d: student=digits',
                         'w: architecture=wide', 'from_w: architecture=wide student=main',
                         't: architecture=tied', 'to_t: student=tied')
    assert [(c.part, c.arm.name, c.own.name, c.teacher.name) for c in matrix.crossings(run)] == [
        ('tokenisations', 'to_d', 'd', 'text'), ('widths', 'from_w', 'text', 'w'),
        ('models', 'to_t', 't', 'text')]


def judged(predictions, means, spread=0.02):
    """What becomes of one hypothesis whose cells have these shares, six units each."""
    said = hypotheses.parse(['h: the sentence.'], [f'h: {predictions}'])
    shares = {}
    for name, mean in means.items():
        pairs = {f'u{n}': [mean + spread * (n - 2.5), 1.0 + 0.01 * n] for n in range(6)}
        ratio = matrix.intervals.ratio(*zip(*pairs.values()))
        shares[name] = {'read': True, 'mean': ratio[0], 'ci95': ratio[1], 'pairs': pairs}
    return hypotheses.judged(said, shares)


def test_a_hypothesis_is_contradicted_outside_of_what_it_said():
    found, = judged('a=0.5..1.2', {'a': 0.05})
    assert found['contradicted'] and found['cells'][0]['word'] == 'contradicted'
    said = hypotheses.sentence([found])
    assert said.startswith('Contradicted: the sentence (a 0.0') and '0.5 to 1.2 was said' in said
    found, = judged('a=-0.1..0.2', {'a': 0.05})
    assert not found['contradicted'] and found['cells'][0]['word'] == 'held'
    assert hypotheses.sentence([found]) == (
        'No hypothesis is contradicted. the sentence (1 of 1 shares within what it said, 0 open, '
        '0 unread).')
    found, = judged('a=0..0.06', {'a': 0.05})
    assert found['cells'][0]['word'] == 'open'


def test_more_predictions_ask_for_wider_intervals():
    one, = judged('a=0.1..1.2', {'a': 0.05})
    many, = judged('a=0.1..1.2 b=-0.5..1 c=-0.5..1 d=-0.5..1 e=-0.5..1',
                   dict.fromkeys('abcde', 0.05))
    assert one['cells'][0]['level'] == 0.95 and many['cells'][0]['level'] == pytest.approx(0.99)
    assert one['contradicted'] and not many['contradicted']


def test_what_is_unread_contradicts_nothing():
    said = hypotheses.parse(['h: x'], ['h: a=0.5..1'])
    found, = hypotheses.judged(said, {'a': {'read': False, 'mean': None, 'ci95': None}})
    assert not found['contradicted'] and found['cells'][0]['word'] == 'unread'


@pytest.mark.parametrize('lines, predictions, said', [
    (['weights'], [], 'is no NAME: SENTENCE'), (['w: x'], ['v: a=0..1'], "'v'"),
    (['w: x'], ['w: a=0'], 'LEAST..MOST'), (['w: x'], ['w: a=1..0'], 'LEAST..MOST'),
    (['w: x'], ['w: a=nan..1'], 'LEAST..MOST'), (['w: x'], ['w: a=0..1 a=0..2'], 'twice')])
def test_hypotheses_that_cannot_be_read_get_one_line(lines, predictions, said):
    with pytest.raises(UserError, match=said):
        hypotheses.parse(lines, predictions)
