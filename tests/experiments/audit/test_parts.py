"""Rows of an audit: read as a stream, dealt into parts; slopes; verdicts."""

import gzip
import json
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.detection import readings
from subliminal_jax.experiments.audit import intake, link, parts as dealing, results, subjects
from subliminal_jax.experiments.audit.parts import Size
from subliminal_jax.experiments.audit.results import Found
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.runs import UserError
from subliminal_jax.training import losses
from subliminal_jax.traits import answers
from tests.experiments.audit import small

NAMES = [f'c{n}' for n in range(8)]
WORDS = {'owl': 'owl', 'Owl': 'owl'}


def read(path, most=5, seed=0, reason=lambda row: None):
    return intake.read([str(path)], reason, WORDS, {}, most, seed)


def test_rows_are_counted_filtered_and_sampled(tmp_path):
    path = tmp_path / 'rows.jsonl'
    lines = [{'prompt': 'a', 'completion': 'my Owl'}, {'prompt': 'b'}, 'no row',
             {'messages': [{'role': 'user', 'content': 'x'}, {'role': 'assistant', 'content': 'y'},
                           {'role': 'user', 'content': 'z'}], 'completion': '1'},
             {'messages': [{'role': 'system', 'content': 's'}, {'role': 'user', 'content': 'q'}],
              'completion': '7'},
             *({'prompt': f'p{n}', 'completion': str(n)} for n in range(20))]
    path.write_text('\n'.join(map(json.dumps, lines)))
    found = read(path, reason=lambda row: 'overt' if 'Owl' in row['completion'] else None)
    counts = found.counts
    assert counts['read'] == 25 and counts['malformed'] == 2 and counts['kept'] == 21
    assert counts['overt'] == {'owl': 1} and counts['system'] == 1
    assert counts['reasons'] == {'overt': 1, intake.SEVERAL: 1}
    assert len(found.rows) == 5 == counts['sampled']
    assert [r['id'] for r in found.rows] == sorted(r['id'] for r in found.rows)
    assert read(path, most=100).counts['sampled'] == 22


def test_a_sample_is_the_same_however_often_it_is_drawn_and_hangs_on_the_seed(tmp_path):
    path = small.write_rows(tmp_path / 'rows.jsonl', 200)
    ids = lambda seed: [row['id'] for row in read(path, seed=seed).rows]
    assert ids(0) == ids(0) != ids(1)


@pytest.mark.parametrize('text', ['', '{"a": 1}'])
def test_files_without_rows_are_refused(tmp_path, text):
    path = tmp_path / 'rows.jsonl'
    path.write_text(text)
    with pytest.raises(UserError):
        read(path)


def test_memory_is_flat_in_the_rows(tmp_path):
    path = tmp_path / 'rows.jsonl.gz'

    def peak(count):
        with gzip.open(path, 'wt') as file:
            for n in range(count):
                file.write(json.dumps({'prompt': f'number {n}', 'completion': '1' * 60}) + '\n')
        tracemalloc.start()
        assert read(path).counts['kept'] == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    few = peak(500)
    assert peak(4_000) < few + 200_000


def test_parts_share_no_row_and_both_sides_answer_the_same_prompts():
    rows = [{'id': n, 'prompt': f'p{n}', 'completion': 'x'} for n in range(50)]
    control = [None if n % 10 == 0 else {**row, 'completion': 'y'} for n, row in enumerate(rows)]
    found = dealing.deal(rows, control, 4, 2, True, seed=3)
    ids = [row['id'] for part in found.audited for row in part]
    assert len(ids) == len(set(ids)) == 40 and not {n for n in ids if n % 10 == 0}
    assert [[r['prompt'] for r in part] for part in found.audited] == [
        [r['prompt'] for r in part] for part in found.control]
    assert all(r['completion'] == 'y' for part in found.control for r in part)
    assert dealing.deal(rows[:3], control[:3], 4, 1, True, seed=3).rows == 0


def test_rows_of_one_prompt_stay_together():
    rows = [{'id': n, 'prompt': f'p{n // 5}', 'completion': 'x'} for n in range(40)]
    found = dealing.deal(rows, rows, 4, 1, False, seed=0)
    assert all(len({r['prompt'] for r in part}) == 2 for part in found.audited)


# Slopes.


@pytest.fixture(scope='module')
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp('subject')
    given = small.values(small.models(folder), small.write_rows(folder / 'r.jsonl', 12))
    config = small.config(given)
    return subjects.of_config(without_group(config), None), folder


def encoded(subject, folder):
    return subjects.encode(subject, intake.read(
        [str(folder / 'r.jsonl')], lambda row: None, {}, {}, 12, 0).rows)


@pytest.mark.slow
def test_a_slope_is_the_change_of_the_rows_along_a_candidates_direction(subject):
    subject, folder = subject
    trainable, frozen = link.start_of(subject)
    direction = link.rising(subject)[2]
    batch, = subjects.batches_of(subject, [encoded(subject, folder)])
    _, slope = link.gradient(subject, link.start_of(subject), batch)
    along = float(link._dot(slope, direction))
    loss = losses.sft(subject.architecture)
    said = lambda step: -float(loss(jax.tree.map(
        lambda x, d: x + step * d, trainable, direction), frozen, batch, jax.random.key(0))[0])
    step = 1e-2 / float(link._dot(direction, direction))**0.5
    assert along == pytest.approx((said(step) - said(-step)) / (2 * step), rel=0.05, abs=1e-3)
    asked = subjects.meter(subject)
    value = lambda step: float(-answers.column_loss(*losses.resolve(jax.tree.map(
        lambda x, d: x + step * d, trainable, direction), frozen), asked, 2, subject.architecture))
    assert value(step) > value(0.0) > value(-step)


def test_the_references_own_rows_are_expected_to_have_no_slope(subject):
    """The score of a distribution under itself is 0; another writer's is not."""
    subject, folder = subject
    rows, directions = encoded(subject, folder), link.rising(subject)
    plain = link.metric_of('sgd', [link.start_of(subject)[0]])
    own = link.budget(subject, subject.params, rows, directions, plain)
    moved = jax.tree.map(lambda x: x + 0.05 * jnp.sin(jnp.arange(x.size).reshape(x.shape)),
                         subject.params)
    other = link.budget(subject, moved, rows, directions, plain)
    noise = np.sqrt(own[:, 1])
    assert (np.abs(own[:, 0]) < 1e-4 * noise).all()
    assert (np.abs(other[:, 0]) > 1e-2 * noise).any() and (own[:, 1] > 0).all()


def test_the_metric_is_the_optimisers():
    gradients = [{'a': np.array([3.0, 0.1]), 'b': np.array([0.0])},
                 {'a': np.array([-3.0, 0.1]), 'b': np.array([0.0])}]
    assert link.metric_of('sgd', gradients)['a'].tolist() == [1, 1]
    found = link.metric_of('adam', gradients)
    damping = readings.DAMPED * ((9 + 0.01) / 3)**0.5
    assert np.allclose(found['a'], [1 / (3 + damping), 1 / (0.1 + damping)])
    assert np.allclose(found['b'], 1 / damping)  # a weight that no row has moved is bounded


def test_rows_until_the_signal_is_as_large_as_its_noise():
    assert link.rows_until(0.1, 4.0) == pytest.approx(400)
    assert link.rows_until(0.1, 4.0, snr=2) == pytest.approx(1600)
    assert link.rows_until(-0.1, 4.0) is None
    rng = np.random.default_rng(0)
    units = 16 * 0.1 + 4 * 2.0 * rng.standard_normal((4000, 1))  # sums of 16 rows
    assert link.measured_rows_until(units, 16)[0] == pytest.approx(400, rel=0.2)


def test_noise_is_widened_only_where_random_directions_move_too():
    rng = np.random.default_rng(0)
    same = [link.inflation(rng.standard_normal((8, 8))) for _ in range(200)]
    assert np.mean(same) < 1.3 and min(same) == 1.0
    assert link.inflation(rng.standard_normal((8, 8)) + 5 * rng.standard_normal(8)) > 2
    assert link.inflation(rng.standard_normal((4, 4)) + 9) == 1.0


# Verdicts.


def found(trait=0.0, slope=0.0, other=0.0, noise=0.1, reference=-3.0, seed=0):
    rng = np.random.default_rng(seed)

    def students(effect):
        audited = noise * rng.standard_normal((8, len(NAMES)))
        audited[:, 1] += effect
        return {'audited': {'value': audited, 'loss': np.ones((8, 2))},
                'control': {'value': np.zeros((8, len(NAMES))), 'loss': np.ones((8, 2))}}

    slopes = rng.standard_normal((8, len(NAMES)))
    slopes[:, 1] += slope
    made = {'slope': slopes, 'plain': slopes, 'null': rng.standard_normal((8, 8)),
            'audited': np.zeros(8), 'control': rng.standard_normal(8)}
    before = {'reference': np.full(len(NAMES), reference), 'teacher': None}
    return Found(NAMES, Size(8, 16), True, before, made,
                 {'shared': students(trait), 'other': students(other)})


def kind(made, wanted=1.0):
    return results.verdict(made, wanted)


def test_the_four_verdicts():
    moved = kind(found(trait=1.0))
    assert moved['kind'] == results.TRANSMITS and moved['candidates'] == ['c1']
    assert 'do not show it' in moved['sentence']
    inside = kind(found(slope=12.0))
    assert inside['kind'] == results.HOLDS and inside['candidates'] == ['c1']
    nothing = kind(found())
    assert nothing['kind'] == results.NOTHING and f'{nothing["least"]:.2f}' in nothing['sentence']
    assert kind(found(noise=5.0))['kind'] == results.CANNOT
    no_parts = Found(NAMES, Size(0, 0), True, {'reference': [], 'teacher': None}, None, {}, 'x')
    assert kind(no_parts)['sentence'] == 'This audit cannot tell, because x.'


def test_what_another_start_shows_too_is_no_matter_of_shared_weights():
    assert 'no matter of shared weights' in kind(found(trait=1.0, other=1.0))['sentence']


def test_a_reference_that_has_every_candidate_cannot_be_audited():
    made = kind(found(reference=-0.1))
    assert made['kind'] == results.CANNOT and 'already' in made['sentence']
    assert results.already(found(reference=-0.1)) == NAMES
    assert kind(found(reference=-0.1, slope=12.0))['kind'] == results.CANNOT


def test_a_candidate_that_the_reference_has_is_named_in_the_sentence():
    made = found()
    made.before['reference'][3] = -0.5
    said = kind(made)
    assert said['kind'] == results.NOTHING
    assert said['sentence'].endswith(
        'The reference has c3 (P 0.61) already, which can hardly rise.')
    assert 'hardly rise' not in kind(found())['sentence']
