"""A pretrained model laid over the devices of --mesh, and its training there."""

import numpy as np
import pytest

from launch.experiments import EXPERIMENTS
from subliminal_jax.experiments.transmission import engines
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.worlds import pretrained, tiny
from subliminal_jax.runs import UserError, meshes
from tests.experiments.transmission.checkpoint import config


@pytest.fixture(autouse=True)
def none_afterwards():
    yield
    meshes.use(None)


def test_weights_and_moments_are_cut_as_the_flag_says(root):
    meshes.use({'data': 2, 'fsdp': 2})
    model = pretrained.load(config(root))
    up = model.params['layers']['up']
    assert up.sharding.mesh.shape == {'data': 2, 'fsdp': 2, 'tensor': 1}
    assert {shard.data.shape for shard in up.addressable_shards} == {(2, 16, 48)}  # of [2, 32, 48]
    program = engines.Program(OBJECTIVES['sft'].loss, model.config)
    state = engines.begin(program, engines.SINGLE, model.params)
    for tree in (state.trainable, state.opt_state[0].mu, state.opt_state[0].nu):
        assert tree['layers']['up'].sharding == up.sharding
    np.testing.assert_array_equal(state.trainable['embed'], model.params['embed'])
    with pytest.raises(UserError, match='--mesh and config.model.devices=4 both say'):
        pretrained.load(config(root, **{'model.devices': 4}))


def test_a_mesh_that_does_not_divide_the_model_is_refused(root):
    meshes.use({'fsdp': 5})
    with pytest.raises(UserError, match=r"axis fsdp=5 does not divide the model's width \(32\)"):
        pretrained.load(config(root))


def test_only_pretrained_models_are_laid_over_a_mesh(root):
    meshed = EXPERIMENTS['transmission']().meshed
    assert meshed(config(root)) and not meshed(tiny.Config())
    assert not EXPERIMENTS['mnist']().meshed(None)
