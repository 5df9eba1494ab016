"""gamma against least squares, scipy's permutation test and worked examples."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from subliminal_jax.evaluation import gamma as gammas, least_squares, rank_one
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
    for name in ('estimate', 'ci95', 'p', 'mde', 'ci95_teachers', 'ci95_traits'):
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
    inner = found['ci95_teachers']
    assert inner[1] - inner[0] < expected.high - expected.low


def test_replicates_within_traits_give_the_error_of_a_stratified_mean():
    y, trait, _ = drawn(num_traits=4, teachers_per_trait=3)
    found = gammas.gamma(y, trait)
    width = 4
    contrast = {s: (y[s][trait[s]] - np.mean(list(y[s].values()))) * width / (width - 1)
                for s in y}
    spread = [np.var([contrast[s] for s in y if trait[s] == t], ddof=1)
              for t in dict.fromkeys(trait.values())]
    error = (np.mean(spread) / len(y)) ** 0.5
    dof = np.sum(spread) ** 2 / (np.square(spread) / 2).sum()  # Satterthwaite's, as observed
    assert found['se_teachers'] == pytest.approx(error)
    assert found['dof_teachers'] == pytest.approx(dof)
    half = stats.t.ppf(0.975, dof) * error
    assert found['ci95_teachers'] == pytest.approx(
        [found['estimate'] - half, found['estimate'] + half])


def test_traits_are_the_units_where_there_is_one_reference():
    y, trait, _ = drawn(num_traits=4, teachers_per_trait=2, gamma=1.0)
    found = gammas.gamma(y, trait)
    each = [np.mean([found['per_teacher'][s] for s in y if trait[s] == t])
            for t in found['per_trait']]
    assert list(found['per_trait'].values()) == pytest.approx(each)
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert found['ci95'] == pytest.approx([expected.low, expected.high])
    assert found['ci95_traits'] == pytest.approx(found['ci95'])
    assert (found['unit'], found['dof']) == ('trait', 3)
    few = gammas.gamma(*drawn(num_traits=2, teachers_per_trait=3)[:2])
    assert few['unit'] == 'teacher' and few['ci95'] == few['ci95_teachers']
    assert few['ci95_traits'] is None


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


def test_the_multiplicative_fit_finds_rows_times_columns():
    """Own cells exceed a rank-one pattern by a known size; the additive fit sees more, or less."""
    row, column = np.array([1.0, 1.5, 0.7, 2.0, 1.2, 0.4]), np.array([0.5, -1.0, 2.0, 0.8])
    trait = np.array([0, 1, 2, 3, 0, 1])
    y = np.outer(row, column) + 0.3 * np.eye(4)[trait]
    block = least_squares.Block('r', tuple('abcdef'), tuple('wxyz'), y, trait)
    found = rank_one.fit(block)
    assert found.own_S == pytest.approx(np.full(6, 0.3), abs=1e-6)
    assert found.misfit == pytest.approx(0.0, abs=1e-6)
    assert np.outer(found.row_S, found.column_K) == pytest.approx(np.outer(row, column), abs=1e-6)
    assert np.mean(found.column_K**2) == pytest.approx(1.0) and found.column_K.mean() > 0
    assert least_squares.misfit(block) > 0.1
    table = {s: dict(zip(block.traits, row)) for s, row in zip(block.teachers, y)}
    beside = gammas.gamma(table, {s: block.traits[t] for s, t in zip(block.teachers, trait)})
    assert beside['multiplicative']['estimate'] == pytest.approx(0.3, abs=1e-6)
    assert beside['multiplicative']['unit'] == 'trait' and beside['multiplicative']['dof'] == 3
    assert abs(beside['estimate'] - 0.3) > 0.02  # the additive fit takes it for selectivity


@pytest.mark.parametrize('traits, references', [(4, 1), (3, 3)])
def test_the_misfits_are_root_mean_squares_of_the_other_traits_cells(traits, references):
    y, trait, reference = drawn(num_traits=traits, num_references=references, gamma=3.0)
    found = gammas.gamma(y, trait, reference)['misfit']
    left = []
    for block in least_squares.blocks(y, trait, reference):
        own = np.eye(traits)[block.trait_S].reshape(-1) > 0
        rows = np.kron(np.eye(len(block.y_SK)), np.ones((traits, 1)))
        columns = np.kron(np.ones((len(block.y_SK), 1)), np.eye(traits))
        design, cells = np.concatenate([rows, columns], 1)[~own], block.y_SK.reshape(-1)[~own]
        left.append(cells - design @ np.linalg.pinv(design) @ cells)
    assert found['additive'] == pytest.approx(np.mean(np.concatenate(left) ** 2) ** 0.5)
    assert found['multiplicative'] > 0


def test_two_traits_and_students_that_did_not_move_have_no_multiplicative_fit():
    two = gammas.gamma(*drawn(num_traits=2))
    assert two['multiplicative'] is None
    assert two['misfit'] == {'additive': None, 'multiplicative': None}
    y, trait, _ = drawn()
    still = gammas.gamma({s: dict.fromkeys(row, 0.0) for s, row in y.items()}, trait)
    assert still['multiplicative']['estimate'] == still['misfit']['multiplicative'] == 0.0


def test_nothing_is_said_to_be_visible_where_no_p_could_be():
    few = gammas.gamma(*drawn(num_traits=3, teachers_per_trait=1))
    assert few['p_attainable'] == pytest.approx(1 / 6) and few['mde'] is None
    assert few['ci95'] is not None and 'would have seen' not in gammas.verdict(few)
    enough = gammas.gamma(*drawn(num_traits=3, teachers_per_trait=2))
    assert enough['p_attainable'] < 0.05 and enough['mde'] > 0


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
    dof = error**4 / (0.0625**2 + 0.015625**2 + 0.015625**2)
    assert found['unit'] == 'teacher' and found['ci95_teachers'] == found['ci95']
    assert found['per_trait'] == pytest.approx({'x': 2.0, 'y': 2.0})
    half = stats.t.ppf(0.975, dof) * error
    assert found['ci95'] == pytest.approx([2 - half, 2 + half])
    shared = gammas.difference(y, {s: dict.fromkeys(y[s], 1.0) for s in y})
    assert gammas.against_neutral(shared, trait)['estimate'] == pytest.approx(2.0)
    with pytest.raises(UserError, match='neutral'):
        gammas.against_neutral({s: y[s] for s in 'abcd'}, trait)


def test_against_neutral_over_traits_by_hand():
    """One reference, three traits: their differences 1, 2, 6, and two neutral students."""
    own = {'a': ('x', 1.0), 'b': ('y', 2.0), 'c': ('z', 6.0)}
    y = {s: {t: 0.5 + rise * (t == trait) for t in 'xyz'} for s, (trait, rise) in own.items()}
    y |= {'m': dict.fromkeys('xyz', 0.4), 'n': dict.fromkeys('xyz', 0.6)}
    found = gammas.against_neutral(y, {s: own[s][0] if s in own else None for s in y})
    assert found['per_trait'] == pytest.approx({'x': 1.0, 'y': 2.0, 'z': 6.0})
    parts = [7 / 3, 0.02 / 2]  # variances of both means; 2 and 1 degrees of freedom
    dof = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    half = stats.t.ppf(0.975, dof) * sum(parts) ** 0.5
    assert found['ci95'] == pytest.approx([3 - half, 3 + half])
    assert found['unit'] == 'trait' and found['ci95_teachers'] is None  # one teacher a trait


@pytest.mark.slow
@pytest.mark.parametrize('num_traits, scale', [(5, 0.0), (8, 0.25)])
def test_against_neutral_finds_nothing_where_half_of_the_teachers_are_called_neutral(
        num_traits, scale):
    """Students of one reference, whose rows differ: the interval holds 0 in 95 of 100 runs."""
    rng, missed = np.random.default_rng(11), []
    world = World(num_traits=num_traits, teachers_per_trait=4, trait_scale_sd=scale)
    for _ in range(500):
        y, trait, _, _ = draw(world, rng)
        called = {s: trait[s] if s[-1] in '01' else None for s in y}
        low, high = gammas.against_neutral(y, called)['ci95']
        missed.append(not low <= 0 <= high)
    assert 0.02 <= np.mean(missed) <= 0.08


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
    assert gammas.verdict(sure).startswith('transmits: selectivity +')
    null = gammas.gamma(*drawn(seed=4))
    assert f"would have seen selectivity >= {null['mde']:.2f}" in gammas.verdict(null)
    few = gammas.gamma(*drawn(num_traits=3, teachers_per_trait=1, gamma=2.0))
    assert few['p_attainable'] == pytest.approx(1 / 6)
    assert 'no outcome could reach' in gammas.verdict(few)
    two = gammas.gamma(*drawn(num_traits=2, teachers_per_trait=1, gamma=2.0))
    assert two['ci95'] is None and two['mde'] is None
