"""Simulated coverage and false positives: 95 % +- 3 % and 5 % +- 3 %, by design and noise."""

import pytest

from subliminal_jax.evaluation.calibration import World, calibrate, error_rates

PLANTED = {'gamma': 1.0}
DESIGNS = {
    'one reference, two teachers a trait': World(),
    'one teacher a trait': World(teachers_per_trait=1, teacher_sd=0.3),
    'three references': World(num_traits=4, num_references=3),
    'four references, unlike each other': World(num_references=4, reference_sd=0.3,
                                                teacher_sd=0.2),
    'two references': World(num_references=2),
    'alike traits': World(likeness=0.7),
    'traits and teachers of unequal strength': World(trait_sd=0.4, teacher_sd=0.3),
}


@pytest.mark.parametrize('design', DESIGNS)
def test_intervals_cover_a_planted_effect(design):
    found = calibrate(DESIGNS[design]._replace(**PLANTED), 800)['coverage']
    assert 0.92 <= found['estimate'] <= 0.98, found


@pytest.mark.parametrize('world', [
    World(), World(likeness=0.7), World(num_traits=4, num_references=3),
    World(num_traits=5, teachers_per_trait=1, num_references=2)])
def test_no_effect_is_found_one_time_in_twenty(world):
    found = calibrate(world, 600, seed=1, permutations=300)
    assert 0.02 <= found['p_under_alpha']['estimate'] <= 0.08, found
    assert 0.02 <= found['excludes_zero']['estimate'] <= 0.08, found


def test_an_interval_that_ignores_references_is_caught():
    """The check can fail: teachers of unlike references are no independent units."""
    world = World(num_references=4, reference_sd=0.5, gamma=1.0, teachers_per_trait=3)

    def one_reference(world, rng):
        from subliminal_jax.evaluation.calibration import draw
        y, trait, reference, truth = draw(world._replace(column_sd=0.0), rng)
        return y, trait, dict.fromkeys(reference, 'all'), truth

    assert calibrate(world, 300, sample=one_reference)['coverage']['estimate'] < 0.8


def test_error_rates_of_given_runs():
    runs = [{'ci95': [-1.0, 1.0], 'p': 0.5}, {'ci95': [0.5, 2.0], 'p': 0.01},
            {'ci95': [-2.0, -1.0], 'p': 0.99}, {'ci95': None, 'p': 0.05}]
    rates = error_rates(runs, truth=1.0)
    assert rates['coverage']['estimate'] == pytest.approx(2 / 3)
    assert rates['excludes_zero']['estimate'] == pytest.approx(2 / 3)
    assert rates['p_under_alpha']['estimate'] == 0.5
    assert rates['transmits']['estimate'] == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize('design', DESIGNS)
def test_intervals_cover_a_planted_effect_to_a_percent(design):
    found = calibrate(DESIGNS[design]._replace(**PLANTED), 8000, seed=2)['coverage']
    assert 0.94 <= found['estimate'] <= 0.97, found
