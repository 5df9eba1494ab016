import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from subliminal_jax.models import lora, params as specs
from subliminal_jax.runs import UserError
from subliminal_jax.training import checkpoints as disk
from subliminal_jax.training.step import init_state

CONFIG = specs.tiny(40, width=16)


def adapter_state(key, rank=2):
    adapter = lora.init_lora(key, CONFIG, rank)
    moved = jax.tree.map(lambda x: x + 0.25, adapter)
    state = init_state(moved, optax.adam(1e-3))
    return state._replace(step=jnp.int32(7))


def test_any_tree_comes_back_with_its_history(tmp_path, key):
    state = adapter_state(key)
    with disk.Checkpoints(tmp_path / 'c') as kept:
        assert kept.latest() is None
        for step in (1, 2, 3):
            kept.save(step, state._replace(step=jnp.int32(step)), [{'loss': step, 'x': np.nan}])
        kept.wait()
        assert kept.latest() == 3
        found, history = kept.restore(3, adapter_state(jax.random.key(5)))
        assert history == [{'loss': 3, 'x': None}] and int(found.step) == 3
        assert found.trainable.scale == state.trainable.scale
        jax.tree.map(np.testing.assert_array_equal, found.trainable, state.trainable)
    assert sorted(p.name for p in (tmp_path / 'c').iterdir()) == ['2', '3']


def test_what_is_saved_is_what_was_there_at_the_call(tmp_path):
    bump = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    tree = {'w': jnp.zeros((300, 300))}
    with disk.Checkpoints(tmp_path / 'c') as kept:
        kept.save(1, tree)
        for _ in range(3):
            tree = bump(tree)
        kept.wait()
        found, _ = kept.restore(1, tree)
    assert (np.asarray(found['w']) == 0).all() and (np.asarray(tree['w']) == 3).all()


def test_another_tree_is_refused_by_name(tmp_path, key):
    with disk.Checkpoints(tmp_path / 'c') as kept:
        kept.save(1, adapter_state(key))
        kept.wait()
        with pytest.raises(UserError, match='layers/down/a is .* another run'):
            kept.restore(1, adapter_state(key, rank=3))
        with pytest.raises(UserError, match='nothing is wanted'):
            kept.restore(1, {'w': jnp.zeros(3)})


def test_a_sharded_state_comes_back_in_its_place(tmp_path, key):
    mesh = jax.make_mesh((2, 4), ('fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 2)
    params = specs.init_params(key, CONFIG)
    cut = jax.tree.map(jax.device_put, params, specs.shardings(CONFIG, mesh))
    with disk.Checkpoints(tmp_path / 'c') as kept:
        kept.save(1, cut)
        kept.wait()
        found, _ = kept.restore(1, cut)
        whole, _ = kept.restore(1, params)
    assert found['embed'].sharding == NamedSharding(mesh, PartitionSpec('tensor', 'fsdp'))
    for tree in (found, whole):
        jax.tree.map(np.testing.assert_array_equal, tree, params)


def test_trees_as_files(tmp_path, key):
    tree = {'a': {'b': np.arange(6, dtype=np.int32).reshape(2, 3)}, 'c': np.float32(2.5),
            'd': jnp.ones((3,), jnp.bfloat16)}
    path = tmp_path / 'tree.safetensors'
    disk.save_tree(path, tree)
    found = disk.load_tree(path)
    jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert found['d'].dtype == jnp.bfloat16
    again = disk.load_tree(path, like=tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    with pytest.raises(UserError, match='a/b is .* another run'):
        disk.load_tree(path, like={**tree, 'a': {'b': np.zeros((2, 2), np.int32)}})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match='cannot be read'):
        disk.load_tree(path)
    with pytest.raises(UserError, match='cannot be read'):
        disk.load_tree(tmp_path / 'none.safetensors')
