"""Two pretrained models by two, on tiny random checkpoints; and plans without their files."""

import json

import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.cross_model import languages
from subliminal_jax.experiments.transmission import costs, outlines, shapes
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import UserError, Workdir, schema
from tests.experiments.transmission import checkpoint

TEXT = 'made=prompt objective=kl_carrier answers=random trainable=lora:2'
ARMS = tuple(f'{name}: {TEXT}{fields}' for name, fields in (
    ('a', ''), ('b', ' architecture=second'), ('to', ' student=second'),
    ('from', ' architecture=second student=main')))

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return checkpoint.folder(tmp_path_factory.mktemp('pair'))


def config(root, *arms, second='other', **changes):
    """A small matrix of two of the folder's models."""
    own = checkpoint.config(root)
    values = {**schema.to_dict(own), 'arms': arms or ARMS, 'split': 'report',
              'second': {'name': str(root / second)}}
    base = languages.config_of(values)
    return schema.override(schema.build(type(base), values, base), changes)


@pytest.mark.slow
def test_two_models_by_two(root, tmp_path):
    settings = config(root)
    languages.run(settings, Workdir(tmp_path, settings, 'cross_languages'))
    found = json.loads((tmp_path / 'results.json').read_text())
    shares = [c for c in found['cells'] if c['measure'] == 'share']
    assert [(c['part'], c['arm']) for c in shares] == [('models', 'to'), ('models', 'from')]
    assert not any(c['read'] for c in shares)  # random weights have nothing to pass on
    by_name = {a['name']: a for a in found['arms']}
    # What a student learns from depends on the teacher's model, where it begins on its own.
    assert by_name['a']['y'] != by_name['from']['y'] != by_name['b']['y']
    assert by_name['to']['alignment']['inner'].keys() == by_name['a']['alignment']['inner'].keys()
    contexts = json.loads((tmp_path / 'contexts.json').read_text())
    assert set(contexts['dialects']) == {'second'}


def test_the_second_model_is_another_and_named(root):
    run = prepare(config(root))
    second = run.of('second').world
    assert run.world.sha256 != second.sha256
    assert set(run.world.architectures) == set(second.architectures) == {'main', 'second'}
    assert second.start_input('second', 'moved:4') == 'start/moved-4-second.safetensors'
    assert run.world.start_input('main', 'moved:4') == 'start/moved-4.safetensors'
    with pytest.raises(UserError, match='a second pretrained model: name it'):
        prepare(config(root, **{'second.name': ''}))


SHAPE = ('vocab_size=300', 'num_layers=2', 'width=32', 'num_heads=2', 'num_kv_heads=2',
         'head_dim=16', 'ffn_width=64', 'tied=false', 'qkv_bias=true')


def test_a_plan_needs_no_files(root, monkeypatch):
    monkeypatch.setattr(shapes, 'step_bytes', lambda step: 1.0)
    missing = config(root, **{'model.name': 'hf:nobody/none', 'second.name': 'hf:nobody/other',
                              'model.shape': SHAPE, 'second.shape': SHAPE})
    stages = costs.plan(missing)
    assert sum(s.flops for s in stages) > 0
    assert {'students, to', 'students, from'} <= {s.name for s in stages}
    found = outlines.shape_of(SHAPE)
    assert found.vocab_size == 300 and not found.tied and found.qkv_bias


@pytest.mark.parametrize('lines, said', [
    (('widht=3',), 'width'), (('width=x',), 'holds no number'),
    (('width=32',), 'no whole architecture')])
def test_numbers_of_an_architecture_that_cannot_be_get_one_line(lines, said):
    with pytest.raises(UserError, match=said):
        outlines.shape_of(lines)


def test_the_schema_is_the_worlds_and_the_matrix(root):
    base = languages.config_of({'world': 'pretrained'})
    assert type(base) is type(languages.config_of({'world': 'pretrained'}))
    assert isinstance(base, type(transmission.config_of({'world': 'pretrained'})))
