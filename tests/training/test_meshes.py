"""A model laid over eight devices: the same steps, each device its share, and back to fewer."""

import math

import jax
import numpy as np
import optax
import pytest

from subliminal_jax.models import params as specs
from subliminal_jax.runs import UserError, meshes
from subliminal_jax.training import losses
from subliminal_jax.training.checkpoints import Checkpoints, named_leaves
from subliminal_jax.training.loop import fit, jit_step
from subliminal_jax.training.step import init_state, make_step, places_of

ADAM = optax.adam(1e-3, eps=1e-2)  # smooth where a gradient is next to nothing
SIZES = {'data': 2, 'fsdp': 2, 'tensor': 2}
STEPS = 2


def laid(params, config, sizes):
    """(parameters over a mesh of these sizes, the mesh)."""
    mesh = meshes.make(sizes)
    return jax.tree.map(jax.device_put, params, specs.shardings(config, mesh)), mesh


def begun(params, mesh=None):
    """The state before the first step; the steps use it up, and not the parameters."""
    make = lambda tree: init_state(jax.tree.map(lambda x: x.copy(), tree), ADAM)
    return jax.jit(make, out_shardings=mesh and places_of(params, ADAM, mesh))(params)


@pytest.fixture(scope='module')
def trained(params, config, batch):
    """Two steps on one device, and on eight."""
    step = jit_step(make_step(losses.sft(config), ADAM))
    go = lambda state: fit(step, state, {'base': {}}, lambda _: batch, STEPS,
                           key=jax.random.key(0))
    return go(begun(params)), go(begun(*laid(params, config, SIZES)))


def test_a_mesh_of_three_axes_takes_the_same_steps(trained, params):
    one, eight = trained
    assert [row['loss'] for row in eight.rows] == pytest.approx(
        [row['loss'] for row in one.rows], rel=1e-5)
    assert one.rows[1]['loss'] < one.rows[0]['loss']
    moved = 0.0
    for a, b, start in zip(*map(jax.tree.leaves, (
            one.state.trainable, eight.state.trainable, params)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        moved = max(moved, float(np.abs(a - start).max()))
    assert moved > 1e-4  # there is something to be the same


def test_each_device_holds_its_share_of_weights_and_moments(trained, config):
    cut = {'vocab': 2, 'heads': 2, 'kv_heads': 2, 'ffn': 2, 'width': 2}
    share = sum(4 * math.prod(s.shape) // math.prod(cut.get(axis, 1) for axis in s.axes)
                for s in jax.tree.leaves(specs.param_specs(config), is_leaf=specs.is_spec))
    state = trained[1].state
    for tree in (state.trainable, state.opt_state[0].mu, state.opt_state[0].nu):
        held = dict.fromkeys(jax.devices(), 0)
        for leaf in jax.tree.leaves(tree):
            for shard in leaf.addressable_shards:
                held[shard.device] += shard.data.nbytes
        assert set(held.values()) == {share}


def test_a_checkpoint_goes_from_eight_devices_to_two_to_one(trained, params, config, tmp_path):
    state, wanted = trained[1].state, jax.device_get(trained[1].state)
    for number, sizes in enumerate(({'fsdp': 2}, None)):
        with Checkpoints(tmp_path / str(number)) as kept:
            kept.save(STEPS, state)
            kept.wait()
            like = begun(params) if sizes is None else begun(*laid(params, config, sizes))
            state, _ = kept.restore(STEPS, like)
        for name, leaf in named_leaves(state).items():
            np.testing.assert_array_equal(leaf, named_leaves(wanted)[name])
            assert leaf.sharding.is_equivalent_to(named_leaves(like)[name].sharding, leaf.ndim)
    assert len(state.trainable['embed'].devices()) == 1


@pytest.mark.parametrize('texts, said', [
    (['fsdp'], '--mesh=fsdp: write --mesh=data:2,fsdp:4'),
    (['data:0'], 'write --mesh='), (['fspd:2'], "'fspd'; did you mean fsdp?"),
    (['data:2', 'data:2'], 'has the axis data twice')])
def test_sizes_that_cannot_be_read(texts, said):
    with pytest.raises(UserError, match=said):
        meshes.sizes_of(texts)


def test_what_does_not_divide_is_named_with_its_numbers(config, batch):
    assert meshes.sizes_of(['data:2', 'fsdp:4']) == {'data': 2, 'fsdp': 4}
    with pytest.raises(UserError, match=r'data:3 x fsdp:4 takes 12 devices, and there are 8 \(cpu'):
        meshes.make({'data': 3, 'fsdp': 4})
    with pytest.raises(UserError, match=r"axis tensor=8 does not divide the model's ffn \(44\)"):
        specs.check_divides(config, {'tensor': 8})
    with pytest.raises(UserError, match='axes data=8, fsdp=1 do not divide the 4 rows'):
        meshes.spread(batch, meshes.make({'data': 8}))
