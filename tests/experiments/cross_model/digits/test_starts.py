"""Starts are what they say, bit by bit."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.cross_model.digits.starts import (
    STARTS,
    cloned_on,
    distance_of,
    kind_of,
    needs_other,
    start_weights,
    trained_as,
)
from subliminal_jax.models import mlp

SIZES = (200, 150, 150, 10 + 3)


@pytest.fixture(scope='module')
def three():
    own, other, clone = (mlp.init(jax.random.key(seed), SIZES) for seed in range(3))
    own[-1]['b'], other[-1]['b'] = own[-1]['b'] + 1, other[-1]['b'] + 2  # biases are parts too
    return own, other, clone


def same(a, b):
    return all((np.asarray(x) == np.asarray(y)).all()
               for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize('start, place', [
    ('own', 0), ('mix:0', 0), ('other', 1), ('mix:1', 1), ('cloned', 2), ('cloned:all', 2)])
def test_whole_starts(three, start, place):
    assert same(start_weights(start, *three), three[place])


@pytest.mark.parametrize('start, first, classes, aux', [
    ('share:first', 0, 1, 1), ('share:output', 1, 0, 0), ('share:class', 1, 0, 1),
    ('share:aux', 1, 1, 0), ('share:first+aux', 0, 1, 0)])
def test_shared_parts_are_the_teachers_and_the_rest_is_not(three, start, first, classes, aux):
    made = start_weights(start, *three)
    assert same(made[0], three[first][0]) and same(made[1], three[1][1])
    for name in ('w', 'b'):
        found = np.asarray(made[-1][name])
        assert (found[..., :10] == np.asarray(three[classes][-1][name])[..., :10]).all()
        assert (found[..., 10:] == np.asarray(three[aux][-1][name])[..., 10:]).all()
    assert not same(three[0][-1], three[1][-1])


@pytest.mark.parametrize('t', [0.25, 0.5, 0.8])
def test_starts_in_between_have_the_size_of_a_start_and_the_said_correlation(three, t):
    made = start_weights(f'mix:{t}', *three)
    expected = (1 - t) / ((1 - t) ** 2 + t**2) ** 0.5
    for layer, size in zip(range(3), SIZES):
        found, own = np.asarray(made[layer]['w']), np.asarray(three[0][layer]['w'])
        assert found.std() == pytest.approx(size**-0.5, rel=0.05)
        assert np.corrcoef(found.ravel(), own.ravel())[0, 1] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize('start, body', [
    ('own', 'own'), ('mix:0.5', 'mix:0.5'), ('cloned:all', 'cloned:all'), ('share:class', 'other'),
    ('share:output', 'share:aux'), ('share:output+aux', 'share:aux'), ('share:aux', 'share:aux'),
    ('share:first+class', 'share:first'), ('share:first+output', 'share:first+aux')])
def test_what_is_trained_of_a_start_leaves_class_rows_out(three, start, body):
    assert trained_as(start) == body
    made, plain = (start_weights(s, *three) for s in (start, body))
    assert same(made[:-1], plain[:-1])
    for name in ('w', 'b'):
        assert (np.asarray(made[-1][name])[..., 10:] == np.asarray(plain[-1][name])[..., 10:]).all()


def test_what_a_start_needs():
    assert not needs_other('own') and all(needs_other(s) for s in STARTS if s != 'own')
    assert (cloned_on('cloned'), cloned_on('cloned:all'), cloned_on('other')) == (
        'aux', 'all', None)
    assert [kind_of(s) for s in ('mix:0', 'mix:0.3', 'mix:1', 'share:aux')] == [
        'own', 'mix', 'other', 'share:aux']
    assert [distance_of(s) for s in ('own', 'mix:0.3', 'other', 'share:aux')] == [0, 0.3, 1, None]
