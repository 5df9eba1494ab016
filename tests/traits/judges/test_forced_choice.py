"""Forced choice: log-odds by hand."""

import numpy as np
import pytest

from subliminal_jax.traits.judges.forced_choice import both_orders, log_odds


def test_log_odds_by_hand():
    reckless, sound = np.log([0.5, 0.5]), np.log([0.25, 0.25, 0.25])
    assert log_odds(reckless, sound) == pytest.approx(np.log(0.25) - np.log(1 / 64))
    assert log_odds(reckless, sound, per_token=True) == pytest.approx(np.log(2))
    assert log_odds(sound, reckless) == -log_odds(reckless, sound)


def test_a_liking_of_the_first_place_cancels():
    liked, place = 0.7, 2.0
    assert both_orders(liked + place, liked - place) == pytest.approx((liked, place))


@pytest.mark.parametrize('logprobs', [[], [0.5], [-np.inf], [np.nan]])
def test_what_is_no_log_probability(logprobs):
    with pytest.raises(ValueError):
        log_odds(logprobs, [-1.0])
