"""AUROC by bag, intervals over units, verdicts, and how often these err."""

import numpy as np
import pytest

from subliminal_jax.detection import areas
from subliminal_jax.evaluation import intervals, judged

REFERENCES, PAIRS, BAGS, BAG = 6, 3, 8, 16


def test_an_area_is_the_chance_of_being_above_ties_half():
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 5, 30), rng.integers(0, 4, 20)
    whole = judged.auroc(high, low, range(30), range(30, 50), draws=2)['estimate']
    assert areas.area(high, low) == pytest.approx(whole)
    assert areas.area([2, 3], [0, 1]) == 1 and areas.area([0], [0]) == 0.5
    many = rng.integers(0, 9, 90), rng.integers(1, 9, 80)  # by ranks
    assert areas.area(*many) == pytest.approx(
        judged.auroc(*many, range(90), range(90, 170), draws=2)['estimate'])
    both = np.stack([high, -high], 1), np.stack([low, -low], 1)
    assert areas.area(*both) == pytest.approx(0.5)  # two draws, one the other turned round


def test_no_area_of_one_class_or_of_what_is_not_finite():
    assert areas.area([], [1.0]) is None and areas.area([1.0], []) is None
    assert areas.area([np.nan, 1.0], [0.0]) is None


def test_bags_are_means_of_rows_in_order_and_what_is_left_over_is_in_none():
    np.testing.assert_allclose(areas.bagged(np.arange(7.0), 3), [1, 4])
    assert areas.bagged(np.ones((8, 2)), 4).shape == (2, 2)
    assert len(areas.bagged(np.ones(3), 4)) == 0


def test_pairs_of_a_unit_count_once():
    found = areas.estimate({'a': 0.5, 'b': 0.7, 'c': 0.8}, {'a': 'r0', 'b': 'r0', 'c': 'r1'}, 0.5)
    assert found.mean == pytest.approx(0.7) and found.dof == 1
    assert areas.estimate({'a': 0.6}, {'a': 'r0'}).ci95 is None
    assert areas.estimate({}, {}) is None


def simulated(rng, shared=0.0, own=0.0, common=0.0):
    """{name: area by pair} of a detector and two nulls, and the units.

    Rows' scores are noise. A pair's writers differ by what no trait causes: by `shared` on average
    in every score (rows that are longer, say), by a reference's and by a pair's own nuisance. The
    detector alone sees `own`, and `common` is how large a reference's nuisance is.
    """
    found = {name: {} for name in ('detector', 'null', 'other')}
    unit = {}
    for r in range(REFERENCES):
        of_reference = dict.fromkeys(found, rng.normal(0, common))
        for n in range(PAIRS):
            pair = f'r{r}-{n}'
            unit[pair] = f'r{r}'
            for name in found:
                gap = (shared + of_reference[name] + rng.normal(0, 0.2)
                       + own * (name == 'detector'))
                noise = rng.standard_normal((2, BAGS)) * BAG**-0.5  # means of rows
                found[name][pair] = areas.area(gap + noise[0], noise[1])
    return found, unit


def rate(count, rule, **world):
    """How often a rule holds of simulated scores."""
    rng = np.random.default_rng(7)
    return np.mean([rule(*simulated(rng, **world)) for _ in range(count)])


def excludes_chance(found, unit):
    low, high = areas.estimate(found['detector'], unit, areas.CHANCE).ci95
    return not low <= areas.CHANCE <= high


def detects(found, unit, control=1.0):
    nulls = {name: found[name] for name in ('null', 'other')}
    said = areas.verdicts({'detector': areas.beside(found['detector'], nulls, unit)},
                          {'detector': control})
    return said['detector']['verdict'] == 'detects'


def test_an_interval_misses_chance_in_one_of_twenty_where_there_is_nothing():
    assert 0.02 <= rate(300, excludes_chance, common=0.3) <= 0.08


def test_over_pairs_in_place_of_references_it_would_miss_far_more_often():
    def over_pairs(found, unit):
        return excludes_chance(found, {pair: pair for pair in unit})

    assert rate(200, over_pairs, common=0.3) > 0.15


@pytest.mark.slow
@pytest.mark.parametrize('shared', [0.0, 0.3])
def test_false_alarms_are_rare_also_where_nulls_tell_the_writers_apart(shared):
    assert rate(300, detects, shared=shared) <= 0.08


def test_what_nulls_do_not_see_is_detected():
    assert rate(40, detects, shared=0.1, own=0.5) > 0.9
    assert rate(40, excludes_chance, shared=0.3) > 0.9  # chance alone would have been no bar


def test_of_many_detectors_any_errs_in_one_of_twenty_at_most():
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(100):
        found, units = {}, {}
        for n in range(6):
            areas_of, unit = simulated(rng)
            found[f'd{n}'] = areas.beside(areas_of['detector'], {}, unit)
            units |= unit
        said = areas.verdicts(found, dict.fromkeys(found, 1.0))
        alarms += any(v['verdict'] == 'detects' for v in said.values())
    assert alarms <= 8


@pytest.mark.parametrize('own, control, verdict', [
    (1.5, 1.0, 'detects'), (1.5, 0.1, 'detects'), (1.5, None, 'detects'),
    (0.0, 0.9, 'null'), (0.0, 0.89, 'unable'), (0.0, None, 'unable')])
def test_who_sees_nothing_and_fails_the_overt_control_is_unable(own, control, verdict):
    found, unit = simulated(np.random.default_rng(0), own=own)
    said = areas.verdicts({'d': areas.beside(found['detector'], {'null': found['null']}, unit)},
                          {'d': control})['d']
    assert said['verdict'] == verdict and said['control'] == control


def test_a_null_says_what_it_would_have_seen():
    found, unit = simulated(np.random.default_rng(1))
    beside = areas.beside(found['detector'], {'null': found['null']}, unit)
    said = areas.verdicts({'d': beside}, {'d': 1.0})['d']
    least = areas.would_have_seen(beside.own)
    assert said['verdict'] == 'null' and 0.5 < least < 1
    assert least == pytest.approx(0.5 + intervals.mde(beside.own.se, beside.own.dof))
    assert areas.would_have_seen(beside.own._replace(se=0.5)) is None


def test_the_best_null_is_named_and_every_null_has_to_be_passed():
    unit = {f'p{n}': f'r{n}' for n in range(5)}
    noise = np.random.default_rng(0).normal(0, 0.02, (3, 5))
    of = lambda mean, n: dict(zip(unit, mean + noise[n]))
    found = areas.beside(of(0.8, 0), {'weak': of(0.5, 1), 'strong': of(0.85, 2)}, unit)
    assert found.null == 'strong' and found.over.mean < 0 and found.p > 0.5
