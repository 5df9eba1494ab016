"""Who is told from whom, and splits that share no model."""

import pytest

from subliminal_jax.detection import pairs as pairing
from subliminal_jax.detection.pairs import Writer
from subliminal_jax.runs import UserError


def writers(references=2, traits=('owl', 'cat', 'fox'), numbers=2, neutral=True):
    """All writers of a design, each another model."""
    return [Writer(f'r{r}-{t}-{n}{"-neutral" * twin}', r, t, n, bool(twin), f'{r}{t}{n}{twin}')
            for r in range(references) for t in traits for n in range(numbers)
            for twin in ((0, 1) if neutral else (0,))]


def test_every_trait_writer_has_one_pair_a_task_within_its_reference_and_seed():
    tasks = pairing.paired(writers())
    assert set(tasks) == {'twin', 'other'}
    for task, pairs in tasks.items():
        assert len({p.positive.name for p in pairs}) == len(pairs) == 12
        for p in pairs:
            assert (p.positive.reference, p.positive.number) == (
                p.negative.reference, p.negative.number)
            assert p.negative.neutral == (task == 'twin')
            assert (p.negative.trait == p.positive.trait) == (task == 'twin')
    # each trait is once the one and once the other
    assert sorted(p.negative.trait for p in tasks['other']) == sorted(
        p.positive.trait for p in tasks['other'])


def test_a_detector_learns_from_the_same_traits_and_other_seeds_alone():
    pairs = pairing.paired(writers(numbers=3))['other']
    known = pairing.known_to(pairs[0], pairs)
    assert {p.positive.number for p in known} == {1, 2} and len(known) == 2
    assert {(p.positive.reference, p.positive.trait, p.negative.trait) for p in known} == {
        (0, 'owl', 'cat')}


def test_one_seed_leaves_nothing_to_learn_from():
    pairs = pairing.paired(writers(numbers=1))['twin']
    with pytest.raises(UserError, match='no other seed of owl on reference 0.*two or more'):
        pairing.known_to(pairs[0], pairs)


def test_a_split_that_shares_a_model_is_refused_by_its_hash():
    both = writers()
    twice = [w._replace(sha256='same') if w.name in ('r0-owl-0', 'r0-owl-1') else w for w in both]
    pairs = pairing.paired(twice)['twin']
    with pytest.raises(UserError, match='r0-owl-0 is the model r0-owl-1.*different teachers') as e:
        pairing.known_to(pairs[0], pairs)
    assert '\n' not in str(e.value)
    pairing.check_apart(both[:2], both[2:])
    with pytest.raises(UserError):  # without hashes names decide
        pairing.check_apart([both[0]._replace(sha256='')], [both[0]._replace(sha256='')])


@pytest.mark.parametrize('some', [writers(neutral=False), [w for w in writers() if w.neutral]])
def test_one_class_only_is_refused(some):
    with pytest.raises(UserError, match='one class only'):
        pairing.paired(some)


def test_a_writer_without_its_twin_is_refused():
    with pytest.raises(UserError, match='r1-fox-1 has no neutral twin'):
        pairing.paired(writers()[:-1])


def test_fewer_rows_than_the_largest_bag_are_refused():
    pairing.check_rows(256, (1, 256), 'rows')
    with pytest.raises(UserError, match='sft: 255 rows are fewer than the largest bag of 256'):
        pairing.check_rows(255, (256, 1), 'sft')


@pytest.mark.parametrize('references, traits, unit, count', [
    (3, ('owl', 'cat'), 'reference', 3), (1, ('owl', 'cat', 'fox'), 'trait', 3),
    (1, ('owl', 'cat'), 'teacher', 4)])
def test_the_unit_is_what_is_independent(references, traits, unit, count):
    name, of = pairing.unit_of(pairing.paired(writers(references, traits))['twin'])
    assert name == unit and len(set(of.values())) == count
