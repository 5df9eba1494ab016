"""The programs of the MNIST experiment: what they compute, on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments import digits
from subliminal_jax.experiments.digits import devices, training
from subliminal_jax.experiments.mnist import networks, programs
from subliminal_jax.experiments.mnist.arms import ARMS
from subliminal_jax.experiments.mnist.config import Config, recipe_of
from subliminal_jax.models import mlp
from subliminal_jax.runs import override
from subliminal_jax.training.step import init_state
from tests import blobs

MAPS = digits.label_maps(0)


def config_of(**changes):
    return override(Config(), {**blobs.SMALL, **changes})


@pytest.fixture(scope='module', autouse=True)
def data():
    with blobs.loaded() as made:
        yield made


@pytest.fixture(scope='module')
def small(data):
    """The programs on one device and on eight, and 16 models' keys as a run has them."""
    recipe = recipe_of(config_of(), blobs.SIDE**2)
    one = jax.make_mesh((1,), ('models',), devices=jax.devices()[:1],
                        axis_types=(jax.sharding.AxisType.Auto,))
    eight = devices.devices_mesh()
    keys, other = (training.model_keys(0, numbers) for numbers in (
        np.arange(16), digits.derangement(0, 16)))
    keys, other = jax.device_put((keys, other), devices.by_model(eight))
    return (recipe, programs.programs(recipe, one), programs.programs(recipe, eight), keys, other,
            one)


def trained(run, keys, other, data):
    """One epoch of teachers and of students: (reference, teachers, students, inputs)."""
    shown, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    with jax.default_matmul_precision('highest'):
        reference, state = run.begin(keys, other)
        state, _ = run.teacher_epoch(state, keys, 0, shown, labels, jnp.asarray(MAPS))
        students, inputs, logits = run.student_begin(state.trainable, keys, other, shown)
        first = jax.tree.map(np.asarray, students.trainable)
        students, _ = run.student_epoch(students, keys, inputs, logits, 0)
    return jax.tree.map(np.asarray, (reference, state.trainable, first, students.trainable,
                                     inputs, logits))


@pytest.fixture(scope='module')
def on_eight(small, data):
    _, _, eight, keys, other, _ = small
    return trained(eight, keys, other, data)


def scores(stacks, data):
    """Accuracies [M, S] of stacks of models on the test images."""
    x, labels = jnp.asarray(data.test_images) / 127.5 - 1, data.test_labels
    logits = jax.vmap(mlp.apply_stack, in_axes=(0, None))(jax.tree.map(jnp.asarray, stacks), x)
    return (np.asarray(logits)[:, :, :10].argmax(2) == labels).mean(-1)


def two_of(keys, other, mesh):
    """The keys of models 4 and 5, on one device."""
    return jax.device_put((keys[4:6], other[4:6]), devices.by_model(mesh))


@pytest.mark.slow
def test_devices_change_rounding_only(small, on_eight, data):
    """Eight devices of two models each against one device of two."""
    _, one, _, keys, other, mesh = small
    alone = trained(one, *two_of(keys, other, mesh), data)
    np.testing.assert_array_equal(alone[4], on_eight[4][4:6])  # the noise
    for place in (1, 3):  # teachers, students
        difference = scores(alone[place], data) - scores(on_eight[place], data)[4:6]
        assert np.abs(difference).max() <= 0.005


def test_devices_agree_on_the_first_gradient_to_a_millionth(small, on_eight, data):
    """One plain step at rate 1 over all images: the weights move by the gradient."""
    recipe, _, _, keys, other, one = small
    recipe = recipe._replace(optimizer='sgd', learning_rate=1.0, batch_size=blobs.TRAIN)
    shown, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    sgd = jax.vmap(lambda stack: init_state(stack, digits.OPTIMIZERS['sgd'](1.0)))
    moves = []
    for mesh, part, own in ((devices.devices_mesh(), slice(None), keys),
                            (one, slice(4, 6), two_of(keys, other, one)[0])):
        start = jax.tree.map(lambda a, part=part: np.repeat(a[part], 2, axis=1), on_eight[0])
        state, _ = programs.programs(recipe, mesh).teacher_epoch(
            jax.tree.map(np.asarray, sgd(start)), own, 0, shown, labels, jnp.asarray(MAPS))
        moves.append(jax.tree.map(lambda a, b: np.asarray(a - b)[:, :1], state.trainable, start))
    for all_of_them, two in zip(*map(jax.tree.leaves, moves)):
        assert np.abs(two).max() > 1e-3
        np.testing.assert_allclose(all_of_them[4:6], two, atol=1e-6)


def test_noise_is_uniform_and_each_models_own(on_eight):
    inputs = on_eight[4]
    assert inputs.shape == (16, blobs.TRAIN, blobs.SIDE**2)
    assert inputs.min() >= -1 and inputs.max() < 1
    assert inputs.mean() == pytest.approx(0, abs=0.005)
    assert inputs.var() == pytest.approx(1 / 3, abs=0.005)
    assert len(np.unique(inputs[0])) > 0.99 * inputs[0].size  # no block of it is drawn twice
    assert (inputs[0] != inputs[1]).mean() > 0.99


def test_students_start_where_their_arm_says(small, on_eight):
    recipe, first, other = small[0], on_eight[2], digits.derangement(0, 16)
    reference = on_eight[0]
    for place, name in enumerate(recipe.arms):
        whose = other if ARMS[name].start == 'other' else np.arange(16)
        jax.tree.map(lambda s, r, whose=whose, place=place: np.testing.assert_array_equal(
            s[:, place], r[whose, 0]), first, reference)


def test_only_the_chosen_logits_teach(small, on_eight):
    recipe, (reference, teachers, first, students, *_) = small[0], on_eight
    moved = np.abs(teachers[-1]['w'] - reference[-1]['w']).max(axis=(0, 1, 3))
    assert (moved[:10] > 0).all() and not moved[10:].any()
    for place, name in enumerate(recipe.arms):
        moved = np.abs(students[-1]['w'] - first[-1]['w'])[:, place].max(axis=(0, 2))
        assert (moved[10:] > 0).all()
        assert (moved[:10] > 0).all() == (ARMS[name].logits == 'all')
        assert moved[:10].any() == (ARMS[name].logits == 'all')


def test_students_are_shown_their_teachers_outputs(small, on_eight):
    teachers, inputs, logits = on_eight[1], on_eight[4], on_eight[5]
    for model in (0, 9):
        for number, teacher in enumerate(mlp.unstack(
                jax.tree.map(lambda a, model=model: jnp.asarray(a[model]), teachers))):
            np.testing.assert_allclose(logits[model, :, number],
                                       mlp.apply(teacher, inputs[model]), atol=1e-4)


def test_students_of_images_see_the_images(small, data):
    recipe = small[0]._replace(noise=False, arms=('student_aux',))
    key = jax.random.key(1)
    teachers = mlp.stack([mlp.init(key, recipe.sizes)] * 2)
    _, inputs, _ = jax.jit(networks.student_begin, static_argnums=0)(
        recipe, teachers, key, key, jnp.asarray(data.train_images))
    np.testing.assert_allclose(inputs, data.train_images / 127.5 - 1, atol=1e-6)


@pytest.mark.slow
def test_a_teachers_first_step_is_adam_on_its_own_cross_entropy(data):
    """By hand: one batch, the class logits only, a model alone."""
    recipe = recipe_of(config_of(conditions='teacher', batch_size=str(blobs.TRAIN)), 64)
    key = jax.random.key(5)
    _, state = networks.begin(recipe, key, key)
    start = mlp.unstack(state.trainable)[0]
    x, y = jnp.asarray(data.train_images) / 127.5 - 1, jnp.asarray(data.train_labels)

    def loss(params):
        logits = mlp.apply(params, x)[:, :10]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    expected, gradient = jax.value_and_grad(loss)(start)
    moved, losses = jax.jit(networks.teacher_epoch, static_argnums=0)(
        recipe, state, key, 0, jnp.asarray(data.train_images), y, jnp.asarray(MAPS[:1]))
    assert losses[0, 0] == pytest.approx(float(expected), rel=1e-4)
    step = jax.tree.map(lambda a, b: a - b, mlp.unstack(moved.trainable)[0], start)
    for g, s in zip(jax.tree.leaves(gradient), jax.tree.leaves(step)):
        clear = np.abs(g) > 1e-5  # Adam's first step is the rate times the gradient's sign
        np.testing.assert_allclose(s[clear], -0.003 * np.sign(g)[clear], rtol=2e-3)
