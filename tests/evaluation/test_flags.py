"""Flags of candidates: false alarms, power, what would have been seen."""

import numpy as np
import pytest

from subliminal_jax.evaluation import flags

NAMES = [f'c{n}' for n in range(12)]


def simulated(rng, trait=0.0, drift=0.0, noise=0.2, units=8):
    """Audited less control [U, K]: noise of rows, what a writer does to all, and to one."""
    values = noise * rng.standard_normal((units, len(NAMES)))
    values += drift * rng.standard_normal(len(NAMES)) + rng.standard_normal()
    values[:, 3] += trait
    return values


def shares(seed, count=400, **how):
    rng = np.random.default_rng(seed)
    made = [flags.of_candidates(NAMES, simulated(rng, **how)) for _ in range(count)]
    own = np.mean([found[3].flagged for found in made])
    return own, np.mean([any(f.flagged for f in found) for found in made])


@pytest.mark.slow
@pytest.mark.parametrize('drift', [0.0, 0.2])
def test_no_trait_is_flagged_in_one_of_twenty_at_most(drift):
    _, any_of_them = shares(0, drift=drift)
    assert any_of_them <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_the_units_alone_would_take_a_writers_drift_for_a_trait():
    """What the second condition is for: without it every drifting writer has a trait."""
    rng = np.random.default_rng(1)
    made = [flags.of_candidates(NAMES, simulated(rng, drift=0.2)) for _ in range(100)]
    alarms = [min(f.p_chance for f in found) * len(NAMES) <= flags.ALPHA for found in made]
    assert np.mean(alarms) > 0.8


@pytest.mark.slow
def test_what_would_have_been_seen_is_seen_four_times_in_five():
    rng = np.random.default_rng(2)
    least = np.mean([flags.of_candidates(NAMES, simulated(rng))[3].least for _ in range(50)])
    own, _ = shares(3, trait=least)
    assert 0.7 <= own <= 0.97


def test_an_effect_is_what_one_candidate_does_beyond_the_others():
    values = np.zeros((4, 3))
    values[:, 0] = 0.6
    assert np.allclose(flags.beyond_others(values), [[0.6, -0.3, -0.3]] * 4)
    assert np.array_equal(flags.beyond_others(values[:, :1]), values[:, :1])


def test_a_wider_noise_of_a_null_makes_a_flag_harder():
    values = simulated(np.random.default_rng(4), trait=0.5)
    narrow = flags.of_candidates(NAMES, values)[3]
    wide = flags.of_candidates(NAMES, values, inflation=4.0)[3]
    assert narrow.flagged and not wide.flagged and wide.p_chance > narrow.p_chance
    assert wide.least > narrow.least and wide.estimate == narrow.estimate
    smaller = flags.of_candidates(NAMES, values, inflation=0.1)[3]
    assert smaller.p_chance == narrow.p_chance  # a null never narrows it


def test_few_candidates_have_no_spread_to_be_held_against():
    found = flags.of_candidates(['a', 'b', 'c'], np.random.default_rng(5).normal(size=(6, 3)))
    assert all(f.p_others is None and f.p == f.p_chance for f in found)


def test_one_unit_is_refused():
    with pytest.raises(ValueError, match='one unit'):
        flags.of_candidates(NAMES, np.zeros((1, 12)))
