"""Starts of students: what each kind is, and what it refuses."""

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import engines, starts, students, targets
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora, init_lora
from subliminal_jax.models.parts import noisy, permuted, permuted_adapter
from subliminal_jax.runs import UserError
from tests.experiments.transmission import plain
from tests.experiments.transmission.checkpoint import KL

REFUSED = {'shared': ['1'], 'other': ['2'], 'gauge': ['x'], 'body': ['1'],
           'share': ['', 'soul', 'embedding+embedding+soul', 'embedding+body+head', 'layer',
                     'layerx', 'layer0+head'],
           'next': ['', '1', '0of2', '2of2', '1ofx'], 'redrawn': ['', 'x', '-1'],
           'moved': ['', '0', '-3', '1.5', 'x'], 'noise': ['', '0', '-0.1', 'x']}
TAKEN = {'shared': '', 'other': '', 'gauge': '', 'body': '', 'share': 'embedding+head',
         'moved': '20', 'noise': '0.1', 'next': '1of2', 'redrawn': '1'}


@pytest.mark.parametrize('name', sorted(STARTS))
def test_every_start_refuses_what_it_cannot_be(name):
    assert STARTS[name].trouble(TAKEN[name]) is None
    for rest in REFUSED[name]:
        assert STARTS[name].trouble(rest), rest
        with pytest.raises(UserError, match='arm a: start='):
            parse([f'a: start={name}:{rest}'] if rest else [f'a: start={name}'])


def test_a_start_that_nobody_knows_names_the_nearest():
    with pytest.raises(UserError, match='moved'):
        parse(['a: start=move:3'])


def test_teachers_of_their_own_need_a_start_that_can_have_them():
    for name, rest in TAKEN.items():
        line = f'a: own=true start={name}:{rest}'.removesuffix(':')
        if STARTS[name].has_teachers:
            assert parse([line])
        else:
            with pytest.raises(UserError, match='own=true'):
                parse([line])


def test_what_a_world_of_one_trained_reference_cannot_have(run):
    with pytest.raises(UserError, match='needs a second reference'):
        starts.start_of(run, 'main', 'other', 0)
    with pytest.raises(UserError, match='trains nothing from scratch; start=body'):
        starts.start_of(run, 'main', 'share:head', 0)


def test_the_other_start_is_the_next_references_own(language):
    made = language._replace(references={'main': ['a', 'b']}, memory={})
    assert [starts.start_of(made, 'main', 'other', r) for r in (0, 1)] == ['b', 'a']
    twice = made._replace(world=language.world._replace(replicas=2), memory={},
                          references={'main': ['a', 'a', 'b', 'b']})
    assert [starts.start_of(twice, 'main', 'other', r) for r in range(4)] == ['b', 'b', 'a', 'a']


def tiny():
    return transformer.tiny(20, width=16, num_heads=2, max_positions=16)


def test_a_gauge_twin_is_the_same_function_with_other_weights(key):
    params = transformer.init_params(key, tiny())
    twin = permuted(params, jax.random.key(1))
    text = np.asarray(jax.random.randint(key, (7,), 0, 20))
    np.testing.assert_allclose(plain.logits(params, tiny(), text[:2], text[2:]),
                               plain.logits(twin, tiny(), text[:2], text[2:]), atol=2e-5)
    assert np.abs(params['layers']['gate'] - twin['layers']['gate']).max() > 0.1
    np.testing.assert_array_equal(params['layers']['q'], twin['layers']['q'])


def test_an_adapter_is_the_same_function_beside_the_gauge_twin(key):
    params = transformer.init_params(key, tiny())
    adapter = init_lora(key, tiny(), 2)
    adapter = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape), adapter.layers)
    twin, beside = permuted(params, key), Lora(permuted_adapter(adapter, key), 1.0)
    for name in ('gate', 'up'):  # the order of what they write
        if name in adapter:
            adapter[name] = {**adapter[name], 'b': np.zeros_like(adapter[name]['b'])}
            beside.layers[name] = adapter[name]
    text = [3, 1, 4, 1, 5]
    np.testing.assert_allclose(
        plain.logits(params, tiny(), text[:2], text[2:], Lora(adapter, 1.0)),
        plain.logits(twin, tiny(), text[:2], text[2:], beside), atol=2e-5)


def test_a_noisy_start_is_as_far_as_it_says(run):
    params = run.references['main'][0]
    moved = noisy(params, 1, 0.1)
    for name in ('q', 'down'):  # norm scales that are all one have no spread, and stay
        before, after = params['layers'][name][0], moved['layers'][name][0]
        assert np.std(after - before) / np.std(before) == pytest.approx(0.1, rel=0.1)
    further = noisy(params, 1, 0.2)
    assert 0 < starts.distance(moved, params) < starts.distance(further, params)


def test_a_body_is_new_and_the_rest_is_the_references(run):
    params = run.references['main'][0]
    body = starts.start_of(run, 'main', 'body', 0)
    np.testing.assert_array_equal(body['embed'], params['embed'])
    assert np.abs(body['layers']['q'] - params['layers']['q']).max() > 1e-2
    assert starts.geometry_bounds('body') and starts.geometry_bounds('share:head+embedding')
    assert not starts.geometry_bounds('share:head') and not starts.geometry_bounds('other')


def test_replaced_rows_are_the_same_for_all_and_the_only_ones(run):
    arm, = parse([f'r: {KL} matrix=replaced'])
    params = run.references['main'][0]
    twin, model = targets.with_matrix(run, arm, params, 0)
    other, _ = targets.with_matrix(run, arm, noisy(params, 5, 0.1), 0)
    ids = run.kit.probe.ids_C[:-1]
    assert not model.tied
    np.testing.assert_array_equal(twin['head'][ids], other['head'][ids])
    rest = np.setdiff1d(np.arange(model.vocab_size), ids)
    np.testing.assert_array_equal(twin['head'][rest], params['embed'][rest])
    several = engines.Models(engines.stack([params, params]), {'base': {}},
                             run.world.architectures['main'], 2, True)
    found = targets.models_with_matrix(run, arm, several, 0)
    np.testing.assert_array_equal(found.trainable['head'][1], twin['head'])
    assert found.config == students.setting_of(run, arm, 0).config
