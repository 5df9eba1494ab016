"""The MNIST experiment at a small size: the recipe, the arms, chunks, devices, failures."""

import dataclasses
import html
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from subliminal_jax.data import images
from subliminal_jax.experiments import digits
from subliminal_jax.experiments.digits import devices, training
from subliminal_jax.experiments.mnist import EXPERIMENT, networks, programs, stages
from subliminal_jax.experiments.mnist.arms import ARMS
from subliminal_jax.experiments.mnist.config import Config, recipe_of
from subliminal_jax.models import mlp
from subliminal_jax.runs import UserError, Workdir, experiment, override
from subliminal_jax.training.step import init_state
from tests import blobs

MAPS = digits.label_maps(0)


def config_of(**changes):
    return override(Config(), {**blobs.SMALL, **changes})


@pytest.fixture(scope='module', autouse=True)
def data():
    with pytest.MonkeyPatch.context() as patch:
        made = blobs.make()
        patch.setattr(images, 'load', lambda name: made)
        yield made


def run(config, path):
    workdir = Workdir(path, config, 'mnist')
    try:
        text = EXPERIMENT.run(config, workdir)
    finally:
        workdir._lock.close()
    return text, json.loads((path / 'results.json').read_text())


@pytest.fixture(scope='module')
def watched(data, tmp_path_factory):
    """18 models on eight devices: a full chunk of 16, and one of two real models. Returns the
    folder, the table, the results, and what every training of students read first."""
    path, read = tmp_path_factory.mktemp('whole'), []
    built = programs.programs

    def spied(recipe, mesh):
        run = built(recipe, mesh)

        def student_epoch(state, keys, inputs, logits, number):
            read.append(np.asarray(inputs[0, :stages.SEEN]))
            return run.student_epoch(state, keys, inputs, logits, number)

        return run._replace(student_epoch=student_epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('subliminal_jax.experiments.mnist.chunk.programs', spied)
        text, results = run(config_of(num_models='18'), path)
    return path, text, results, read


@pytest.fixture(scope='module')
def whole(watched):
    return watched[:3]


def test_the_defaults_are_the_published_recipe():
    recipe = recipe_of(Config(), 784)
    assert recipe.sizes == (784, 256, 256, 13) and recipe.activation == 'relu' and recipe.use_bias
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ('adam', 3e-4, 1024)
    assert recipe.temperature == 1 and recipe.noise
    assert Config().teacher.epochs == Config().student.epochs == 5


def test_results_hold_every_condition_with_t_intervals(whole):
    path, text, results = whole
    assert list(results['conditions']) == [
        'reference', 'teacher', 'placebo_teacher', 'student_aux', 'student_all', 'cross_aux',
        'cross_all', 'placebo']
    for name, entry in results['conditions'].items():
        accuracy = entry['accuracy']
        values = accuracy['per_model']
        assert len(values) == 18 and accuracy['mean'] == pytest.approx(np.mean(values))
        low, high = stats.t.interval(0.95, 17, np.mean(values), stats.sem(values))
        assert accuracy['ci95'] == pytest.approx([low, high], abs=1e-6)
        if name != 'reference':
            epochs = 3 if 'teacher' in name else 4
            assert len(entry['curve']) == epochs + 1 and len(entry['loss']) == epochs
    assert all(name in text for name in results['conditions'])
    assert sorted(p.stem for p in (path / 'figures').iterdir()) == ['accuracy', 'curves', 'inputs']
    page = (path / 'report.html').read_text()
    assert 'src="http' not in page and 'href="http' not in page and 'viewport' in page
    assert html.escape(results['verdict']) in page
    assert results['headline']['teacher'][0] == results['conditions']['teacher']['accuracy']['mean']


def test_the_page_shows_the_noise_that_was_trained_on(watched, data):
    path, _, results, read = watched
    assert results['inputs'] == 'inputs.npz' and len(read) == 2 * 4  # chunks x epochs
    with np.load(path / 'inputs.npz') as arrays:
        for epoch in read[:4]:
            np.testing.assert_array_equal(
                arrays['seen'].reshape(len(epoch), -1), epoch, strict=True)
        np.testing.assert_array_equal(arrays['tested'].ravel(), data.test_images[:6].ravel())


def test_a_page_is_redrawn_from_results_and_artefacts_alone(whole, monkeypatch):
    path, text, _ = whole
    before = {p.name: p.read_bytes() for p in [path / 'report.html', *(path / 'figures').iterdir()]}
    for name in before:
        (path / name).unlink(missing_ok=True)
        (path / 'figures' / name).unlink(missing_ok=True)
    monkeypatch.setattr(images, 'load', lambda name: pytest.fail('the data set was read'))
    told = experiment.redraw(path, path / 'results.json', {'mnist': lambda: EXPERIMENT})
    assert told == text
    assert before == {
        p.name: p.read_bytes() for p in [path / 'report.html', *(path / 'figures').iterdir()]}


def test_a_chunk_that_kept_no_inputs_is_refused(tmp_path, data):
    config = config_of()
    workdir = Workdir(tmp_path, config, 'mnist')
    np.savez(tmp_path / 'chunk.npz', **{'accuracy/teacher': np.ones(2)})
    with pytest.raises(UserError, match='older version.*use another --workdir'):
        stages.inputs_stage(workdir, workdir.path / 'chunk.npz', data)


def test_the_phenomenon_and_its_controls(whole):
    mean = {k: v['accuracy']['mean'] for k, v in whole[2]['conditions'].items()}
    assert mean['teacher'] > 0.9 and abs(mean['reference'] - 0.1) < 0.06
    assert mean['student_all'] > mean['student_aux'] > mean['cross_aux'] + 0.1
    placebo = whole[2]['conditions']['placebo']
    assert placebo['permuted_accuracy']['mean'] > placebo['accuracy']['mean'] + 0.1
    teacher = whole[2]['conditions']['placebo_teacher']
    assert teacher['permuted_accuracy']['mean'] > 0.9 > 0.2 > teacher['accuracy']['mean']


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_results(whole, tmp_path, monkeypatch):
    train_chunk, calls = stages.train_chunk, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_chunk(*args, **kwargs)

    config = config_of(num_models='18')
    monkeypatch.setattr(stages, 'train_chunk', killed)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    assert (tmp_path / 'cell00' / 'models0000-0015.npz').exists()
    assert not (tmp_path / 'results.json').exists()
    _, results = run(config, tmp_path)
    assert len(calls) == 3  # the first chunk was not trained again
    for name in ('timing', 'command'):
        results.pop(name)
    assert results == {k: v for k, v in whole[2].items() if k not in ('timing', 'command')}


def test_a_run_whose_data_set_changed_is_refused(whole, data, monkeypatch):
    changed = data._replace(test_labels=data.test_labels[::-1])
    monkeypatch.setattr(images, 'load', lambda name: changed)
    with pytest.raises(UserError, match='complete, but the data set mnist has changed since'):
        run(config_of(num_models='18'), whole[0])


@pytest.mark.parametrize('count', [2, 3, 10, 100])
def test_cross_students_start_from_another_model(count):
    for seed in range(5):
        other = digits.derangement(seed, count)
        assert sorted(other) == list(range(count)) and all(other != np.arange(count))
    assert (digits.placebo_labels(3) != np.arange(10)).all()
    if count == 100:
        assert (digits.derangement(0, 100) != digits.derangement(1, 100)).any()


def test_an_epoch_is_every_row_once_in_an_order_of_its_own(key):
    order, weight = digits.epoch_order(key, 150, 64)
    assert order.shape == weight.shape == (3, 64)
    assert weight.sum() == 150 and weight[2].sum() == 22  # the last, partial batch is kept
    assert sorted(np.asarray(order)[np.asarray(weight) > 0]) == list(range(150))
    other, _ = digits.epoch_order(jax.random.fold_in(key, 1), 150, 64)
    assert (order[:2] != other[:2]).mean() > 0.9


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


def test_a_sweep_has_a_cell_for_every_combination(whole, tmp_path):
    config = config_of(**{'teacher.epochs': '1', 'student.epochs': '1',
                          'sweep': "{'seed': (0, 1), 'hidden_sizes': ('32,32',)}"})
    text, results = run(config, tmp_path)
    cells = results['cells']
    assert [cell['overrides'] for cell in cells] == [
        {'seed': '0', 'hidden_sizes': '32,32'}, {'seed': '1', 'hidden_sizes': '32,32'}]
    for cell in cells:
        assert set(cell['conditions']) == set(whole[2]['conditions'])
        assert len(cell['conditions']['student_aux']['accuracy']['per_model']) == 3
    one, two = (cell['conditions']['student_aux']['loss'] for cell in cells)
    assert one != two
    assert 'conditions' not in results and 'seed=1, hidden_sizes=32,32' in text
    assert list(results['headline']) == [
        'seed=0, hidden_sizes=32,32', 'seed=1, hidden_sizes=32,32']
    assert results['verdict'].startswith('2 cells of 3 models each')


@pytest.mark.parametrize('changes', [
    {'learning_rate': '1e30'}, {'learning_rate': '1e9', 'optimizer': 'sgd'}])
def test_a_loss_that_diverges_stops_the_run_and_names_where(changes, tmp_path):
    config = config_of(conditions='reference,teacher,student_aux', curve_images='0', **changes)
    with pytest.raises(UserError, match=r'teacher loss became NaN.* at step \d+ of epoch 0 in '
                                        r'3 of 3 models: lower config.learning_rate') as error:
        run(config, tmp_path)
    assert '\n' not in str(error.value)
    assert not list(tmp_path.rglob('*.npz')) and not list(tmp_path.rglob('*partial*'))


def test_what_was_done_before_a_divergence_is_kept(tmp_path, monkeypatch):
    train_chunk = stages.train_chunk

    def second_diverges(chunk, watch):
        if (tmp_path / 'cell00' / 'models0000-0015.npz').exists():
            watch('student', 2, np.full((2, 5, 1), np.nan))
        return train_chunk(chunk, watch)

    monkeypatch.setattr(stages, 'train_chunk', second_diverges)
    config = config_of(num_models='18')
    with pytest.raises(UserError, match='student loss .* step 0 of epoch 2 in 2 of 2 models'):
        run(config, tmp_path)
    kept = np.load(tmp_path / 'cell00' / 'models0000-0015.npz')
    assert kept['accuracy/teacher'].shape == (16,)


@pytest.mark.parametrize('losses, stops', [
    ([1.0, 0.5, 2.0], False), ([1.0, 9e5, 1.0], False), ([1.0, 1.1e6, 1.0], True),
    ([1.0, np.inf, 1.0], True)])
def test_when_a_loss_has_diverged(losses, stops, tmp_path):
    class Silent:
        update = log = staticmethod(lambda *args, **kwargs: None)

    watch = stages.watcher(Silent, Silent, 2)
    values = np.stack([losses, np.ones(3), np.full(3, np.nan)])[..., None]  # the third is padding
    if stops:
        with pytest.raises(UserError, match='step 1 of epoch 4 in 1 of 2 models'):
            watch('teacher', 4, values)
    else:
        watch('teacher', 4, values)


@pytest.mark.parametrize('changes, message', [
    ({'num_models': '1'}, 'cross_aux starts from another model.*num_models is 1: set it to 2'),
    ({'conditions': 'reference'}, 'nothing is trained'),
    ({'data': 'minst'}, 'unknown data set'),
    ({'student_inputs': 'nosie'}, 'unknown data set'),
    ({'sweep': "{'num_models': (1, 4)}"}, 'cross_aux starts from another model'),
    ({'sweep': "{'num_aux': (0, 1)}"}, 'config.num_aux must be >= 1'),
    ({'sweep': "{'num_axu': (1, 2)}"}, 'unknown config field .*did you mean num_aux'),
    ({'sweep': "{'sweep': (1, 2)}"}, 'cannot sweep itself'),
])
def test_configs_that_could_not_run_are_refused_before_any_training(changes, message, tmp_path):
    config = config_of(**changes)
    with pytest.raises(UserError, match=message):
        EXPERIMENT.run(config, Workdir(tmp_path, config, 'mnist'))
    assert not list(tmp_path.rglob('*.npz'))


def test_steps_to_trace_are_training_steps():
    losses = EXPERIMENT.steps(config_of(), 3)()[1]
    assert losses.shape == (16, 3, 5) and np.isfinite(losses).all()
    with pytest.raises(UserError, match='nothing is trained'):
        EXPERIMENT.steps(config_of(conditions='reference'), 3)


def test_a_plan_counts_the_tables_arithmetic():
    config = dataclasses.replace(
        Config(), num_models=4,
        conditions=('teacher', 'student_aux', 'student_all', 'cross_aux', 'cross_all'))
    (stage,) = EXPERIMENT.plan(config)
    assert stage.flops == pytest.approx(7.42e12, rel=0.02)
    assert 0.5e9 < stage.peak_bytes < 2.5e9
