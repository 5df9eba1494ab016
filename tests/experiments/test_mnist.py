"""The MNIST experiment at a small size: the recipe, the arms, chunks, devices, failures."""

import dataclasses
import html
import json

import jax
import numpy as np
import pytest
from scipy import stats

from subliminal_jax.data import images
from subliminal_jax.experiments import digits
from subliminal_jax.experiments.mnist import EXPERIMENT, programs, stages
from subliminal_jax.experiments.mnist.config import Config, recipe_of
from subliminal_jax.runs import UserError, Workdir, experiment, override
from tests import blobs

MAPS = digits.label_maps(0)


def config_of(**changes):
    return override(Config(), {**blobs.SMALL, **changes})


@pytest.fixture(scope='module', autouse=True)
def data():
    with blobs.loaded() as made:
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
