"""Every detector on rows whose truth is known."""

import numpy as np
import pytest

from subliminal_jax.detection import detectors
from subliminal_jax.detection.detectors import DETECTORS, Case, Side

ROWS, TRAITS = 256, 3


def side(rng, trait, longer=0.0):
    """Rows of a writer: each reading has the trait (column 0) in it by `trait`, and noise."""
    noise = lambda *shape: rng.standard_normal((ROWS // shape[0], *shape[1:]))
    signal = np.array([trait, 0.0, 0.0])
    row = {'tokens': 10 + longer + noise(1), 'logprob': -20 + noise(1), 'norm': 5 + noise(1),
           'inner': noise(1, TRAITS) + signal, 'random': noise(1, 4),
           'state': noise(1, 5) + trait, 'prompted': noise(1, TRAITS) + signal,
           'models': -20 + noise(1, 4) + trait * np.array([1.0, 0.9, 0.0, 0.0])}
    apart = rng.spawn(1)[0].standard_normal((ROWS, TRAITS + 4))
    row |= {'inner_metric': apart[:, :TRAITS] + signal, 'random_metric': apart[:, TRAITS:]}
    bags = {f'{name}:{size}': noise(size, TRAITS) + signal for name in ('context', 'prefix')
            for size in (1, 4, 16, 64)}
    bags |= {f'{name}:{size}': noise(size) for name in ('prefix_loss', 'prefix_others')
             for size in (1, 4, 16, 64)}
    words = [' '.join('7' if rng.random() < 0.1 + 0.2 * (trait > 0) else str(n)
                      for n in rng.integers(10, 30, 8)) for _ in range(ROWS)]
    return Side(words, row | bags)


def case(seed=0, trait=0.8, longer=0.0):
    rng = np.random.default_rng(seed)
    pair = lambda: (side(rng, trait, longer), side(rng, 0.0))
    return Case(*pair(), [pair()], 0, like=(1,), unlike=(3,), own=(0, 2))


@pytest.fixture(scope='module')
def found():
    return detectors.areas_of(case(), (1, 4, 16, 64))


@pytest.mark.parametrize('name', [n for n, row in DETECTORS.items() if row.role != 'null'])
def test_every_detector_sees_what_its_reading_holds_and_more_of_it_in_larger_bags(found, name):
    assert found[name][1] > 0.55 and found[name][16] > 0.9 or name in ('in_context',
                                                                       'trained_prefix')
    assert found[name][1] > 0.55
    if name not in ('in_context', 'trained_prefix'):
        assert found[name][1] < found[name][16]


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n, row in DETECTORS.items() if row.role == 'null'])
def test_null_detectors_see_nothing_of_a_trait(found, name):
    values = [detectors.areas_of(case(seed), (16,), [name])[name][16] for seed in range(12)]
    assert 0.3 < np.mean(values) < 0.7


@pytest.mark.parametrize('longer', [1.0, -1.0])
def test_a_null_learns_from_known_pairs_which_way_its_feature_lies(longer):
    assert detectors.areas_of(case(longer=longer), (16,), ['length'])['length'][16] > 0.9


def test_every_detector_has_nulls_that_are_registered_and_an_oracle_has_none():
    for name, row in DETECTORS.items():
        assert all(DETECTORS[null].role == 'null' for null in row.nulls)
        assert bool(row.nulls) == (row.role == 'detector'), name
    assert 'random_direction' in DETECTORS['gradient'].nulls


def test_what_was_not_read_is_no_figure_and_what_is_not_finite_neither():
    whole = case()
    without = whole._replace(positive=Side(whole.positive.texts, {
        k: v for k, v in whole.positive.readings.items() if k not in ('prompted', 'prefix:16')}))
    found = detectors.areas_of(without, (4, 16), ['prompted', 'trained_prefix', 'states'])
    assert found['prompted'] == {4: None, 16: None} and found['trained_prefix'][16] is None
    assert found['trained_prefix'][4] is not None and found['states'][16] is not None
    whole.negative.readings['prompted'][:] = np.nan
    assert detectors.areas_of(whole, (4,), ['prompted'])['prompted'][4] is None


def test_a_trait_is_read_beyond_the_others():
    values = np.array([[1.0, 2.0, 4.0]])
    assert detectors.beyond(values, 0) == pytest.approx(-2) and detectors.beyond(
        values[:, :1], 0) == pytest.approx(1)
