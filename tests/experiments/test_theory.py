"""The theory experiment at a small size, on images of random pixels."""

import gc
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.data import images
from subliminal_jax.experiments.theory import (
    EXPERIMENT,
    config as configs,
    grid,
    linearised,
    models,
    results as summaries,
    tracks,
    verdict,
)
from subliminal_jax.experiments.theory.linearised import (
    config as linearised_config,
    results as by_width,
    students,
)
from subliminal_jax.models import conv, mlp
from subliminal_jax.runs import UserError, Workdir, experiment, override

SMALL = {
    'num_seeds': '2', 'num_inputs': '6', 'num_images': '6', 'hidden_sizes': '9',
    'models': 'mlp-gelu,linear', 'inputs': 'uniform,other', 'starts': 'shared,independent',
    'logits': 'aux,class', 'eps': '1e-6,3e-6,1e-5,3e-5,1e-4,3e-4,1e-3,3e-3,1e-2',
    'training.num_models': '0', 'float32': 'false',
}


@pytest.fixture
def data(monkeypatch):
    rng = np.random.default_rng(0)
    made = images.Images(
        rng.integers(0, 256, (300, 784), np.uint8), rng.integers(0, 10, 300).astype(np.int32),
        rng.integers(0, 256, (100, 784), np.uint8), rng.integers(0, 10, 100).astype(np.int32),
        (28, 28, 1), 10)
    monkeypatch.setattr(images, 'load', lambda name: made)
    return made


def small(**changes):
    return override(configs.Config(), {**SMALL, **changes})


@pytest.mark.slow
def test_a_run_and_its_results(data, tmp_path):
    config = small()
    text = EXPERIMENT.run(config, Workdir(tmp_path, config, 'theory'))
    assert 'mlp gelu, float64' in text
    results = json.loads((tmp_path / 'results.json').read_text())
    cells = results['cells']
    named = {tuple(c[f] for f in grid.Cell._fields) for c in cells}
    assert named == {tuple(c) for c in grid.grid(config)}
    written = json.loads((tmp_path / 'grid.json').read_text())['cells']
    assert len(written) == len(cells)
    for cell in cells:
        assert {'inner_product', 'predicted', 'ratio', 'teacher_loss_change', 'predicted_change',
                'remainder_slope', 'second_order', 'estimated_eps', 'certified_eps',
                'per_seed'} <= set(cell)
        assert min(cell['per_seed']['gauss_newton']) >= 0
        assert len(cell['ratio']) == len(cell['eps']) == len(cell['inner_product'])
        if cell['gauss_newton'] == 0:
            assert cell['ratio'] == [None] * len(cell['eps'])
            assert cell['inner_product'] == [0] * len(cell['eps'])
            assert cell['remainder_slope'] is None
        elif cell['promise'] == 'theorem' and cell['dtype'] == 'float64':
            assert abs(cell['ratio'][4] - 1) < 1e-3  # eps = 1e-4
            assert cell['fall_fraction'][:3] == [1, 1, 1]
            np.testing.assert_allclose(
                cell['predicted'], np.array(cell['eps']) * cell['gauss_newton'], rtol=1e-9)
            if cell['model'] == 'mlp':
                assert abs(cell['remainder_slope'] - 2) < 0.1
                assert abs(cell['remainder_slope_second_order'] - 3) < 0.1
                assert abs(cell['change_slope_second_order'] - 3) < 0.1
    certified = [c for c in cells if c['certified_eps'] is not None]
    assert certified and {c['model'] for c in certified} == {'linear'}
    assert any(c['logits'] == 'one_aux' and c['gauss_newton'] == 0 for c in cells)
    page = (tmp_path / 'report.html').read_text()
    assert 'Promised: the theorem' in page and 'Promised: nothing' in page
    assert 'The worst promised cells' in page and 'Every promised cell' in page
    assert results['headline']['held'] == results['headline']['live'] > 0
    assert results['verdict'] in text and 'all' in results['verdict']
    assert sum(row['live'] for row in results['summary']) == results['headline']['live']
    # started again it computes nothing and ends with the same numbers
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'cells').iterdir()}
    gc.collect()  # the first run's lock ends with its folder
    EXPERIMENT.run(config, Workdir(tmp_path, config, 'theory'))
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'cells').iterdir()}
    assert json.loads((tmp_path / 'results.json').read_text())['cells'] == cells
    assert not jax.config.jax_enable_x64  # the run left the process as it was
    redrawn_alike(tmp_path, text, 'theory', EXPERIMENT)


def redrawn_alike(folder, text, name, row):
    """The page is drawn again from results.json alone, byte by byte."""
    files = [folder / 'report.html', *(folder / 'figures').iterdir()]
    before = {file: file.read_bytes() for file in files}
    for file in files:
        file.unlink()
    assert experiment.redraw(folder, folder / 'results.json', {name: lambda: row}) == text
    assert before == {file: file.read_bytes() for file in files}


@pytest.mark.parametrize('changes,pattern', [
    ({'losses': 'hinge'}, 'does not cover the loss .hinge'),
    ({'logits': 'ids:10+13'}, 'logit 13 is outside'),
    ({'logits': 'some'}, 'unknown logits'),
    ({'starts': 'interpolated:1.5'}, 'unknown start'),
    ({'eps': '1e-3,1e-4,1e-2,1'}, 'must rise'),
])
def test_bad_grids(changes, pattern):
    with pytest.raises(UserError, match=pattern):
        configs.check(small(**changes))


@pytest.mark.parametrize('field,value', [('eps', '0,1e-3'), ('alpha', '-1'), ('alpha', '0')])
def test_bad_step_sizes(field, value):
    with pytest.raises(UserError, match=f'config.{field} must be > 0'):
        small(**{field: value})


def test_float64_disabled(monkeypatch):
    monkeypatch.setenv('JAX_ENABLE_X64', '0')
    with pytest.raises(UserError, match='JAX_ENABLE_X64 disables'):
        configs.check(small())


def test_default_grid_is_the_whole_product():
    cells = grid.grid(configs.Config())
    assert len(cells) == len(set(cells))
    for name in ('relu', 'gelu'):
        own = [c for c in cells if c.model == 'mlp' and c.activation == name
               and c.dtype == 'float64' and c.logits != 'one_aux']
        assert len(own) == 2 * 3 * 5 * 3 * 3
    assert {c.model for c in cells} == {
        'mlp', 'conv', 'linear', 'transformer', 'lora_first', 'lora_second'}


def test_starts():
    model = models.model_of('mlp', 'gelu', (5,), 12)
    keys = models.seed_keys(0, 2)
    own, shared = models.starts(model, keys, 'shared', jnp.float32)
    _, other = models.starts(model, keys, 'independent', jnp.float32)
    _, half = models.starts(model, keys, 'interpolated:0.25', jnp.float32)
    np.testing.assert_array_equal(own[0]['w'], shared[0]['w'])
    np.testing.assert_allclose(half[0]['w'], 0.75 * own[0]['w'] + 0.25 * other[0]['w'], atol=1e-6)
    assert abs(np.corrcoef(own[0]['w'].ravel(), other[0]['w'].ravel())[0, 1]) < 0.1


def test_conv_is_a_convolution(key):
    """The first layer's patches against lax.conv, and a shift of the input shifts them."""
    x = jax.random.normal(key, (2, 784))
    w = jax.random.normal(jax.random.fold_in(key, 1), (16, 3))
    found = conv._patches(x) @ w
    kernel = w.reshape(4, 4, 1, 3)
    expected = jax.lax.conv_general_dilated(
        x.reshape(2, 28, 28, 1), kernel, (2, 2), ((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    np.testing.assert_allclose(found, expected.reshape(2, 196, 3), rtol=1e-4, atol=1e-5)
    params = conv.init(key, 28, (4, 5), 13)
    assert conv.apply(params, x).shape == (2, 13)


@pytest.mark.slow
def test_tracks(data):
    plan = tracks.Plan((784, 6, 13), 'relu', 1e-3, 64, 2, 3, 2, 50)
    ticks = []
    key = jax.random.key(0)
    teachers = tracks.train_teachers(plan, key, 0, data, lambda: ticks.append(1))
    seen = tracks.train_students(
        plan, 'sgd', 0.1, key, 0, teachers, data, lambda: ticks.append(1))
    windows = -(-2 * 5 // 3)
    assert len(ticks) == 2 * windows
    for name, values in seen.items():
        assert values.shape[:2] == (windows, 3) and np.all(np.isfinite(values)), name
        if name.startswith('cosine'):
            assert np.all(np.abs(values) <= 1 + 1e-5)
    np.testing.assert_allclose(
        seen['inner_descent'], -seen['trait_loss_change'], rtol=0.2, atol=3e-5)
    assert seen['cosine_path'][0].tolist() == [0, 0, 0]
    summary = summaries.track_summary(
        [{f'sgd/{k}': v for k, v in seen.items()}], ('sgd',), 3)
    assert [t['student'] for t in summary['tracks']] == list(tracks.STUDENTS)
    assert summary['steps'] == [0, 3, 6, 9]


def test_linearised_student_is_the_tangent(key):
    start = mlp.init(key, (5, 8, 4))
    change = jax.tree.map(lambda p: 1e-3 * jax.random.normal(key, p.shape), start)
    x = jax.random.normal(jax.random.fold_in(key, 1), (3, 5))
    apply = students.linearised(start, 'tanh')
    moved = jax.tree.map(jnp.add, start, change)
    np.testing.assert_allclose(apply(change, x), mlp.apply(moved, x, 'tanh'), atol=1e-5)
    double = jax.tree.map(lambda c: 2 * c, change)
    rise = apply(change, x) - mlp.apply(start, x, 'tanh')
    np.testing.assert_allclose(
        apply(double, x) - mlp.apply(start, x, 'tanh'), 2 * rise, rtol=1e-3, atol=1e-6)
    # the outputs are linear in the last layer, so there it is exact however far it goes
    far = jax.tree.map(jnp.zeros_like, start)
    far[-1] = {'w': 3 * jnp.ones((8, 4)), 'b': jnp.ones(4)}
    np.testing.assert_allclose(
        apply(far, x), mlp.apply(jax.tree.map(jnp.add, start, far), x, 'tanh'), rtol=1e-5,
        atol=1e-5)


@pytest.mark.slow
def test_linearised_run(data, tmp_path):
    config = override(linearised.EXPERIMENT.config(), {
        'widths': '4', 'num_seeds': '2', 'epochs': '1', 'batch_size': '100'})
    text = linearised.EXPERIMENT.run(config, Workdir(tmp_path, config, 'theory_linearised'))
    results = json.loads((tmp_path / 'results.json').read_text())
    (width,) = results['widths']
    assert (width['width'], width['num_models']) == (4, 2)
    for kind in ('teacher', 'real', 'linearised'):
        assert len(width[kind]['curve']) == 2 and width[kind]['accuracy']['ci95'] is not None
    assert results['verdict'] in text and list(results['headline']) == ['4']
    redrawn_alike(tmp_path, text, 'theory_linearised', linearised.EXPERIMENT)


def test_linearised_models_by_width():
    config = override(linearised.EXPERIMENT.config(), {
        'widths': '4,6', 'num_seeds': '2', 'single_from': '6'})
    assert linearised_config.models(config) == [(4, 0), (4, 1), (6, 0)]


def test_linearised_results_are_paired():
    def model(width, real, linear):
        student = lambda accuracy: {'accuracy': accuracy, 'curve': [0.1, accuracy], 'losses': [1.0],
                                    'relative_move': 0.1, 'cosine_teacher': 0.5}
        return {'width': width, 'teacher': {'accuracy': 0.9, 'curve': [0.1, 0.9]},
                'real': student(real), 'linearised': student(linear), 'same_guess': 0.5,
                'cosine_students': 0.4}

    body = by_width.body([model(4, 0.5, 0.3), model(4, 0.6, 0.5), model(8, 0.4, 0.45)])
    np.testing.assert_allclose(body['gap']['per_model'], [0.2, 0.1, -0.05], atol=1e-12)
    assert [(w['width'], w['num_models']) for w in body['widths']] == [(4, 2), (8, 1)]
    assert body['widths'][0]['real']['accuracy']['ci95'] is not None
    assert body['widths'][1]['linearised']['accuracy']['ci95'] is None
    assert body['per_doubling']['gap']['slope'] == pytest.approx(-0.2)
    assert body['verdict'].startswith('Of the real student’s rise above chance the linearised one '
                                      'has 67% at width 4, 117% at width 8. Model by model the '
                                      'real student is ahead in 2 of 3')
    assert 'A doubling of the width changes the gap by -0.200' in body['verdict']


def test_the_verdict_counts_cells_and_names_the_worst():
    def cell(model, off, sign=1.0, fell=1.0):
        curve = [1e-6, 1e-4]
        return {'promise': 'theorem', 'dtype': 'float64', 'model': model, 'activation': 'relu',
                'optimizer': 'sgd', 'init': 'shared', 'eps': curve, 'ratio': [1.0, 1 + off],
                'relative_error': [0.0, off], 'positive_fraction': [1.0, sign],
                'fall_fraction': [fell, 1.0], 'per_seed': {'gauss_newton': [0.5, 0.25]},
                'remainder_slope': 2.0}

    cells = [cell('mlp', 1e-5), cell('conv', 0.2, sign=0.5), cell('mlp', 1e-3, fell=0.5)]
    headline = verdict.headline_of(cells)
    assert (headline['cells'], headline['live'], headline['held'], headline['fell']) == (3, 3, 2, 2)
    assert headline['median_error'] == pytest.approx(1e-3) and headline['slopes'] is None
    said = verdict.verdict(headline, {})
    assert 'in 2 of 3 promised cells with A > 0' in said and 'A is never negative in 3' in said
    assert said.endswith('by 2e-01 for the worst seed of the worst one (conv relu).')
    assert verdict.verdict(verdict.headline_of([]), {}).startswith('No cell of this run')
    by_model = {row['model']: row for row in verdict.summary(cells)}
    assert by_model['mlp relu']['near'] == 2 and by_model['conv relu']['near'] == 0
