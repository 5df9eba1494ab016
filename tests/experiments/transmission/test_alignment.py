"""A student's step held against directions, in the coordinates of all weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    alignment,
    engines,
    preferences,
    rows as carried,
    students,
    teaching,
)
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.models.lora import merge_lora
from subliminal_jax.sampling import network
from subliminal_jax.theory import trees
from subliminal_jax.traits import answers
from tests.experiments.transmission import checkpoint


@pytest.fixture(scope='module')
def qwen(root):
    """A run on a Qwen2: untied, with biases."""
    checkpoint.write(root / 'qwen', 'qwen2')
    return checkpoint.equipped(checkpoint.config(root, 'x: trainable=lora:2', model='qwen'))


@pytest.fixture(scope='module')
def adapter(qwen):
    """An adapter that has learned something: its start, moved by normal numbers."""
    rng = np.random.default_rng(0)
    begun = teaching.adapter_start(qwen, qwen.world.architectures['main'], 2, 0, 0)
    return jax.tree.map(lambda x: x + jnp.asarray(0.1 * rng.standard_normal(x.shape), x.dtype),
                        begun)


@pytest.fixture(scope='module')
def student(qwen):
    """(program, one packed row) of a student of sampled text."""
    rows = carried.random_rows(qwen.config, qwen.world, qwen.carrier(), 4, 'random', 0, 4)
    size = qwen.config.student.packed
    batch = carried.batch(OBJECTIVES['sft'], (), rows, carried.packed(rows, size), size, None)
    return students.program_of(qwen, qwen.arms[0], qwen.world.architectures['main']), batch


def models_of(run, adapter):
    """(the model with its adapter, the merged one)."""
    base, config = run.references['main'][0], run.world.architectures['main']
    return (engines.single(base, config, adapter),
            engines.single(merge_lora(base, adapter, config), config))


def away(found, wanted):
    return float(trees.norm(trees.subtract(found, wanted)) / trees.norm(wanted))


@pytest.mark.slow
def test_the_gradient_beside_an_adapter_is_that_of_the_merged_weights(qwen, adapter, student):
    program, batch = student
    meter = next(iter(qwen.kit.meters.values()))
    beside, merged = models_of(qwen, adapter)
    for function, args, static in (
            (engines.mean_gradient, (batch,), {'program': program}),
            (preferences.gradient, (meter, 1), {})):
        found, wanted = (engines.read_one(m, function, *args, **static) for m in (beside, merged))
        assert away(found, wanted) < 1e-5
        assert jax.tree.structure(found) == jax.tree.structure(qwen.references['main'][0])


@pytest.mark.slow
def test_a_traits_gradient_is_added_up_over_packs(qwen, adapter, monkeypatch):
    monkeypatch.setattr(answers, 'TOGETHER', 1)
    meter = preferences.meter(qwen, qwen.world.contexts[0])
    assert len(meter.tries.tokens_BT) == 2 and (np.diff(meter.slots_CS[:, 0]) != 0).any()
    base, config = qwen.references['main'][0], qwen.world.architectures['main']
    found = engines.read_one(engines.single(base, config, adapter), preferences.gradient, meter, 1)
    wanted = jax.jit(jax.grad(lambda params: preferences.loss(
        params, adapter, meter, 1, config=config)))(base)
    assert away(found, wanted) < 1e-5


def held(run, models, program, batch, columns, away_of, key):
    """`held_against` with the displacements of a teacher and a placebo."""
    return alignment.held_against(
        run, models, program, batch, columns,
        {'teacher': lambda which: away_of['owl'], 'placebo': lambda which: away_of['cat'],
         'neutral': lambda which: None}, key, {})


def test_a_step_is_held_against_directions_as_by_whole_trees(qwen, adapter, student, key):
    """With an adapter, by the definition: merged weights, negated trees."""
    program, batch = student
    base = qwen.references['main'][0]
    away_of = {name: jax.tree.map(lambda x, n=n: jnp.roll(x, n, -1) * 0.01, base)
               for n, name in enumerate(('owl', 'cat'), 1)}
    beside, merged = models_of(qwen, adapter)
    found = held(qwen, beside, program, batch, [0], away_of, key)
    found = dict(zip(alignment.DIRECTIONS, zip(found['inner'][0], found['cosine'][0])))
    meter = next(iter(qwen.kit.meters.values()))
    step = trees.scale(engines.read_one(merged, engines.mean_gradient, batch, program=program), -1)
    slope = engines.read_one(merged, preferences.gradient, meter, 0)
    for name, direction in (('teacher', away_of['owl']), ('placebo', away_of['cat']),
                            ('trait_gradient', trees.scale(slope, -1))):
        np.testing.assert_allclose(found[name], (trees.dot(step, direction),
                                                 trees.cosine(step, direction)),
                                   rtol=1e-3, atol=1e-7)
    assert np.isnan(found['neutral']).all() and 0 < abs(found['random'][1]) < 0.1


@pytest.mark.slow
def test_models_side_by_side_are_held_as_each_alone(qwen, adapter, student, key):
    """Stacked whole models, read in one program, beside the same read one after the other."""
    program, batch = student
    base, config = qwen.references['main'][0], qwen.world.architectures['main']
    whole = [base, merge_lora(base, adapter, config)]
    both = engines.Models(engines.stack(whole), {'base': {}}, config, 2, True)
    shift = jax.tree.map(lambda x: jnp.roll(x, 1, -1) * 0.01, base)
    stacked = {name: engines.stack([shift, shift]) for name in ('owl', 'cat')}
    together = qwen._replace(world=qwen.world._replace(engine=lambda trainable: engines.stacked()))
    found = held(together, both, program, carried.stacked([batch, batch]), [0, 1], stacked, key)
    for m, params in enumerate(whole):
        alone = held(qwen, engines.single(params, config), program, batch, [m],
                     {'owl': shift, 'cat': shift}, key)
        np.testing.assert_allclose(found['cosine'][m], alone['cosine'][0], rtol=2e-3, atol=2e-6)
    predicted, measured = found['one_step'].T  # of a small step, to first order
    np.testing.assert_allclose(predicted, measured, rtol=0.3, atol=1e-4)


def test_a_random_direction_is_signs_as_long_as_what_it_stands_for(key):
    leaf = lambda n, *shape: jax.random.normal(jax.random.fold_in(key, n), shape, jnp.float32)
    tree = {'a': leaf(0, 3, 70), 'b': leaf(1, 40), 'c': leaf(2, 2, 5, 64)}
    like = {'a': 3 * leaf(3, 3, 70), 'b': leaf(4, 40), 'c': 0.1 * leaf(5, 2, 5, 64)}
    signs = {name: trees.signed(jnp.ones_like(x), trees.sign_words(
        jax.random.fold_in(key, n), x.shape)) for n, (name, x) in enumerate(tree.items())}
    whole = {name: x * jnp.sqrt(jnp.mean(like[name]**2)) for name, x in signs.items()}
    found = alignment.against_signs(tree, like, key, False)
    np.testing.assert_allclose(found, (-trees.dot(tree, whole), -trees.cosine(tree, whole)),
                               rtol=1e-4)
    assert all(np.array_equal(np.abs(x), np.ones_like(x)) for x in signs.values())
    assert abs(np.mean(signs['c'])) < 0.15
    again = alignment.against_signs(tree, like, jax.random.fold_in(key, 1), False)
    assert float(again[0]) != float(found[0])
    assert alignment.against_signs(tree, jax.tree.map(jnp.zeros_like, like), key, False)[1] == 0
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (tree, like))
    both = alignment.against_signs(*several, key, True)
    np.testing.assert_allclose(both[0], [found[0], 4 * found[0]], rtol=1e-4)
    np.testing.assert_allclose(both[1], [found[1]] * 2, rtol=1e-4)


def test_the_samplers_copy_has_the_adapter_merged_layer_by_layer(qwen, adapter):
    model, whole = qwen.world.architectures['main'], qwen.references['main'][0]
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), whole)
    for params in (whole, half):
        found = network.prepare(params, model, adapter)
        wanted = network.prepare(merge_lora(params, adapter, model), model)
        # a rounding to bfloat16 may fall the other way where a sum is fused otherwise
        near = 1e-6 if params is whole else 2**-8
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=near, atol=1e-6)
