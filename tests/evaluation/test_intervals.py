"""Intervals and tests against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from subliminal_jax.evaluation import intervals


def test_t_interval_is_scipys():
    values = np.random.default_rng(0).normal(3, 2, 7)
    mean, ends = intervals.t_interval(values, 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean == pytest.approx(values.mean())
    assert ends == pytest.approx([expected.low, expected.high])


def test_a_slope_by_hand_and_its_coverage():
    # (0, 0), (1, 1), (2, 1): slope 1/2, residual sum 1/6, so s = sqrt(1/6 / 2)
    found, (low, high) = intervals.slope([0, 1, 2], [0, 1, 1])
    half = stats.t.ppf(0.975, 1) * (1 / 12) ** 0.5
    assert found == pytest.approx(0.5) and (low, high) == pytest.approx((0.5 - half, 0.5 + half))
    assert intervals.slope([0, 1], [2, 4]) == (pytest.approx(2.0), None)
    assert intervals.slope([3, 3], [2, 4]) is None
    found, ends = intervals.slope([1, 2, 2], [7, 7, 7])
    assert [found, *ends] == pytest.approx([0.0] * 3, abs=1e-9)
    theirs = stats.linregress([1, 2, 4, 7], [3, 1, 4, 1])
    half = stats.t.ppf(0.975, 2) * theirs.stderr
    found, ends = intervals.slope([1, 2, 4, 7], [3, 1, 4, 1])
    assert found == pytest.approx(theirs.slope)
    assert ends == pytest.approx([found - half, found + half])
    rng = np.random.default_rng(0)
    x = np.arange(8.0)
    ends = [intervals.slope(x, 0.3 * x + rng.standard_normal(8))[1] for _ in range(2000)]
    assert np.mean([a < 0.3 < b for a, b in ends]) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval():
    assert intervals.t_interval([2.5]) == (2.5, None)


@pytest.mark.parametrize('successes, trials', [(0, 10), (10, 10), (3, 17), (199, 200), (1, 1)])
@pytest.mark.parametrize('method, theirs', [('wilson', 'wilson'), ('clopper-pearson', 'exact')])
def test_proportions_are_scipys(successes, trials, method, theirs):
    ours = intervals.proportion(successes, trials, 0.95, method)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method=theirs)
    assert ours['ci95'] == pytest.approx([expected.low, expected.high], abs=1e-12)
    assert ours['estimate'] == successes / trials


def test_a_share_of_nothing_is_unknown():
    assert intervals.proportion(0, 0) == {'estimate': None, 'ci95': None, 'trials': 0}
    with pytest.raises(ValueError, match='3 successes of 2'):
        intervals.proportion(3, 2)


def test_holm_by_hand():
    # sorted: .01 x 4 = .04; .02 x 3 = .06; .03 x 2 = .06; .6 x 1 = .6
    adjusted = intervals.holm({'c': 0.03, 'a': 0.01, 'd': 0.6, 'b': 0.02})
    assert list(adjusted) == ['c', 'a', 'd', 'b']
    assert adjusted == pytest.approx({'a': 0.04, 'b': 0.06, 'c': 0.06, 'd': 0.6})


def test_holm_never_orders_backwards_nor_leaves_one():
    adjusted = intervals.holm({'a': 0.3, 'b': 0.31, 'c': 0.9})
    assert adjusted == pytest.approx({'a': 0.9, 'b': 0.9, 'c': 0.9})
    assert max(intervals.holm({'a': 0.7, 'b': 0.8}).values()) == 1.0


@pytest.mark.parametrize('dof', [1, 4, 9.5, 200])
def test_mde_has_its_power(dof):
    rng = np.random.default_rng(1)
    effect = intervals.mde(0.5, dof, 0.95, 0.8)
    draws = 200_000
    t = (rng.normal(effect / 0.5, 1, draws)
         / np.sqrt(rng.chisquare(dof, draws) / dof))
    power = (t > stats.t.ppf(0.975, dof)).mean()
    assert power == pytest.approx(0.8, abs=0.005)


def test_mde_of_many_units_is_the_normal_one():
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 0.1
    assert intervals.mde(0.1, 1e6) == pytest.approx(expected, rel=1e-4)
    assert intervals.mde(None, None) is None
    assert intervals.mde(0.0, 3) == 0.0


def test_satterthwaite_of_equal_parts_adds_up():
    assert intervals.satterthwaite([2.0, 2.0, 2.0], [3, 3, 3]) == pytest.approx(9)
    assert intervals.satterthwaite([1.0, 0.0], [3, 5]) == pytest.approx(3)
    assert math.isfinite(intervals.satterthwaite([0.0, 0.0], [3, 5]))


def test_welch_degrees_are_scipys():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 6), rng.normal(0, 3, 9)
    expected = stats.ttest_ind(a, b, equal_var=False).df
    ours = intervals.satterthwaite([a.var(ddof=1) / 6, b.var(ddof=1) / 9], [5, 8])
    assert ours == pytest.approx(expected)


def test_a_ratio_has_fiellers_interval():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        below = 2 + 0.3 * rng.standard_normal(6)
        above = 0.5 * below + 0.2 * rng.standard_normal(6)
        found, (low, high) = intervals.ratio(above, below)
        assert low < found < high
        inside += low < 0.5 < high
    assert 0.92 < inside / 400 < 0.98
    assert intervals.ratio([1.0, 2.0, 1.5], [0.1, -0.1, 0.05]) is None
    assert intervals.ratio([1.0], [2.0]) is None


def test_a_share_of_clusters_is_never_surer_than_one_of_independent_trials():
    clusters = [n // 20 for n in range(200)]
    none = intervals.resampled_share([False] * 200, clusters)
    assert none['estimate'] == 0 and none['ci95'] == intervals.proportion(0, 200)['ci95']
    # Clusters that are wholly one or the other: ten trials in truth, and a far wider interval.
    whole = intervals.resampled_share([n < 5 for n in clusters], clusters)
    alone = intervals.proportion(100, 200)['ci95']
    assert whole['ci95'][0] < alone[0] - 0.1 and whole['ci95'][1] > alone[1] + 0.1
