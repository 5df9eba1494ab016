"""Cells as lines of text: read, refused, sorted into groups."""

import pathlib

import pytest

from launch.experiments import EXPERIMENTS
from subliminal_jax.experiments.cross_model.digits import EXPERIMENT, cells as tables
from subliminal_jax.experiments.cross_model.digits.config import Clone, Config, Student, groups_of
from subliminal_jax.runs import UserError, config as configs
from tests.experiments.cross_model.digits import matrix

ROOT = pathlib.Path(__file__).parents[4]


def test_a_cell_is_read_from_its_line():
    own, cell = tables.parse([
        'own: num_aux=5 activation=gelu use_bias=false',
        'half: start=mix:0.5 num_aux=5 activation=gelu use_bias=false readout=probe+own'])
    assert (cell.name, cell.start, cell.num_aux, cell.activation, cell.use_bias) == (
        'half', 'mix:0.5', 5, 'gelu', False)
    assert cell.readouts == ('own', 'probe') and cell.optimizer == 'adam' and cell.width == 256
    assert tables.diagonal_of(cell, [own, cell]) == own


@pytest.mark.parametrize('start, readouts', [
    ('own', ('own',)), ('mix:0', ('own',)), ('share:output', ('own',)),
    ('share:class+first', ('own',)), ('share:aux', ('own', 'teacher')),
    ('mix:1', ('own', 'teacher')), ('other', ('own', 'teacher')),
    ('cloned:all', ('own', 'teacher'))])
def test_two_heads_that_are_one_are_read_once(start, readouts):
    assert tables.Cell(start=start).readouts == readouts


@pytest.mark.parametrize('line, said', [
    ('a: start=owm', "unknown start 'owm'; did you mean own"),
    ('a: start=other:1', 'takes nothing behind a colon'),
    ('a: start=mix', 'mix:0.5'), ('a: start=mix:1.5', '0 to 1'), ('a: start=mix:x', '0 to 1'),
    ('a: start=share', 'share:output'), ('a: start=share:soul', 'first, output, class, aux'),
    ('a: start=share:aux+', 'joined by +'), ('a: start=cloned:some', 'cloned:all'),
    ('a: readout=own+porbe', "'porbe'; did you mean probe"), ('a: num_aux=1', 'must be >= 2'),
    ('a: depth=0', 'must be >= 1'), ('a: optimizer=adan', 'did you mean adam'),
    ('a: widht=3', 'did you mean width'), ('a: own', 'FIELD=VALUE'), ('a b', 'needs a name'),
    ('a: start=other num_aux=7', 'add "own_a: start=own num_aux=7"'),
    ('a: start=other readout=probe width=9', 'add "own_a: start=own width=9"')])
def test_a_cell_that_cannot_be_is_refused_by_name(line, said):
    with pytest.raises(UserError) as error:
        tables.parse(['own:', line])
    assert said in str(error.value) and '\n' not in str(error.value)
    assert any(name in str(error.value) for name in (' a', "'a'"))


def test_two_cells_of_one_name_are_refused():
    with pytest.raises(UserError, match='two cells are called'):
        tables.parse(['own:', 'own: num_aux=5'])


@pytest.mark.parametrize('changes, said', [
    ({'num_models': '1'}, 'cell other starts from another model.*num_models is 1: set it to 2'),
    ({'data': 'minst'}, 'unknown data set')])
def test_configs_that_could_not_run_are_refused_before_any_training(changes, said, tmp_path):
    with pytest.raises(UserError, match=said):
        matrix.run(matrix.config_of(**changes), tmp_path)
    assert not list(tmp_path.rglob('*.npz'))


def test_cells_of_equal_networks_share_a_group():
    (one, cells), (wide, _) = groups_of(matrix.config_of(), 64)
    assert one.sizes == (64, 32, 32, 15) and wide.sizes == (64, 48, 48, 15)  # m = 5 is the largest
    assert [c.name for c in cells][:3] == ['own', 'other', 'out'] and len(cells) == 9
    assert one.teachers == ('teacher', 'placebo') and wide.teachers == ('teacher',)
    assert one.clones == (Clone('aux', 3), Clone('all', 3))
    placebos = [s for s in one.students if s.teacher == 'placebo']
    assert placebos == [Student('own', 3, 'placebo'), Student('share:aux', 3, 'placebo')]
    assert [one.students[i].start for i in one.probed] == ['own', 'share:aux'] * 2
    assert len(one.students) == 8 + 2  # out and aux differ in class rows alone: one network


def test_read_outs_share_their_students():
    (group, cells), = groups_of(Config(cells=('a: readout=own', 'b: readout=own')), 784)
    assert len(cells) == 2 and group.students == (Student('own', 3, 'teacher'),)


def test_students_under_sgd_have_a_rate_of_their_own_and_the_same_teachers():
    both = [group for group, _ in groups_of(Config(cells=('a:', 'b: optimizer=sgd')), 784)]
    assert [g.learning_rate for g in both] == [
        Config().learning_rate, Config().sgd_learning_rate]
    assert {g.teacher_rate for g in both} == {Config().learning_rate}


@pytest.mark.parametrize('name', ['cross_mnist_quick', 'cross_mnist'])
def test_the_plan_of_a_config_has_a_stage_a_group(name):
    loaded = configs.load([f'--config={ROOT}/configs/{name}.py'], EXPERIMENTS)
    stages = EXPERIMENT.plan(loaded.config)
    assert len(stages) == len(groups_of(loaded.config, 784))
    assert all(0 < stage.peak_bytes < 8e9 for stage in stages)
    kinds = {cell.start.partition(':')[0] for cell in tables.parse(loaded.config.cells)}
    assert kinds == {'own', 'other', 'share', 'mix', 'cloned'}


def test_a_plan_counts_networks():
    """A teacher and a student of the published size, 5 epochs of 1.216 MFLOP a sample each; what
    start and teacher say of the noise, .539 each."""
    stage, = EXPERIMENT.plan(Config(cells=('own: readout=own',), num_models=2))
    assert stage.flops == pytest.approx(2 * 60_000 * (2 * 5 * 1.216e6 + 2 * 0.539e6), rel=0.02)
