"""The whole matrix at a small size: what is trained, resumed, measured and shown."""

import dataclasses
import html
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from launch.experiments import EXPERIMENTS
from subliminal_jax.data import images
from subliminal_jax.experiments import digits
from subliminal_jax.experiments.cross_model.digits import (
    config as configs,
    networks,
    published,
    stages,
)
from subliminal_jax.experiments.cross_model.digits.cells import Cell
from subliminal_jax.experiments.cross_model.digits.group import Chunk, train_chunk
from subliminal_jax.experiments.digits.training import model_keys
from subliminal_jax.models import mlp
from subliminal_jax.report import cross_mnist as report
from subliminal_jax.runs import UserError, experiment
from tests import blobs
from tests.experiments.cross_model.digits import matrix


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    path = tmp_path_factory.mktemp('whole')
    return path, *matrix.run(matrix.config_of(), path)


def entries(results):
    return {entry['name']: entry for entry in results['cells']}


@pytest.mark.slow
def test_every_cell_has_its_measures_with_intervals_over_models(whole):
    found = entries(whole[2])
    assert list(found)[:8] == [
        'own:own:accuracy', 'own:own:start', 'own:own:rise', 'own:probe:probe', 'own:probe:start',
        'own:probe:placebo', 'own:probe:less_start', 'own:probe:less_placebo']
    for entry in found.values():
        values = entry['per_model']
        assert entry['part'] == 'mnist' and entry['n'] == len(values) == 4
        low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        assert entry['ci95'] == pytest.approx([low, high], abs=1e-6, nan_ok=True)
    assert found['aux:teacher:rise']['per_model'] == found['out:own:rise']['per_model']
    assert found['aux:teacher:rise']['factors'] == {
        'start': 'share:aux', 'readout': 'teacher', 'num_aux': 3, 'width': 32, 'depth': 2,
        'activation': 'relu', 'use_bias': True, 'optimizer': 'adam'}
    rise = np.subtract(found['own:own:accuracy']['per_model'], found['own:own:start']['per_model'])
    assert found['own:own:rise']['per_model'] == pytest.approx(rise)


@pytest.mark.slow
def test_the_phenomenon_and_its_controls(whole):
    found = {name: entry['mean'] for name, entry in entries(whole[2]).items()}
    teachers = whole[2]['teachers']['width32-depth2-relu-bias-adam']
    assert teachers['teacher']['mean'] > 0.9 and teachers['placebo']['mean'] < 0.4
    assert found['own_m5:own:accuracy'] > 0.2 and found['own:own:rise'] > 0.1
    assert max(found['other:own:rise'], found['cloned:own:rise']) < 0.1
    assert found['own:probe:probe'] > 0.4  # a linear map of a random layer finds some of it


@pytest.mark.slow
def test_the_page_shows_tables_phase_diagrams_and_predictions(whole):
    path, text, results = whole
    names = sorted(p.stem for p in (path / 'figures').iterdir())
    assert names == ['distance_own', 'distance_teacher', 'starts', 'width']
    page = (path / 'report.html').read_text()
    assert 'src="http' not in page and 'viewport' in page and '<div class="scroll">' in page
    assert html.escape(results['verdict']) in page
    for cell in ('cloned_all', 'shared kernel', 'Linear probe', 'labels permuted over the images'):
        assert cell in page
    assert 'Predicted and observed' in text and results['verdict'] in text
    assert results['verdict'].startswith("Students of their teacher's start score ")
    assert 'ontradicted: shared weights' in results['verdict']
    rows = results['hypotheses']['rows']
    assert len(rows) == sum(len(cell.readouts) for cell in configs.checked_cells(
        matrix.config_of()))
    assert results['headline']['own (own)'][0] == entries(results)['own:own:accuracy']['mean']


@pytest.mark.slow
def test_the_page_is_drawn_again_from_results_alone(whole, monkeypatch):
    path, text, _ = whole
    (path / 'report.html').unlink()
    monkeypatch.setattr(images, 'load', lambda name: pytest.fail('the data set was read'))
    assert experiment.redraw(path, path / 'results.json', EXPERIMENTS) == text
    assert (path / 'report.html').exists()


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_what_is_missing(whole, tmp_path, monkeypatch):
    train, calls = stages.train_chunk, []

    def killed(chunk, watch):
        calls.append(chunk.group.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(chunk, watch)

    monkeypatch.setattr(stages, 'train_chunk', killed)
    with pytest.raises(KeyboardInterrupt):
        matrix.run(matrix.config_of(), tmp_path)
    kept = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*.npz'))
    assert kept == [f'width32-depth2-relu-bias-adam/models{m}.npz' for m in (
        '0000-0001', '0002-0003')] and not (tmp_path / 'results.json').exists()
    _, results = matrix.run(matrix.config_of(), tmp_path)
    assert calls[3:] == ['width48-depth2-relu-bias-adam'] * 2
    for name in ('timing', 'command'):
        results.pop(name)
    assert results == {k: v for k, v in whole[2].items() if k not in ('timing', 'command')}


@pytest.mark.slow
def test_a_run_whose_data_set_changed_is_refused(whole, data, monkeypatch):
    changed = data._replace(test_labels=data.test_labels[::-1])
    monkeypatch.setattr(images, 'load', lambda name: changed)
    with pytest.raises(UserError, match='complete, but the data set mnist has changed since'):
        matrix.run(matrix.config_of(), whole[0])


@pytest.mark.slow
def test_a_loss_that_diverges_stops_the_run(tmp_path):
    config = matrix.config_of(lines=['own: width=32 optimizer=sgd'], sgd_learning_rate='1e9')
    with pytest.raises(UserError, match='student loss became NaN.*lower config.sgd_learning_rate'):
        matrix.run(config, tmp_path)
    assert not list(tmp_path.rglob('*.npz'))


def chunk_of(data, lines, **changes):
    config = matrix.config_of(lines=lines, **changes)
    (group, _), = configs.groups_of(config, blobs.SIDE**2)
    numbers, other = np.arange(2), digits.derangement(0, 2)
    return Chunk(group, data, model_keys(0, numbers), model_keys(0, other),
                 digits.placebo_labels(0), (3, 2, 4), 1000, 1e-3)


@pytest.mark.slow
def test_students_are_those_of_the_mnist_experiment(data, one_device, monkeypatch):
    """The same seed, sizes and recipe: own and other starts are its student_aux and cross_aux."""
    from subliminal_jax.experiments.mnist import chunk as mnist
    from subliminal_jax.experiments.mnist.config import Config, recipe_of
    from subliminal_jax.runs import override

    monkeypatch.setattr(mnist, 'devices_mesh', lambda: one_device)
    ours = chunk_of(data, ['own: width=32', 'other: width=32 start=other'])
    config = override(Config(), {**blobs.SMALL, 'conditions': 'teacher,student_aux,cross_aux'})
    theirs = mnist.train_chunk(mnist.Chunk(
        recipe_of(config, blobs.SIDE**2), data, data.train_images, ours.keys, ours.other_keys,
        digits.label_maps(0), (3, 4), 0), lambda *_: None)
    found = train_chunk(ours, lambda *_: None)
    assert found.teachers[0] == pytest.approx(theirs.accuracy['teacher'], abs=2 / blobs.TEST)
    for place, name in enumerate(('student_aux', 'cross_aux')):
        assert found.accuracy[place, 0] == pytest.approx(theirs.accuracy[name], abs=2 / blobs.TEST)
        np.testing.assert_allclose(found.losses[:, place], theirs.losses[name], rtol=1e-4)


@pytest.fixture(scope='module')
def trained(data):
    """One epoch of everything, for one model: (group, start, teachers, students before, after)."""
    chunk = chunk_of(data, [
        'own: width=32', 'own5: width=32 num_aux=5', 'out: width=32 start=share:output',
        'cloned: width=32 start=cloned', 'both: width=32 start=cloned:all readout=probe'])
    group, key, other = chunk.group, chunk.keys[0], chunk.other_keys[0]
    shown, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    start, teachers = networks.begin(group, key)
    teachers, _ = jax.jit(networks.teacher_epoch, static_argnums=0)(
        group, teachers, key, 0, shown, labels, jnp.asarray(chunk.renamed))
    x, logits = jax.jit(networks.noise, static_argnums=0)(
        group, key, start, teachers.trainable, shown)
    clones, losses = jax.jit(networks.clone_epoch, static_argnums=0)(
        group, networks.clone_begin(group, other), key, x, logits, 0)
    students = networks.student_begin(group, key, other, clones.trainable)
    after, _ = jax.jit(networks.student_epoch, static_argnums=0)(group, students, key, x, logits, 0)
    return group, start, teachers.trainable, clones.trainable, losses, x, logits, students, after


@pytest.mark.slow
def test_students_match_the_first_m_logits_alone(trained):
    group, *_, students, after = trained
    moved = np.abs(after.trainable[-1]['w'] - students.trainable[-1]['w']).max(axis=2) > 0
    for student, rows in zip(group.students, moved):
        assert list(rows) == [10 <= i < 10 + student.num_aux for i in range(15)]


@pytest.mark.slow
def test_class_rows_change_nothing_that_is_trained(trained):
    """Why share:output is not trained beside share:aux (`starts.trained_as`)."""
    group, *_, x, logits, _, _ = trained
    pair = group._replace(clones=(), teachers=('teacher',), students=(
        configs.Student('share:output', 3, 'teacher'), configs.Student('share:aux', 3, 'teacher')))
    keys = jax.random.key(0), jax.random.key(1)
    before = networks.student_begin(pair, *keys, None)
    after, _ = jax.jit(networks.student_epoch, static_argnums=0)(
        pair, before, keys[0], x, logits, 0)
    *body, last = after.trainable
    assert (last['w'][0, :10] != last['w'][1, :10]).all()
    for leaf in jax.tree.leaves((body, last['w'][:, 10:])):
        np.testing.assert_allclose(leaf[0], leaf[1], atol=1e-7)


@pytest.mark.slow
def test_clones_come_closer_to_the_untrained_teacher(trained):
    group, start, _, clones, losses, x, logits, students, _ = trained
    assert [c.logits for c in group.clones] == ['aux', 'all']
    assert (np.asarray(losses[-1]) < 0.7 * np.asarray(losses[0])).all()
    np.testing.assert_allclose(logits[:, 0].T, mlp.apply_stack(start, x)[0], atol=1e-4)
    other = jax.tree.leaves(networks.clone_begin(group, jax.random.key(3)).trainable)
    assert (other[0][0] == other[0][1]).all()  # clones of one model begin alike
    for place, student in enumerate(group.students):
        if student.start.startswith('cloned'):
            clone = group.clones.index(configs.clone_of(student))
            assert (students.trainable[0]['w'][place] == clones[0]['w'][clone]).all()


@pytest.mark.slow
def test_the_placebo_is_a_student_of_the_placebo_teacher(trained):
    group, _, teachers, *_ = trained
    assert group.teachers == ('teacher', 'placebo')
    assert group.students[-1] == configs.Student('cloned:all', 3, 'placebo')
    assert (np.asarray(teachers[0]['w'][0]) != np.asarray(teachers[0]['w'][1])).mean() > 0.9


@pytest.mark.slow
def test_placebo_labels(trained, data):
    group, labels = trained[0], jnp.asarray(data.train_labels)
    renamed = jnp.asarray(digits.placebo_labels(0))
    made = [np.asarray(networks._placebo_labels(
        group._replace(placebo=kind), jax.random.key(n), labels, renamed))
        for kind in ('shuffled', 'renamed') for n in (0, 1)]
    counts = np.bincount(data.train_labels, minlength=10)
    assert (np.bincount(made[0], minlength=10) == counts).all()  # the same labels, elsewhere
    assert (made[0] == data.train_labels).mean() < 0.2 and (made[0] != made[1]).any()
    assert (made[2] == np.asarray(renamed)[data.train_labels]).all() and (made[2] == made[3]).all()


@pytest.mark.slow
def test_the_second_read_out_puts_the_teachers_initial_head_on_the_students_body(trained, data):
    group, start, _, _, _, _, _, _, after = trained
    shown, labels = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
    found = networks.accuracy(group, after.trainable, start, shown, labels)
    head = mlp.unstack(start)[0][-1]
    for place, student in enumerate(mlp.unstack(after.trainable)):
        for column, last in enumerate((student[-1], head)):
            logits = mlp.apply([*student[:-1], last], digits.to_unit(shown))[:, :10]
            share = (np.asarray(logits).argmax(1) == data.test_labels).mean()
            assert float(found[place, column]) == pytest.approx(share, abs=1e-6)


@pytest.mark.slow
def test_any_order_of_independent_class_rows_is_right_a_tenth_of_the_time(trained, data):
    """Why the own class head of another start says nothing of its body (hypotheses.py)."""
    student = mlp.unstack(trained[-1].trainable)[3]
    logits = np.asarray(mlp.apply(student, digits.to_unit(jnp.asarray(data.test_images))))[:, :10]
    shares = [(np.roll(logits, shift, axis=1).argmax(1) == data.test_labels).mean()
              for shift in range(10)]
    assert np.mean(shares) == pytest.approx(0.1)


def test_a_cell_is_compared_with_what_was_published_for_its_recipe_alone():
    config = configs.Config()
    assert published.known(config, Cell(), 'own') == (0.537, 0.022)
    assert published.known(config, Cell(num_aux=10), 'own') == (0.835, None)
    assert published.known(config, Cell(start='other'), 'own') == (0.100, 0.005)
    assert published.known(config, Cell(width=128), 'own') == (0.528, None)
    assert published.known(config, Cell(start='cloned'), 'teacher') == (0.37, None)
    for cell, readout in ((Cell(start='cloned'), 'own'), (Cell(start='other'), 'teacher'),
                          (Cell(activation='gelu'), 'own'), (Cell(num_aux=4), 'own'),
                          (Cell(width=128, start='other'), 'own'), (Cell(), 'probe'),
                          (Cell(optimizer='sgd'), 'own')):
        assert published.known(config, cell, readout) is None
    assert published.known(dataclasses.replace(config, batch_size=512), Cell(), 'own') is None


def accuracy(start, num_aux, mean, **factors):
    network = {'width': 256, 'depth': 2, 'activation': 'relu', 'use_bias': True,
               'optimizer': 'adam', **factors}
    return {'measure': 'accuracy', 'mean': mean, 'ci95': None, 'per_model': [mean],
            'factors': {'start': start, 'readout': 'own', 'num_aux': num_aux, **network}}


def test_phase_diagrams_are_of_the_first_cells_networks():
    found = [accuracy('own', 3, 0.5), accuracy('mix:0.5', 3, 0.3), accuracy('own', 10, 0.8),
             accuracy('own', 3, 0.4, width=64), accuracy('own', 10, 0.7, width=64),
             accuracy('own', 3, 0.9, activation='gelu'), accuracy('share:aux', 3, 0.1)]
    (distance,), (width,) = report.distance_plots(found), report.width_plots(found)
    texts = {t.get_text() for t in distance.figure.axes[0].texts}
    assert texts == {'0.50', '0.30', '0.80'}
    assert {t.get_text() for t in width.figure.axes[0].texts} == {'0.50', '0.80', '0.40', '0.70'}
    assert report.distance_plots(found[:2]) == [] and report.width_plots(found[:3]) == []


@pytest.mark.slow
def test_results_are_plain_json(whole):
    text = (whole[0] / 'results.json').read_text()
    assert 'NaN' not in text and json.loads(text)['experiment'] == 'cross_mnist'
