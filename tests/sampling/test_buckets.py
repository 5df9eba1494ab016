"""Buckets: no row is lost, none is cut, and no other choice of lengths pads less."""

import itertools

import numpy as np
from hypothesis import given, settings, strategies as st

from subliminal_jax.sampling import buckets

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def price(lengths, edges, batch_size, columns, compiling):
    own = [min(e for e in edges if e >= n) for n in lengths]
    return sum(-(-own.count(e) // batch_size) * (e + columns) + compiling
               for e in edges if e in own)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 3), st.integers(1, 9), st.integers(0, 20), st.integers(0, 50))
def test_no_other_buckets_cost_less(lengths, most, batch_size, columns, compiling):
    edges = buckets.choose_buckets(lengths, batch_size, columns, most, compiling=compiling)
    assert edges == sorted(set(edges))
    assert len(edges) <= most
    assert all(e % buckets.MULTIPLE == 0 for e in edges)
    grid = range(4, 41, 4)
    best = min(price(lengths, own, batch_size, columns, compiling)
               for size in range(1, most + 1) for own in itertools.combinations(grid, size)
               if max(own) >= max(lengths))
    assert price(lengths, edges, batch_size, columns, compiling) == best


def test_equal_lengths_need_one_bucket_of_their_own_length():
    assert buckets.choose_buckets([60] * 32, 32) == [60]
    assert buckets.choose_buckets([]) == []


def test_a_few_rows_are_worth_one_program_and_many_are_worth_several():
    assert buckets.choose_buckets([12, 40, 90], 8, 64) == [92]
    assert len(buckets.choose_buckets([12, 40, 90] * 1000, 32, 64)) == 3
    assert [buckets.batch_rows(32, n) for n in (1, 8, 9, 100)] == [8, 8, 16, 32]


@given(LENGTHS, st.integers(1, 7), st.data())
def test_every_wanted_row_is_in_one_batch(lengths, batch_size, data):
    wanted = data.draw(st.lists(st.sampled_from(range(len(lengths))), unique=True))
    edges = buckets.choose_buckets(lengths)
    found = []
    for batch in buckets.batches(lengths, edges, batch_size, wanted):
        assert 1 <= len(batch.indices) <= batch_size
        assert all(lengths[i] <= batch.length for i in batch.indices)
        found += batch.indices
    assert sorted(found) == sorted(wanted)


def test_shared_prefix_leaves_a_token_to_each():
    same = list(range(50))
    assert buckets.shared_prefix([same + [1], same + [2, 3]]) == 48
    assert buckets.shared_prefix([same[:40], same]) == 36
    assert buckets.shared_prefix([same, same]) == 48
    assert buckets.shared_prefix([same]) == 0
    assert buckets.shared_prefix([[1, 2], [3]]) == 0


def test_few_programs_serve_batches_of_any_number_of_prompts():
    held = lambda batch, per_prompt: {n: buckets.prompts_held(n, batch, per_prompt)
                                      for n in range(1, batch + 1)}
    assert set(held(32, 1).values()) == {32}
    assert set(held(32, 8).values()) == {4, 8, 16, 32}
    assert set(held(32, 5).values()) == {8, 16, 32}
    assert set(held(24, 100).values()) == {3, 6, 12, 24}
    assert all(n <= size for n, size in held(32, 8).items())


def test_padding_keeps_the_tokens_on_either_side():
    for left, place in ((True, -1), (False, 0)):
        tokens, valid = buckets.padded([[5, 6], [7]], 4, 3, 9, left)
        assert tokens.shape == valid.shape == (3, 4)
        assert tokens[1, place] == 7
        assert [list(t[v]) for t, v in zip(tokens, valid)] == [[5, 6], [7], [5, 6]]
        assert (tokens[~valid] == 9).all()
    assert np.array_equal(tokens[0], [5, 6, 9, 9])
