"""The one step on a decoder: micro-batches, models and adapters as an axis, meshes, what is left
alone, and a golden run."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from subliminal_jax.models import hf, lora, params as specs, transformer
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.loop import fit, jit_step
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
from subliminal_jax.training.step import init_state, make_step

ADAM = optax.adam(1e-2)
GOLDEN = {1: 3.995001, 4: 3.426996, 8: 3.587560}  # of different rows


def close(one, other, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), one, other)


WHOLE = {'base': {}}


def sft(config):
    return losses.sft(config)


def kl_set(config, teacher, batch, ids):
    """A loss, and the batch with what the teacher says of a set of tokens."""
    logits = jax.jit(lambda t: transformer.unembed(teacher, packing.states(
        teacher, t, config), config, jnp.array(ids)))(batch['tries'])
    return losses.kl_set(config, ids), {**batch, 'target_BUC': logits,
                                        'allowed_BUC': jnp.ones(logits.shape, bool)}


@pytest.fixture(scope='module')
def stepped(config, params, batch, key_of_module):
    """The state after one step of SGD: a move as long as the gradient, which tells more than
    Adam's signs."""
    step = jax.jit(make_step(sft(config), optax.sgd(0.1)))
    return step(init_state(params, optax.sgd(0.1)), WHOLE, batch, key_of_module)


@pytest.fixture(scope='module')
def key_of_module():
    return jax.random.key(0)


@pytest.mark.slow
@pytest.mark.parametrize('parts', [2, 4])
def test_accumulated_gradients_equal_the_full_batch(config, params, batch, stepped, parts, key):
    step = jax.jit(make_step(sft(config), optax.sgd(0.1), parts))
    state, metrics = step(init_state(params, optax.sgd(0.1)), WHOLE, batch, key)
    close(state, stepped[0], 1e-6)
    assert float(metrics['loss']) == pytest.approx(float(stepped[1]['loss']), rel=1e-6)
    assert float(metrics['weight']) == 12.5  # rows and parts of unequal weight
    row = lambda r: jax.tree.map(lambda x: x[r:r + 1], batch)
    means = [float(jax.jit(sft(config))(params, WHOLE, row(r), key)[0]) / w
             for r, w in enumerate((5, 1.5, 2, 4))]
    assert abs(np.mean(means) - float(metrics['loss'])) > 1e-3  # a mean of means is another number


def test_a_step_of_no_weight_changes_nothing(config, adapter, params, batch, key):
    tries = batch['tries']
    silent = {'tries': tries._replace(weight_BK=0 * tries.weight_BK, weight_BU=0 * tries.weight_BU)}
    before = init_state(adapter, ADAM)
    after, metrics = jax.jit(make_step(sft(config), ADAM))(before, {'base': params}, silent, key)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert float(metrics['loss']) == 0 and float(metrics['grad_norm']) == 0


@pytest.mark.slow
def test_many_models_and_many_adapters_equal_each_alone(config, params, adapter, teacher, batch,
                                                        key):
    """Three full models; three adapters over one base and one teacher pass."""
    keys = jax.random.split(jax.random.key(8), 3)
    take = lambda tree, n: jax.tree.map(lambda x: x[n], tree)
    starts = jax.vmap(lambda k: specs.init_params(k, config))(keys)
    step = make_step(sft(config), ADAM)
    states = jax.vmap(lambda p: init_state(p, ADAM))(starts)
    many, metrics = jax.jit(jax.vmap(step, (0, None, None, None)))(states, WHOLE, batch, key)
    alone = jax.jit(step)
    for number in range(3):
        state, own = alone(take(states, number), WHOLE, batch, key)
        assert float(metrics['loss'][number]) == pytest.approx(float(own['loss']), rel=1e-5)
        sgd = jax.tree.leaves(take(many, number).opt_state), jax.tree.leaves(state.opt_state)
        close(*sgd, 1e-5)

    ids = (6, 9, 12)
    loss_fn, batch = kl_set(config, teacher, batch, ids)
    step = make_step(loss_fn, ADAM)
    adapters = jax.vmap(lambda k: lora.init_lora(k, config, 2))(keys)
    adapters = jax.tree.map(lambda x: x + 0.02, adapters)
    states = jax.vmap(lambda a: init_state(a, ADAM))(adapters)
    frozen = {'base': params}
    many, metrics = jax.jit(jax.vmap(step, (0, None, None, None)))(states, frozen, batch, key)
    alone = jax.jit(step)
    for number in range(3):
        state, own = alone(take(states, number), frozen, batch, key)
        assert float(metrics['loss'][number]) == pytest.approx(float(own['loss']), rel=1e-4)
        close(jax.tree.leaves(take(many, number).opt_state), jax.tree.leaves(state.opt_state), 1e-5)


@pytest.mark.slow
def test_rows_of_absent_tokens_stay_the_same_to_the_bit(config, params, teacher, batch, key):
    tokens, last = (np.asarray(x) for x in batch['tries'][:3:2])
    present = np.unique(tokens[last >= 0])
    absent = np.setdiff1d(np.arange(40), [0, *present])  # 0 fills rows up
    read = np.unique(tokens[last > np.arange(tokens.shape[1])[None]])  # not the last of a row
    assert len(absent) > 10
    fresh = lambda: init_state(jax.tree.map(jnp.copy, params), ADAM)  # a step uses its state up
    state = fresh()
    step = jit_step(make_step(sft(config), ADAM))
    for _ in range(3):
        state, _ = step(state, WHOLE, batch, key)
    before, after = (np.asarray(t['embed']) for t in (params, state.trainable))
    np.testing.assert_array_equal(before[absent], after[absent])
    assert (before[read] != after[read]).any(axis=1).all()
    assert (np.asarray(params['head']) != np.asarray(state.trainable['head'])).any(axis=1).all()

    carrier = [int(i) for i in present[:6]]
    others = np.setdiff1d(np.arange(40), carrier)
    state = fresh()
    loss_fn, batch = kl_set(config, teacher, batch, carrier)
    step = jit_step(make_step(loss_fn, ADAM))
    for _ in range(3):
        state, _ = step(state, WHOLE, batch, key)
    before, after = (np.asarray(t['head']) for t in (params, state.trainable))
    np.testing.assert_array_equal(before[others], after[others])
    assert (before[carrier] != after[carrier]).any(axis=1).all()


def test_what_is_held_is_no_part_of_the_state(config, params, batch, key):
    """A frozen head and embedding: only the rest is trained and kept by the optimiser."""
    body = {'layers': params['layers'], 'final_norm': params['final_norm']}
    state, _ = jax.jit(make_step(sft(config), ADAM))(
        init_state(body, ADAM), {'base': params}, batch, key)
    assert set(state.trainable) == {'layers', 'final_norm'}
    assert (np.asarray(state.trainable['layers']['q']) != np.asarray(body['layers']['q'])).all()


def test_a_mesh_of_eight_devices_takes_the_same_step(config, params, batch, stepped, key):
    """Data by model, parameters cut by their logical axes: to 1e-6 of one device's weights."""
    mesh = jax.make_mesh((2, 4), ('fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 2)
    cut = jax.tree.map(jax.device_put, params, specs.shardings(config, mesh))
    rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec('fsdp')))
    state = init_state(cut, optax.sgd(0.1))
    with jax.set_mesh(mesh):
        after, metrics = jax.jit(make_step(sft(config), optax.sgd(0.1)))(state, WHOLE, rows, key)
    gate = after.trainable['layers']['gate']
    assert len({s.index for s in map(_hashable, gate.addressable_shards)}) == 8
    close(jax.device_get(after), jax.device_get(stepped[0]), 1e-6)
    for name, value in stepped[1].items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-5)


class _hashable:
    """A shard's place, as a set can hold it."""

    def __init__(self, shard):
        self.index = tuple((s.start, s.stop) for s in shard.index)


@pytest.mark.parametrize('family', ['llama', 'qwen2'])
def test_gradients_of_the_loss_are_those_of_transformers(family, key):
    """Golden gradients, by norm, to 1e-3: the mean cross-entropy after every valid token."""
    folder = pathlib.Path(__file__).parents[1] / 'golden' / family
    config, params = hf.load(folder)
    expected = np.load(folder / 'expected.npz')
    rng = np.random.default_rng(5)  # the batch of tests/golden/make_golden.py
    tokens_BT = rng.integers(0, 96, (3, 20)).astype(np.int32)
    rows = [packing.Row(own[:1].tolist(), own[1:].tolist())
            for own in (tokens_BT[n, skipped:] for n, skipped in enumerate((0, 7, 15)))]
    batch = {'tries': packing.pack([[row] for row in rows])}
    loss_fn = losses.sft(config)
    grads, aux = jax.jit(jax.grad(loss_fn, has_aux=True))(params, WHOLE, batch, key)
    grads = jax.tree.map(lambda g: np.asarray(g) / float(aux['weight']), grads)
    names = {'q': 'self_attn.q_proj', 'o': 'self_attn.o_proj', 'down': 'mlp.down_proj',
             'up': 'mlp.up_proj'}
    for name, theirs in names.items():
        for layer in range(3):
            wanted = expected[f'grad/model.layers.{layer}.{theirs}.weight'].T
            found = grads['layers'][name][layer]
            assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted), (name, layer)
    wanted = expected['grad/model.embed_tokens.weight']
    assert np.linalg.norm(grads['embed'] - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_a_tiny_training_run_is_golden(config, batch):
    """Losses of eight steps from fixed seeds.

    If these move, something changed what training computes: find out what, and only if it was meant
    to (another initialisation, order of rows or optimiser) write the new values here, and say so in
    the change's message. A change of 1e-4 is rounding of another machine or compiler.
    """
    optimizer = make_optimizer(OptimizerConfig(
        learning_rate=3e-3, schedule='cosine', warmup_steps=2, clip_norm=1.0), 8)
    state = init_state(specs.init_params(jax.random.key(11), config), optimizer)
    table = jax.tree.map(np.asarray, batch['tries'])

    def batch_at(step):  # three rows a step, of four: every other step has one, filled up
        epoch, place = divmod(step, 2)
        order = np.random.default_rng([1, epoch]).permutation(4)[3 * place:3 * place + 3]
        tries = packing.take(table, np.resize(order, 3))
        live = (np.arange(3) < len(order))[:, None]
        return {'tries': tries._replace(weight_BK=tries.weight_BK * live,
                                        weight_BU=tries.weight_BU * live)}

    rows = fit(jit_step(make_step(sft(config), optimizer)), state, WHOLE, batch_at, 8,
               key=jax.random.key(0)).rows
    found = {row['step']: row['loss'] for row in rows}
    assert {n: found[n] for n in GOLDEN} == pytest.approx(GOLDEN, abs=1e-3)
