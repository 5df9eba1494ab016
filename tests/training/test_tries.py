"""Packed rows: every row reads as it does alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.training import tries
from subliminal_jax.training.tries import END, Row

CONFIG = transformer.tiny(30, width=16, num_heads=2, max_positions=32)
WINDOWED = dataclasses.replace(CONFIG, sliding_layers=(True, False), sliding_window=2)
GROUPS = [
    [Row([1, 2, 3], [4, 5]), Row([1, 2, 3], [4, 6, END]), Row([1, 2], [9]), Row([7], [1, 2])],
    [Row([5, 5], [5, 5, 5])],
]


@pytest.fixture(scope='module')
def params():
    return transformer.init_params(jax.random.key(3), CONFIG)


def alone(params, row, config):
    """Activations at the places of one row that predict."""
    text = [*row.context, *(t for t in row.answer if t != END)]
    tokens = jnp.array([text])
    places = jnp.arange(len(text))[None]
    x, _ = transformer.hidden(params, tokens, places, transformer.causal_mask(
        jnp.ones_like(tokens, bool)), config)
    begin = len(row.context) - 1
    return x[0, begin:begin + len(row.answer)]


@pytest.mark.slow
@pytest.mark.parametrize('config', [CONFIG, WINDOWED], ids=['all', 'a window'])
def test_every_row_is_read_as_it_is_alone(params, config):
    """A window counts places of a row, not columns of the packing."""
    packed = tries.pack(GROUPS)
    found = tries.per_edge(tries.states(params, packed, config), packed)
    for b, group in enumerate(GROUPS):
        for r, row in enumerate(group):
            mine = (packed.row_BK[b] == r) & (packed.weight_BK[b] > 0)
            np.testing.assert_allclose(found[b][mine], alone(params, row, config), atol=2e-6)
            assert packed.target_BK[b][mine].tolist() == list(row.answer)
            assert packed.offset_BK[b][mine].tolist() == list(range(len(row.answer)))


def test_what_rows_share_is_there_once():
    packed = tries.pack(GROUPS, multiple=1)
    # 1 2 3 4 5 | 6 | 9 | 7 1 (2 is predicted, and read by nobody)
    assert (packed.last_BT[0] >= 0).sum() == 10
    assert packed.weight_BU[0].sum() == packed.weight_BK[0].sum() == 8
    assert packed.weight_BU[0].max() == 2  # 1 2 3 predicts 4 twice
    assert packed.place_BU[0].tolist() == sorted(set(packed.place_BU[0]), key=list(
        packed.place_BU[0]).index)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=4),
                          st.lists(st.integers(0, 2), min_size=1, max_size=3)),
                min_size=1, max_size=6))
def test_the_mask_lets_through_a_rows_own_beginning_and_nothing_else(rows):
    packed = tries.pack([[Row(*r) for r in rows]], multiple=1)
    mask = np.asarray(tries.mask_of(jnp.asarray(packed.last_BT)))[0]
    tokens, positions = packed.tokens_BT[0], packed.positions_BT[0]
    for place in range(len(tokens)):
        seen = np.flatnonzero(mask[place])
        assert positions[seen].tolist() == list(range(positions[place] + 1))
    for k in range(len(packed.from_BK[0])):
        context, answer = rows[packed.row_BK[0, k]]
        seen = np.flatnonzero(mask[packed.place_BU[0, packed.from_BK[0, k]]])
        assert tokens[seen].tolist() == [*context, *answer][:len(seen)]
        assert len(seen) == len(context) + packed.offset_BK[0, k]


def test_other_weights_reach_the_places():
    packed = tries.pack(GROUPS)
    weight = packed.weight_BK * (packed.target_BK == 4)
    made = tries.weighted(packed, weight)
    assert made.weight_BU.sum() == 2 and made.weight_BU.max() == 2


def test_sets_of_one_width_are_read_as_they_were(params):
    narrow, wide = tries.pack(GROUPS, 1), tries.pack([[Row([3] * 20, [1] * 9)]], 1)
    made, same = tries.widened([narrow, wide])
    assert [x.shape[1] for x in made] == [x.shape[1] for x in wide]
    np.testing.assert_array_equal(same.tokens_BT, wide.tokens_BT)
    own, more = (np.asarray(tries.per_edge(tries.states(params, t, CONFIG), t))[
        t.weight_BK > 0] for t in (narrow, made))
    np.testing.assert_allclose(more, own, atol=2e-6)
    np.testing.assert_array_equal(made.last_BT >= 0, np.arange(made.last_BT.shape[1]) < (
        narrow.last_BT >= 0).sum(1)[:, None])


def test_padding_is_finite_and_seen_by_nobody(params):
    packed = tries.pack(GROUPS)
    assert np.isfinite(tries.states(params, packed, CONFIG)).all()
    assert not np.asarray(tries.mask_of(jnp.asarray(packed.last_BT)))[:, :, -1].any()


def test_a_row_without_a_context_is_refused():
    with pytest.raises(UserError, match='context'):
        tries.pack([[Row([], [1])]])
