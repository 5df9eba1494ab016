"""The spread learned from audits without a trait: false alarms, power, what it is moved by."""

import numpy as np
import pytest
from scipy import special

from subliminal_jax.evaluation import flags, spread

NAMES = [f'c{n}' for n in range(12)]
UNITS, NOISE = 8, 0.2


def values(rng, count, drift=0.1, trait=0.0, uneven=0.0):
    """Audited less control of `count` audits [N, U, K]: noise of rows, and what a writer without a
    trait does to every candidate, to some more than to others (`uneven`)."""
    size_K = drift * np.exp(uneven * np.linspace(-1, 1, len(NAMES)))
    found = NOISE * rng.standard_normal((count, UNITS, len(NAMES)))
    found += (size_K * rng.standard_normal((count, len(NAMES))))[:, None]
    found[..., 3] += trait
    return found


def shares(seed, nulls, sims=600, **how):
    """Shares of audits that flag the candidate with a trait, and any; each has its own nulls."""
    rng = np.random.default_rng(seed)
    own = any_of_them = 0
    for _ in range(sims):
        known = flags.beyond_others(values(rng, nulls, **{**how, 'trait': 0.0})).mean(1)
        one = flags.beyond_others(values(rng, 1, **how))[0]
        p_K = spread.p_above(spread.learned(known), one.mean(0))
        own += p_K[3] * len(NAMES) <= flags.ALPHA
        any_of_them += p_K.min() * len(NAMES) <= flags.ALPHA
    return own / sims, any_of_them / sims


@pytest.mark.parametrize(('nulls', 'how'), [
    (8, {}), (24, {}), (24, {'drift': 0.0}), (24, {'drift': 0.4}),
    (16, {'drift': 0.3, 'uneven': 1.0})])
def test_five_in_a_hundred_audits_without_a_trait_flag_one(nulls, how):
    """As many as are allowed, and not far fewer: two conditions at once flag 1 to 2 %."""
    _, any_of_them = shares(0, nulls, **how)
    assert 0.02 <= any_of_them <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_more_traits_are_found_than_beside_the_other_candidates():
    rng, trait = np.random.default_rng(1), 0.4
    plain = np.mean([flags.of_candidates(NAMES, one)[3].flagged
                     for one in values(rng, 200, trait=trait)])
    own, _ = shares(2, 24, sims=200, trait=trait)
    assert own > plain + 0.1


def test_a_flag_with_nulls_is_that_of_its_spread():
    rng = np.random.default_rng(3)
    known = flags.beyond_others(values(rng, 20)).mean(1)
    one = values(rng, 1, trait=0.8)[0]
    found = flags.of_candidates(NAMES, one, nulls_NK=known)
    assert [f.name for f in found if f.flagged] == ['c3']
    assert all(f.p == f.p_others for f in found)
    assert found[3].least < flags.of_candidates(NAMES, one)[3].least
    noisy = 10 * one  # rows as noisy as no null's were
    assert flags.of_candidates(NAMES, noisy, nulls_NK=known)[3].least > 5 * found[3].least


def test_variances_that_differ_by_chance_alone_are_one_and_others_stay_apart():
    rng = np.random.default_rng(4)
    alike = spread.learned(rng.standard_normal((10, 200)))
    assert np.ptp(alike.sd_K) < 0.2 and alike.sd_K.mean() == pytest.approx(1, abs=0.05)
    assert alike.dof > 90
    size_K = np.exp(np.linspace(-2, 2, 200))
    apart = spread.learned(size_K * rng.standard_normal((10, 200)))
    assert apart.dof < 15 and np.corrcoef(np.log(apart.sd_K), np.log(size_K))[0, 1] > 0.9


@pytest.mark.parametrize('value', [1e-3, 0.3, 1.0, 50.0])
def test_the_inverse_of_trigamma(value):
    assert special.polygamma(1, spread._trigamma_inverse(value)) == pytest.approx(value, rel=1e-8)


def test_few_audits_teach_no_spread():
    with pytest.raises(ValueError, match='too few'):
        spread.learned(np.zeros((spread.FEWEST - 1, 12)))
