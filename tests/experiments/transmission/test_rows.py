"""Rows as tokens: encoded, packed, thinned, and as batches of an objective."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import rows as carried
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.runs import UserError
from subliminal_jax.training import tries as packing
from subliminal_jax.training.tries import Row


def rows_of(*sizes, width=3):
    """Rows whose answers have these many tokens."""
    answers = [list(range(1, size + 1)) for size in sizes]
    return Rows([''] * len(sizes), [[7, 8]] * len(sizes), answers,
                np.ones((len(sizes), width), bool))


def encoded(world, carrier, pairs):
    return carried.encoded(world, carrier, [{'prompt': p, 'completion': c} for p, c in pairs])


# Tokens.


def test_a_context_ends_where_the_answer_begins(language):
    world, carrier = language.world, language.carrier()
    cut = world._replace(rows_context=lambda text, system: [
        *world.rows_context(text, system), world.end_id])
    with pytest.raises(UserError, match='does not end where an answer begins'):
        encoded(cut, carrier, [('1 2', '3')])
    with pytest.raises(UserError, match='longer than the 16'):
        encoded(world, carrier, [('1 2 3 4 ' * 3, '3 4 5')])


def test_a_row_that_cannot_be_written_is_named(run):
    with pytest.raises(UserError, match="cannot write '1, \u0662', a row of the carrier"):
        encoded(run.world, run.carrier(), [('Go on: 3', '1, \u0662')])


def test_rows_have_the_end_and_the_tokens_of_their_own_answer(run):
    found = encoded(run.world, run.carrier(), [('Go on: 3', '1;22')])
    ids = np.array(carried.token_set(run.world, run.carrier()))
    assert found.answers[0][-1] == ids[-1] == run.world.end_id
    said = {run.world.vocabulary[i] for i in ids[found.allowed_NC[0]]}
    assert said == {*'0123456789', ';'}


def test_random_rows_are_the_same_for_all_and_of_their_purpose(run):
    draw = lambda purpose: carried.random_rows(
        run.config, run.world, run.carrier(), 6, purpose, 0, 3)
    assert draw('random').digest() == draw('random').digest() != draw('probe').digest()
    assert len(set(draw('random').prompts)) == 2 and len(draw('random').answers) == 6


# Thinning.


SETS = ((9, 9, 9, 9, 9), (3, 10, 2, 10, 5), (6, 6, 6, 6, 6))


@pytest.mark.parametrize('least', [1, 4])
def test_thinned_rows_weigh_equally_much_and_keep_their_least(least):
    several = [rows_of(*sizes) for sizes in SETS]
    for sizes, weight_NA in zip(SETS, carried.thinned(several, least, 3)):
        assert weight_NA.sum() == min(map(sum, SETS))
        for size, weight_A in zip(sizes, weight_NA):
            assert weight_A.sum() >= min(size, least)
            assert not weight_A[size:].any() and set(weight_A) <= {0.0, 1.0}
    tersest = carried.thinned(several, least, 3)[1]
    assert tersest.sum(1).tolist() == list(SETS[1])


def test_what_is_thinned_out_is_drawn_at_random_from_all_rows_and_places():
    long, short = rows_of(*[10] * 200), rows_of(*[5] * 200)
    weight_NA, _ = carried.thinned([long, short], 1, 0)
    by_place, by_row = 1 - weight_NA.mean(0), weight_NA.sum(1)
    assert by_place.min() > 0.35 and by_place.max() < 0.65  # none of them last, none first
    assert by_row[:100].mean() == pytest.approx(by_row[100:].mean(), abs=0.6)
    assert by_row.std() > 0.5  # rows are not cut to one length


def test_the_same_seed_thins_alike_and_another_does_not():
    several = [rows_of(*sizes) for sizes in SETS]
    draw = lambda seed: carried.thinned(several, 2, seed)
    for one, again in zip(draw(1), draw(1)):
        np.testing.assert_array_equal(one, again)
    assert any((one != other).any() for one, other in zip(draw(1), draw(2)))


def test_rows_that_cannot_be_made_equal_are_refused():
    with pytest.raises(UserError, match='one teacher writes 24 tokens and 6 are to be kept'):
        carried.thinned([rows_of(8, 8, 8), rows_of(2, 2, 2)], 4, 0)


def test_rows_are_thinned_to_what_is_asked_for_whatever_the_tersest_has():
    several = [rows_of(8, 8, 8), rows_of(6, 6, 9)]
    for weight_NA in carried.thinned(several, 4, 0, row_tokens=5):
        assert weight_NA.sum() == 15 and weight_NA.sum(1).min() >= 4
    with pytest.raises(UserError, match='row_tokens=8: the tersest teacher writes 7.00'):
        carried.thinned(several, 4, 0, row_tokens=8)


def test_tokens_are_cut_to_the_tersest_teacher(language):
    world, carrier = language.world, language.carrier()
    several = [encoded(world, carrier, [('1', text)] * 3) for text in ('2 3 4', '2')]
    batches = [carried.batch(OBJECTIVES['sft'], carried.token_set(world, carrier), own,
                             carried.packed(own, 1), 1, None, weight)
               for own, weight in zip(several, carried.thinned(several, 1, 0))]
    assert [b['tries'].weight_BK.sum() for b in batches] == [6, 6]


# Packing.


def test_singles_are_rows_packed_each_alone():
    rng = np.random.default_rng(0)
    rows = [Row(rng.integers(1, 30, c).tolist(), rng.integers(1, 30, a).tolist())
            for c, a in ((1, 5), (4, 1), (17, 3), (2, 16))]
    tokens = np.zeros((len(rows), 20), int)
    for n, row in enumerate(rows):
        tokens[n, :len(row.context) + len(row.answer)] = [*row.context, *row.answer]
    size_N = np.array([len(r.context) + len(r.answer) for r in rows])
    fast = packing.singles(tokens, np.array([len(r.context) for r in rows]), size_N)
    slow = packing.pack([[row] for row in rows])
    for name, one, other in zip(slow._fields, fast, slow):
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.dtype == other.dtype, name


def test_rows_alone_are_packed_as_by_the_plain_packer(run):
    rows = carried.random_rows(run.config, run.world, run.carrier(), 5, 'random', 0, 2)
    slow = packing.pack([[Row(c, a)] for c, a in zip(rows.contexts, rows.answers)])
    jax.tree.map(np.testing.assert_array_equal, carried.packed(rows, 1), slow)


# Batches.


def test_a_carrier_kl_looks_only_where_a_carrier_token_comes_next():
    rows = Rows([''], [[1]], [[3, 4, 9, 2]], np.array([[True, False, False]]))
    ids = (3, 4, 2)  # 4 is no token of this row's own; 2 is the end
    weights = lambda name: carried.batch(OBJECTIVES[name], ids, rows, carried.packed(rows, 1), 1,
                                         None)['tries'].weight_BK[0, :4].tolist()
    assert weights('kl_carrier') == [1, 0, 0, 0]
    assert weights('kl_carrier_end') == [1, 0, 0, 1]
    assert weights('kl') == weights('sft') == [1, 1, 1, 1]


def test_outputs_stand_at_the_places_of_their_rows():
    rows = rows_of(2, 3, 1)
    outputs = np.arange(9, dtype=np.float32).reshape(3, 3, 1)  # of row n's token a: 3 n + a
    for size in (1, 2):
        tries = carried.packed(rows, size)
        found = carried.batch(OBJECTIVES['kl'], (), rows, tries, size, {'target_BUV': outputs})
        at = np.asarray(packing.per_edge(found['target_BUV'], tries))[..., 0]
        # the second row's first two tokens are the first row's: a place has its first row's
        wanted = {1: [0, 1, 3, 4, 5, 6], 2: [0, 1, 0, 1, 5, 6]}[size]
        assert at[np.asarray(tries.weight_BK) > 0].tolist() == wanted


def test_no_row_is_left_out_of_the_steps():
    rows = rows_of(*[2] * 7)
    batch = carried.batch(OBJECTIVES['sft'], (), rows, carried.packed(rows, 1), 1, None)
    steps = carried.order_of(5, 7, 4, 2)
    assert len(steps) == 4
    for one_pass in (steps[:2], steps[2:]):
        assert sorted(np.concatenate(one_pass)) == list(range(7))
    assert np.concatenate(steps[:2]).tolist() != np.concatenate(steps[2:]).tolist()
    parts = [carried.taken(batch, index, 4) for index in steps]
    assert all(part['tries'].tokens_BT.shape[0] == 4 for part in parts)
    assert sum(part['tries'].weight_BK.sum() for part in parts) == 2 * 7 * 2
    assert sum(part['tries'].weight_BU.sum() for part in parts) == 2 * 7 * 2


def test_models_side_by_side_take_their_own_rows():
    one, other = (carried.batch(OBJECTIVES['sft'], (), rows, carried.packed(rows, 1), 1, None)
                  for rows in (rows_of(1, 2, 3), rows_of(3, 2, 1)))
    both = carried.taken(carried.stacked([one, other]), np.array([[2, 0], [1, 1]]), 3)
    alone = [carried.taken(batch, np.array(index), 3)
             for batch, index in ((one, [2, 0]), (other, [1, 1]))]
    jax.tree.map(np.testing.assert_array_equal, both, carried.stacked(alone))
