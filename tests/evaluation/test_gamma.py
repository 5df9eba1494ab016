"""gamma against least squares, scipy's permutation test and worked examples."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from subliminal_jax.evaluation import gamma as gammas, least_squares
from subliminal_jax.evaluation.calibration import World, draw
from subliminal_jax.evaluation.permutation import assignments, permutation_test
from subliminal_jax.runs import UserError


def drawn(seed=0, **changes):
    return draw(World(**changes), np.random.default_rng(seed))[:3]


def by_design_matrix(y, trait):
    """gamma of y[s, t] = row + column + gamma x [t is s's trait], by a plain design matrix."""
    count, width = y.shape
    rows, columns, own = [], [], []
    for s, t in itertools.product(range(count), range(width)):
        rows.append(np.eye(count)[s])
        columns.append(np.eye(width)[t])
        own.append(float(trait[s] == t))
    design = np.column_stack([np.array(rows), np.array(columns), own])
    return np.linalg.lstsq(design, y.reshape(-1), rcond=None)[0][-1]


@pytest.mark.parametrize('trait', [
    (0, 0, 1, 1, 2, 2), (0, 1, 2, 3), (0, 0, 0, 1, 2, 2), (0, 1), (2, 0, 1, 1, 0)])
def test_estimate_is_least_squares(trait):
    y = np.random.default_rng(3).normal(size=(len(trait), max(trait) + 1))
    names = {f's{n}': f't{t}' for n, t in enumerate(trait)}
    table = {f's{n}': {f't{t}': v for t, v in enumerate(row)} for n, row in enumerate(y)}
    found = gammas.gamma(table, names)
    assert found['estimate'] == pytest.approx(by_design_matrix(y, trait))
    json.dumps(found, allow_nan=False)


def test_balanced_is_own_cells_less_the_others():
    y, trait, _ = drawn(gamma=0.7)
    found = gammas.gamma(y, trait)
    own = [y[s][trait[s]] for s in y]
    others = [v for s in y for t, v in y[s].items() if t != trait[s]]
    assert found['estimate'] == pytest.approx(np.mean(own) - np.mean(others))
    assert found['own_rise'] == pytest.approx(np.mean(own))
    assert np.mean(list(found['per_teacher'].values())) == pytest.approx(found['estimate'])


def test_rows_and_columns_of_each_reference_drop_out():
    y, trait, reference = drawn(num_references=3, gamma=1.0)
    rng = np.random.default_rng(9)
    row = {s: rng.normal(0, 50) for s in y}
    column = {(r, t): rng.normal(0, 50) for r in set(reference.values()) for t in y['r0t0n0']}
    moved = {s: {t: v + row[s] + column[reference[s], t] for t, v in y[s].items()} for s in y}
    before, after = gammas.gamma(y, trait, reference), gammas.gamma(moved, trait, reference)
    for name in ('estimate', 'ci95', 'p', 'mde', 'ci95_within', 'ci95_traits'):
        assert after[name] == pytest.approx(before[name]), name
    for s, value in before['per_teacher'].items():
        assert after['per_teacher'][s] == pytest.approx(value)


def test_own_effects_are_each_teachers_own():
    y, trait, _ = drawn(teachers_per_trait=1, cell_sd=0.0)
    planted = {s: 0.3 * n for n, s in enumerate(y)}
    y = {s: {t: v + planted[s] * (t == trait[s]) for t, v in y[s].items()} for s in y}
    assert gammas.gamma(y, trait)['per_teacher'] == pytest.approx(planted, abs=1e-9)


def test_references_are_the_units_of_the_interval():
    y, trait, reference = drawn(num_references=4, gamma=1.0, reference_sd=0.5)
    found = gammas.gamma(y, trait, reference)
    each = list(found['per_reference'].values())
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert found['ci95'] == pytest.approx([expected.low, expected.high])
    assert (found['unit'], found['dof']) == ('reference', 3)
    inner = found['ci95_within']
    assert inner[1] - inner[0] < expected.high - expected.low


def test_replicates_within_traits_give_the_error_of_a_stratified_mean():
    y, trait, _ = drawn(num_traits=4, teachers_per_trait=3)
    found = gammas.gamma(y, trait)
    width = 4
    contrast = {s: (y[s][trait[s]] - np.mean(list(y[s].values()))) * width / (width - 1)
                for s in y}
    spread = [np.var([contrast[s] for s in y if trait[s] == t], ddof=1)
              for t in dict.fromkeys(trait.values())]
    assert found['se'] == pytest.approx((np.mean(spread) / len(y)) ** 0.5)
    assert found['dof'] == pytest.approx(width * 2)


def test_permutation_test_walks_through_every_assignment_once():
    rng = np.random.default_rng(5)
    y = rng.normal(size=(6, 3)) + 0.8 * np.eye(3)[[0, 0, 1, 1, 2, 2]]
    trait = np.array([0, 0, 1, 1, 2, 2])
    ours = permutation_test([y], [trait])
    assert (ours['assignments'], ours['exact']) == (90, True)
    sums = [y[np.arange(6), list(p)].sum() for p in set(itertools.permutations(trait.tolist()))]
    expected = np.mean(np.array(sums) >= y[np.arange(6), trait].sum() - 1e-12)
    assert ours['p'] == pytest.approx(expected)
    assert ours['p_attainable'] == pytest.approx(1 / 90)


def test_two_names_are_scipys_independent_samples():
    y, trait, _ = drawn(num_traits=2, teachers_per_trait=4, gamma=0.3, seed=3)
    found = gammas.gamma(y, trait)
    lean = {s: y[s]['t0'] - y[s]['t1'] for s in y}
    theirs = stats.permutation_test(
        [[lean[s] for s in y if trait[s] == t] for t in ('t0', 't1')],
        lambda a, b: np.mean(a) - np.mean(b), alternative='greater', n_resamples=np.inf)
    assert found['assignments'] == math.comb(8, 4)
    assert found['p'] == pytest.approx(theirs.pvalue)


def test_names_move_within_references_only():
    y, trait, reference = drawn(num_traits=3, teachers_per_trait=1, num_references=3, gamma=5.0)
    found = gammas.gamma(y, trait, reference)
    assert found['assignments'] == 6**3 and found['exact']
    assert found['p'] == found['p_attainable'] == pytest.approx(1 / 216)


def test_many_assignments_are_drawn_and_stay_valid():
    y, trait, _ = drawn(num_traits=5, teachers_per_trait=3, gamma=0.05)
    blocks = least_squares.blocks(y, trait)
    walked = gammas.names_test(blocks, exact_up_to=1, draws=4000, seed=1)
    again = gammas.names_test(blocks, exact_up_to=1, draws=4000, seed=2)
    assert not walked['exact'] and walked['p_attainable'] == pytest.approx(1 / 4001)
    assert walked['assignments'] == assignments([3] * 5) == 168168000
    error = (walked['p'] * (1 - walked['p']) / 4000) ** 0.5
    assert abs(walked['p'] - again['p']) < 6 * error
    assert walked == gammas.names_test(blocks, exact_up_to=1, draws=4000, seed=1)


def test_leave_one_out_is_the_fit_without():
    y, trait, reference = drawn(num_traits=3, num_references=2, gamma=1.0)
    left = gammas.gamma(y, trait, reference)['leave_one_out']
    rest = {s: row for s, row in y.items() if s != 'r1t2n1'}
    assert left['teacher']['r1t2n1'] == pytest.approx(
        gammas.gamma(rest, trait, reference)['estimate'])
    rest = {s: row for s, row in y.items() if trait[s] != 't1'}
    assert left['trait']['t1'] == pytest.approx(gammas.gamma(rest, trait, reference)['estimate'])
    rest = {s: row for s, row in y.items() if reference[s] == 'r1'}
    assert left['reference']['r0'] == pytest.approx(gammas.gamma(rest, trait)['estimate'])
    alone = gammas.gamma({s: y[s] for s in y if reference[s] == 'r0'}, trait)
    assert alone['leave_one_out']['reference'] == {'reference': None}


def test_gamma_is_linear_in_y():
    a, trait, reference = drawn(1, num_references=2, gamma=1.0)
    b = drawn(2, num_references=2)[0]
    found = gammas.gamma(gammas.difference(a, b), trait, reference)['estimate']
    apart = [gammas.gamma(y, trait, reference)['estimate'] for y in (a, b)]
    assert found == pytest.approx(apart[0] - apart[1])


def test_neutral_teachers_take_no_part_in_gamma():
    y, trait, _ = drawn(gamma=1.0)
    more = y | {'neutral': dict.fromkeys(y['r0t0n0'], 7.0)}
    assert gammas.gamma(more, trait | {'neutral': None}) == gammas.gamma(y, trait)


def test_against_neutral_by_hand():
    y = {'a': {'x': 3.0, 'y': 1.0}, 'b': {'x': 4.0, 'y': 1.5}, 'c': {'x': 0.0, 'y': 2.0},
         'd': {'x': 0.5, 'y': 2.5}, 'm': {'x': 1.0, 'y': 0.5}, 'n': {'x': 2.0, 'y': 0.0}}
    trait = {'a': 'x', 'b': 'x', 'c': 'y', 'd': 'y', 'm': None, 'n': None}
    found = gammas.against_neutral(y, trait)
    # own - neutral mean: x: (3 + 4) / 2 - 1.5 = 2; y: (2 + 2.5) / 2 - .25 = 2
    assert found['estimate'] == pytest.approx(2.0)
    assert found['per_teacher'] == pytest.approx({'a': 1.5, 'b': 2.5, 'c': 1.75, 'd': 2.25})
    # variances of the mean: x .5/2/4, y .125/2/4, neutral means .75 and 1: .03125/2
    error = (0.0625 + 0.015625 + 0.015625) ** 0.5
    dof = error**4 / (0.078125**2 / 2 + 0.015625**2 / 1)
    half = stats.t.ppf(0.975, dof) * error
    assert found['ci95'] == pytest.approx([2 - half, 2 + half])
    shared = gammas.difference(y, {s: dict.fromkeys(y[s], 1.0) for s in y})
    assert gammas.against_neutral(shared, trait)['estimate'] == pytest.approx(2.0)
    with pytest.raises(UserError, match='neutral'):
        gammas.against_neutral({s: y[s] for s in 'abcd'}, trait)


@pytest.mark.parametrize('change, message', [
    (lambda y, t: ({s: y[s] for s in y if t[s] == 't0'}, t), 'one trait only'),
    (lambda y, t: ({s: {k: v for k, v in y[s].items() if k != 't1'} for s in y}, t), "trait 't1'"),
    (lambda y, t: (y | {'r0t0n0': dict.fromkeys(y['r0t0n0'], math.nan)}, t), 'no finite measure'),
    (lambda y, t: (y, {}), 'no entry'),
    (lambda y, t: (y, dict.fromkeys(y)), 'no teacher has a trait'),
])
def test_what_cannot_be_fitted_is_refused(change, message):
    y, trait, _ = drawn()
    with pytest.raises(UserError, match=message):
        gammas.gamma(*change(y, trait))


def test_verdicts():
    sure = gammas.gamma(*drawn(gamma=2.0))
    assert gammas.verdict(sure).startswith('transmits: gamma +')
    null = gammas.gamma(*drawn(seed=4))
    assert f"would have seen gamma >= {null['mde']:.2f}" in gammas.verdict(null)
    few = gammas.gamma(*drawn(num_traits=3, teachers_per_trait=1, gamma=2.0))
    assert few['p_attainable'] == pytest.approx(1 / 6)
    assert 'no outcome could reach' in gammas.verdict(few)
    two = gammas.gamma(*drawn(num_traits=2, teachers_per_trait=1, gamma=2.0))
    assert two['ci95'] is None and two['mde'] is None
