"""The effect of one trait: known answers, sign flips, and the interval's coverage."""

import itertools

import numpy as np
import pytest

from subliminal_jax.evaluation.paired import DRAWN, EXACT, paired, sign_flips
from subliminal_jax.runs import UserError


def design(references, per_reference):
    """(teachers, their twins, their references)."""
    names = [f'r{r}-{n}' for r in range(references) for n in range(per_reference)]
    return names, {n: f'{n}-neutral' for n in names}, {n: n.partition('-')[0] for n in names}


def effect_of(differences, references, per_reference, **settings):
    """`paired` of these differences, in order of their teachers."""
    names, twin_of, reference_of = design(references, per_reference)
    twins = {twin_of[n]: 0.25 * k for k, n in enumerate(names)}
    y = {n: twins[twin_of[n]] + d for n, d in zip(names, differences)}
    return paired(y, twins, twin_of, reference_of, **settings)


def test_references_are_the_units_where_there_are_several():
    found = effect_of([1, 3, 2, 4, 6, 8], 3, 2)  # means 2, 3, 7
    assert found['estimate'] == pytest.approx(4) and found['unit'] == 'reference'
    assert found['se'] == pytest.approx(np.std([2, 3, 7], ddof=1) / 3**0.5)
    assert found['dof'] == 2 and found['per_reference'] == pytest.approx(
        {'r0': 2, 'r1': 3, 'r2': 7})
    low, high = found['ci95']
    assert (low + high) / 2 == pytest.approx(4)
    assert high - 4 == pytest.approx(4.302653 * found['se'], rel=1e-5)  # t of 2 degrees
    assert found['own_rise'] - found['others_rise'] == pytest.approx(4)


def test_pairs_are_the_units_where_there_is_one_reference():
    found = effect_of([1, 2, 6], 1, 3)
    assert (found['estimate'], found['unit'], found['dof']) == (pytest.approx(3), 'teacher', 2)
    assert found['se'] == pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert found['per_teacher'] == pytest.approx({'r0-0': 1, 'r0-1': 2, 'r0-2': 6})
    assert found['leave_one_out']['teacher']['r0-2'] == pytest.approx(1.5)


def test_one_pair_has_an_estimate_and_nothing_else():
    found = effect_of([2.0], 1, 1)
    assert found['estimate'] == pytest.approx(2)
    assert found['ci95'] is found['se'] is found['dof'] is found['mde'] is None
    assert found['p'] == 0.5 and found['leave_one_out'] == {'teacher': {}}


def test_the_sign_flips_are_walked_through_one_by_one():
    pairs = np.array([0.5, -0.2, 1.0, 0.3])
    sums = [np.dot(s, pairs) for s in itertools.product((1, -1), repeat=4)]
    found = sign_flips(pairs)
    assert found == {'p': np.mean([s >= pairs.sum() - 1e-12 for s in sums]), 'exact': True,
                     'p_attainable': 1 / 16, 'assignments': 16}
    assert sign_flips(np.array([1.0, 2, 3]))['p'] == 1 / 8  # nothing is more extreme
    assert sign_flips(-np.array([1.0, 2, 3]))['p'] == 1.0
    assert sign_flips(np.zeros(3))['p'] == 1.0  # and a tie counts against a finding


def test_many_signs_are_drawn_and_the_p_stays_valid():
    pairs = np.random.default_rng(0).standard_normal(EXACT + 1)
    found = sign_flips(pairs, seed=1)
    assert not found['exact'] and found['assignments'] == DRAWN
    assert found['p'] >= found['p_attainable'] == 1 / DRAWN
    assert found == sign_flips(pairs, seed=1)
    signs = np.array(list(itertools.product((1, -1), repeat=len(pairs))))
    exact = (signs @ pairs >= pairs.sum() - 1e-12).mean()
    assert found['p'] == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize('references, per_reference', [(1, 6), (6, 1), (8, 3)])
def test_intervals_cover_and_tests_find_nothing_on_simulated_nulls(references, per_reference):
    """References move as a whole too; with one reference its pairs alone do."""
    runs, rng = 600, np.random.default_rng(0)
    shared = 0.7 * (references > 1) * rng.standard_normal((runs, references, 1))
    noise = rng.standard_normal((runs, references, per_reference))
    effects = [effect_of(row, references, per_reference)
               for row in (shared + noise).reshape(runs, -1)]
    covered = np.mean([low <= 0 <= high for low, high in (e['ci95'] for e in effects)])
    assert covered == pytest.approx(0.95, abs=0.03)  # its own standard error is 0.009
    p = np.array([e['p'] for e in effects])
    assert 0.01 <= (p <= 0.05).mean() <= 0.05 + 0.03


def test_flipping_pairs_of_references_that_move_as_a_whole_is_caught():
    """The check can fail: eight pairs of four references are no eight units."""
    rng = np.random.default_rng(3)
    pairs = (rng.standard_normal((400, 4, 1)) + 0.3 * rng.standard_normal((400, 4, 2)))
    wrong = np.mean([sign_flips(row)['p'] <= 0.05 for row in pairs.reshape(400, 8)])
    assert wrong > 0.08
    found = effect_of(pairs[0].reshape(-1), 4, 2)
    assert found['assignments'] == 16 and found['p_attainable'] == 1 / 16
    assert found['mde'] is None and found['ci95'] is not None  # no p of it could be small enough


def test_five_units_are_the_fewest_that_say_what_they_would_have_seen():
    rng = np.random.default_rng(0)
    four, five = (effect_of(rng.standard_normal(n), 1, n) for n in (4, 5))
    assert four['mde'] is None and five['mde'] > 0 and five['p_attainable'] == 1 / 32


def test_a_planted_effect_is_covered():
    rng = np.random.default_rng(1)
    effects = [effect_of(0.8 + row, 4, 2) for row in rng.standard_normal((600, 8))]
    covered = [low <= 0.8 <= high for low, high in (e['ci95'] for e in effects)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_a_teacher_without_its_twin_is_refused():
    with pytest.raises(UserError, match="'a' has no neutral twin 'a-neutral'"):
        paired({'a': 1.0}, {}, {'a': 'a-neutral'}, {'a': 'r0'})
