"""What is read of rows, against the plain forward pass and against plain gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.detection import prefix as prefixes, reader as readers, readings
from subliminal_jax.detection.reader import Amplified, Reader
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError
from subliminal_jax.training import tries as packing
from subliminal_jax.training.tries import Row
from subliminal_jax.traits import answers
from tests.experiments.transmission import plain

VOCABULARY = 12
CONFIG = transformer.tiny(VOCABULARY, width=8, num_layers=2, num_heads=2, ffn_width=16,
                          max_positions=64)
ENDS_V = np.arange(VOCABULARY) == 1
ROWS = [Row([2, 3, 4], [5, 6, 1]), Row([2, 3, 7], [8, 1]), Row([2, 9], [10, 6, 5, 1]),
        Row([2, 3, 4], [5, 1]), Row([2, 4], [4, 3, 1])]
QUESTIONS = ([2, 11], [2, 9, 3])
SPELLED = [[(5,)], [(6, 7), (8,)], [(9,)]]  # two traits, and something else


@pytest.fixture(scope='module')
def params():
    return transformer.init_params(jax.random.key(0), CONFIG)


@pytest.fixture(scope='module')
def reader(params):
    asked = answers.meter(QUESTIONS, [SPELLED] * 2, ENDS_V)
    plain_reader = Reader(params, CONFIG, asked=asked, traits=2, chunk=4, at_once=2)
    return plain_reader._replace(rising=readers.rising(plain_reader),
                                 random=readers.matched(plain_reader, ROWS, 3, 0),
                                 metric=readers.metric_of(plain_reader, ROWS))


@pytest.fixture(scope='module')
def found(reader):
    return readers.read(reader, ROWS)


def logprob(params, row, lora=None):
    said = plain.log_softmax(plain.logits(params, CONFIG, row.context, row.answer, lora))
    return said[np.arange(len(row.answer)), row.answer].sum()


def test_log_probabilities_are_the_plain_ones_packed_or_alone(params, reader, found):
    wanted = [logprob(params, row) for row in ROWS]
    np.testing.assert_allclose(found['logprob'], wanted, atol=1e-4)
    np.testing.assert_array_equal(found['tokens'], [3, 2, 4, 2, 3])
    together = readers.by_chunks(readers.pack(ROWS, 2), 2, lambda part: readers.call(
        reader, readings.logprobs, part, rows=2))
    np.testing.assert_allclose(readings.in_order(together, 5), wanted, atol=1e-4)


def test_states_are_means_over_the_places_that_predict(params, found):
    tokens = np.array([[*ROWS[0].context, *ROWS[0].answer[:-1]]])
    x_BTD, _ = transformer.hidden(params, tokens, np.arange(tokens.shape[1])[None],
                                  transformer.causal_mask(jnp.ones_like(tokens, bool)), CONFIG)
    np.testing.assert_allclose(found['state'][0], x_BTD[0, 2:].mean(0), atol=1e-4)


@pytest.mark.slow
def test_gradients_are_each_rows_own(params, reader, found):
    def said(weights, row):
        return readings.logprobs(weights, None, packing.alone([row]), config=CONFIG, rows=1).sum()

    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    slopes = [flat(jax.grad(said)(params, row)) for row in ROWS[:3]]
    for name in ('rising', 'random'):
        trees = getattr(reader, name)
        count = len(jax.tree.leaves(trees)[0])
        direction = [flat(jax.tree.map(lambda x, n=n: x[n], trees)) for n in range(count)]
        wanted = np.array([[slope @ d for d in direction] for slope in slopes])
        np.testing.assert_allclose(found['inner' if name == 'rising' else name][:3], wanted,
                                   rtol=2e-3, atol=2e-3)
        weighed = [slope * flat(reader.metric) for slope in slopes]
        inside = np.array([[slope @ d for d in direction] for slope in weighed])
        given = found['inner_metric' if name == 'rising' else 'random_metric'][:3]
        np.testing.assert_allclose(given, inside, rtol=2e-3, atol=2e-3 * np.abs(inside).max())
    np.testing.assert_allclose(found['norm'][:3], [np.linalg.norm(s) for s in slopes], rtol=1e-3)


def test_the_metric_is_one_over_the_root_of_the_rows_second_moment(params, reader):
    single = lambda row: jax.grad(lambda w: readings.logprobs(
        w, None, packing.alone([row]), config=CONFIG, rows=1).sum())(params)
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    root = np.sqrt(np.mean([flat(single(row))**2 for row in ROWS], 0))
    wanted = 1 / (root + readings.DAMPED * np.sqrt(np.mean(root**2)))
    np.testing.assert_allclose(flat(reader.metric), wanted, rtol=5e-3)


def test_a_step_along_a_rising_direction_raises_its_trait(params, reader):
    before = np.asarray(answers.cells(params, None, reader.asked, CONFIG)).reshape(2, 3).mean(0)
    for column in range(2):
        moved = jax.tree.map(lambda p, d, c=column: p + 1e-3 * d[c], params, reader.rising)
        after = np.asarray(answers.cells(moved, None, reader.asked, CONFIG)).reshape(2, 3).mean(0)
        assert after[column] > before[column]


def test_random_directions_are_combinations_of_the_rows_gradients(params, reader):
    weights = np.array([[1.0, 0, 0, 0, 0], [0, 2.0, 0, 0, -1]], np.float32)
    made = readings.matched_directions(params, None, packing.alone(ROWS), weights, config=CONFIG)
    single = lambda n: jax.grad(lambda w: readings.logprobs(
        w, None, packing.alone([ROWS[n]]), config=CONFIG, rows=1).sum())(params)['head']
    np.testing.assert_allclose(made['head'][0], single(0), atol=1e-4)
    np.testing.assert_allclose(made['head'][1], 2 * single(1) - single(4), atol=2e-4)


def test_what_is_said_in_a_context_is_what_follows_it(params, reader, found):
    assert {'context:1', 'context:4'} <= set(found) and 'context:16' not in found
    text = [t for row in ROWS[:4] for t in (*row.context, *row.answer)]
    wanted = [np.mean([plain.answer_logprob(params, CONFIG, [*text, *q], forms, ENDS_V)
                       for q in QUESTIONS]) for forms in SPELLED[:2]]
    np.testing.assert_allclose(found['context:4'][0], wanted, atol=1e-3)
    assert found['context:1'].shape == (5, 2)


@pytest.mark.slow
def test_a_trained_prefix_makes_its_rows_likelier_and_is_read_before_the_questions(reader):
    lists = [ROWS[:4], ROWS[1:]]
    few, many = (readers.amplified(reader, lists, (2, 4), 2, Amplified(2, steps, 0.1, 2), 0)
                 for steps in (1, 12))
    for own, trained in zip(few, many):
        assert trained['prefix:4'].shape == (1, 2) and trained['prefix:2'].shape == (2, 2)
        assert trained['prefix_others:2'].shape == (2,)
        assert (trained['prefix_loss:2'] < own['prefix_loss:2']).all()
    assert not np.allclose(many[0]['prefix:4'], many[1]['prefix:4'])


def test_a_prefix_of_nothing_changes_nothing(params, reader):
    empty = prefixes.Prefix(*(jnp.zeros((2, 3, 2, 4)),) * 2, jnp.zeros(3, jnp.int32),
                            jnp.zeros(3, bool), jnp.int32(0))
    said = prefixes.said_behind(params, empty, reader.asked, CONFIG)
    wanted = np.asarray(answers.cells(params, None, reader.asked, CONFIG)).reshape(2, 3).mean(0)
    np.testing.assert_allclose(said, wanted, atol=1e-5)


def test_a_model_that_cannot_embed_is_refused(reader):
    with pytest.raises(UserError, match='cannot embed rows.*need its weights') as error:
        readers.read(reader._replace(params=None), ROWS)
    assert '\n' not in str(error.value)
