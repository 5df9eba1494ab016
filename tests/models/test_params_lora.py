import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from subliminal_jax.models import lora as adapters, params as specs, transformer
from subliminal_jax.runs import UserError
from tests.networks import random_params, random_tokens

CONFIG = specs.tiny(48, num_kv_heads=2, width=32, ffn_width=64)


@jax.jit
def logits_of(params, tokens_BT, lora=None):
    """Logits [B, T, V], by one program for all texts of a shape."""
    valid_BT = jnp.ones(tokens_BT.shape, bool)
    return transformer.forward(params, tokens_BT, transformer.positions_of(valid_BT),
                               transformer.causal_mask(valid_BT), CONFIG, lora=lora)


def test_one_description_serves_all(key):
    params = jax.eval_shape(lambda: specs.init_params(key, CONFIG))
    abstract = specs.abstract_params(CONFIG)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(
        lambda x: (x.shape, x.dtype), abstract)
    assert specs.count_params(CONFIG) == sum(x.size for x in jax.tree.leaves(params))
    assert set(params) == {'embed', 'head', 'final_norm', 'layers'}
    tied = specs.tiny(48, tied=True, qkv_bias=True)
    names = jax.eval_shape(lambda: specs.init_params(key, tied, jnp.bfloat16))
    assert 'head' not in names and names['layers']['q_bias'].dtype == jnp.bfloat16


def test_the_tiny_configuration_is_tiny():
    config = specs.tiny(169)
    assert (config.width, config.num_layers, config.tied) == (64, 2, False)
    assert 100_000 < specs.count_params(config) < 140_000
    assert hash(config) == hash(specs.tiny(169))


def test_initial_values(key):
    params = specs.init_params(key, CONFIG)
    again = specs.init_params(key, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    layers = params['layers']
    assert (layers['attn_norm'] == 1).all() and (params['final_norm'] == 1).all()
    np.testing.assert_allclose(layers['gate'].std() * 32**0.5, 1, rtol=0.1)
    np.testing.assert_allclose(layers['down'].std() * (4 * 64) ** 0.5, 1, rtol=0.1)
    assert not np.allclose(params['embed'], params['head'])


def test_sharding_follows_the_logical_axes(key):
    mesh = jax.make_mesh((2, 4), ('fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 2)
    placed = specs.shardings(CONFIG, mesh)
    spec = lambda *names: jax.sharding.PartitionSpec(*names)
    assert placed['layers']['gate'].spec == spec(None, 'fsdp', 'tensor')
    assert placed['layers']['down'].spec == spec(None, 'tensor', 'fsdp')
    assert placed['embed'].spec == spec('tensor', 'fsdp')
    params, tokens_BT = random_params(CONFIG), random_tokens(CONFIG, 2, 5)
    cut = jax.tree.map(jax.device_put, params, placed)
    assert len(cut['embed'].addressable_shards) == 8
    np.testing.assert_allclose(logits_of(cut, tokens_BT), logits_of(params, tokens_BT), atol=1e-5)


def test_what_a_mesh_cannot_cut_stays_whole():
    odd = specs.tiny(49, width=32)
    mesh = jax.make_mesh((4,), ('tensor',), axis_types=(AxisType.Auto,))
    assert specs.shardings(odd, mesh)['embed'].spec == jax.sharding.PartitionSpec(None, None)


@pytest.mark.slow
def test_a_fresh_adapter_changes_nothing_and_has_no_gradient_in_a(key):
    params, tokens_BT = random_params(CONFIG), random_tokens(CONFIG, 2, 5)
    adapter = adapters.init_lora(key, CONFIG, 4, alpha=8.0)
    np.testing.assert_array_equal(logits_of(params, tokens_BT, adapter),
                                  logits_of(params, tokens_BT))
    grads = jax.jit(jax.grad(lambda a: (logits_of(params, tokens_BT, a) ** 2).sum()))(adapter)
    for own in grads.layers.values():
        assert (own['a'] == 0).all() and (own['b'] != 0).any()


@pytest.mark.parametrize('targets', [('q', 'v'), adapters.TARGETS])
def test_merging_gives_the_same_function(key, targets, strict):
    params, tokens_BT = random_params(CONFIG), random_tokens(CONFIG, 2, 5)
    adapter = adapters.init_lora(key, CONFIG, 3, alpha=6.0, targets=targets)
    adapter = jax.tree.map(lambda x: x + 0.05 * jax.random.normal(key, x.shape), adapter)
    assert set(adapter.layers) == set(targets) and adapter.scale == 2.0
    merged = adapters.merge_lora(params, adapter, CONFIG)
    with_adapter = logits_of(params, tokens_BT, adapter)
    assert np.abs(with_adapter - logits_of(params, tokens_BT)).max() > 0.01
    np.testing.assert_allclose(logits_of(merged, tokens_BT), with_adapter, atol=2e-5)
    q, a, b = (np.asarray(x[1], np.float64) for x in (
        params['layers']['q'], adapter.layers['q']['a'], adapter.layers['q']['b']))
    np.testing.assert_allclose(merged['layers']['q'][1], q + 2 * a @ b, atol=1e-6)


def test_scales_and_the_shared_start(key):
    assert adapters.init_lora(key, CONFIG, 16, 8.0, targets='q').scale == 0.5
    assert adapters.init_lora(key, CONFIG, 16, 8.0, targets='q', rslora=True).scale == 2.0
    one, same = (adapters.init_lora(key, CONFIG, 2) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    fewer = adapters.init_lora(key, CONFIG, 2, targets=('up',))
    np.testing.assert_array_equal(fewer.layers['up']['a'], one.layers['up']['a'])
    other = adapters.init_lora(jax.random.fold_in(key, 1), CONFIG, 2)
    assert not np.allclose(other.layers['q']['a'], one.layers['q']['a'])


def test_bad_adapters(key, tmp_path):
    with pytest.raises(UserError, match='did you mean gate'):
        adapters.init_lora(key, CONFIG, 2, targets=('gat',))
    with pytest.raises(UserError, match='at least 1'):
        adapters.init_lora(key, CONFIG, 0)
    with pytest.raises(UserError, match='holds no adapter'):
        adapters.load_lora(tmp_path, CONFIG)
    adapters.save_lora(tmp_path / 'a', adapters.init_lora(key, CONFIG, 2))
    with pytest.raises(UserError, match='another base'):
        adapters.load_lora(tmp_path / 'a', specs.tiny(48, width=16))


def test_an_adapter_comes_back_from_disk(key, tmp_path):
    made = adapters.init_lora(key, CONFIG, 2, alpha=3.0, targets=('k', 'down'))
    adapters.save_lora(tmp_path / 'a', made)
    read = adapters.load_lora(tmp_path / 'a', CONFIG)
    assert read.scale == 1.5
    jax.tree.map(np.testing.assert_array_equal, made, read)
