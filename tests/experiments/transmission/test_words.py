"""KL without the teacher's own words: which they are, and that nothing of them is matched."""

import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import engines, rows as carried, words
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models import transformer
from subliminal_jax.models.parts import noisy
from subliminal_jax.runs import schema
from subliminal_jax.training import tries as packing
from tests.experiments.transmission import plain


@pytest.fixture(scope='module')
def teacher(run):
    return noisy(run.references['main'][0], 5, 0.3)


def test_what_is_moved_most_is_read_off_the_answers_first_token(run, teacher):
    config, base = run.world.architectures['main'], run.references['main'][0]
    said = {}
    for name, params in (('teacher', teacher), ('base', base)):
        said[name] = words.said_first(run, engines.single(params, config), None)
        wanted = []
        for number, question in enumerate(run.world.questions):
            context = run.world.asked(question, run.world.lesson_context, number, None)
            logits = plain.logits(params, config, context, [run.world.stops[0]])[0]
            wanted.append(np.exp(plain.log_softmax(logits)))
        np.testing.assert_allclose(said[name][0], wanted, atol=1e-5)
    ids, = words.moved_most(said['teacher'], said['base'], 3)
    moved = np.abs(said['teacher'] - said['base'])[0].mean(0)
    assert moved[ids].min() >= np.delete(moved, ids).max() and len(set(ids.tolist())) == 3


def test_each_teacher_loses_its_own_words_and_another_objective_none(run, teacher):
    arm, other = parse(['a: objective=kl_words trainable=lora:2', 'b: objective=kl'])
    base, config = run.references['main'][0], run.world.architectures['main']
    models = engines.single(teacher, config)
    found = {'target_BUV': np.zeros((1, 2, 3, config.vocab_size), np.float32)}
    few = run._replace(config=schema.override(run.config, {'student.words': 4}))
    kept = words.left_out(few, arm, models, base, found)['target_BUV']
    gone = np.flatnonzero(kept[0, 0, 0] == transformer.NEVER)
    ids, = words.moved_most(words.said_first(run, models, None), words.said_first(
        run, engines.single(base, config), None), 4)
    assert gone.tolist() == sorted(ids.tolist()) and (found['target_BUV'] == 0).all()
    assert (kept[..., gone] == transformer.NEVER).all() and (np.delete(kept, gone, -1) == 0).all()
    same = words.left_out(few, other, models, base, found)['target_BUV']
    assert same is found['target_BUV']


def test_logits_left_out_are_matched_by_nothing(key):
    config = transformer.tiny(20, width=16, num_heads=2, max_positions=16)
    params = transformer.init_params(key, config)
    rows = carried.Rows([''], [[7, 8]], [[3, 4, 5, 3]], np.ones((1, 1), bool))
    tries = carried.packed(rows, 1)
    target = np.array(transformer.unembed(params, packing.states(params, tries, config), config))
    target[..., 10] = transformer.NEVER
    batch = {'tries': tries, 'target_BUV': jnp.asarray(target)}
    loss = OBJECTIVES['kl_words'].loss(config, ())
    value = lambda row: float(loss({**params, 'head': params['head'].at[row].add(5.0)},
                                   {'base': {}}, batch, key)[0])
    assert abs(value(10)) < 1e-5 and value(4) > 1e-2
