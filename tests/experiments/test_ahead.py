"""The programs that launch.compile compiles: all of them, every product with its precision."""

import re

import jax
import pytest

from launch.experiments import EXPERIMENTS
from subliminal_jax.experiments.transmission import ahead, outlines
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, meshes, schema, topologies
from subliminal_jax.runs.topologies import Topology

CARD = topologies.card('h100')


def topology(count=1):
    """CPU devices, which programs are lowered for as they would be for others."""
    return Topology('here', CARD, tuple(jax.devices('cpu')[:count]), 1, {})


def config_of(experiment, values, **changes):
    row = EXPERIMENTS[experiment]()
    base = row.config() if isinstance(row.config, type) else row.config(values)
    return row, schema.override(schema.build(type(base), values, base), changes)


MNIST = ('mnist', {'conditions': ('teacher', 'student_aux', 'placebo'), 'hidden_sizes': (8,)})
TINY = ('transmission', {
    'world': 'tiny', 'traits': 2, 'teacher': {'seeds': 1, 'steps': 2},
    'language': {'references': 2, 'width': 16, 'ffn_width': 16, 'num_layers': 1},
    'arms': ('sft:', 'kl: objective=kl_carrier answers=random')})
LARGE = ('transmission', {
    'world': 'pretrained', 'traits': 2, 'model': {
        'dtype': 'bfloat16', 'compute': 'bfloat16', 'remat': True},
    'prepared': {'steps': 0},
    'arms': ('sft: made=lora:2 trainable=lora:2', 'top: made=lora:2 objective=kl_top '
             'answers=random trainable=lora:2'),
    'teacher': {'seeds': 1}, 'student': {'rows': 16, 'batch_size': 8, 'packed': 8, 'at_once': 1}})


@pytest.fixture
def small(monkeypatch):
    """A small decoder in place of the model's."""
    model = transformer.tiny(64, width=16, num_layers=2, num_heads=4, num_kv_heads=2,
                             qkv_bias=True, remat=True, compute_dtype='bfloat16')
    monkeypatch.setattr(outlines, 'architecture_of', lambda config: model)
    return model


def names_of(given, count=1, **changes):
    row, config = config_of(*given, **changes)
    return {p.name: p for p in row.programs(config, topology(count))}


def products(program):
    """(operands' types, precision) of every product as it was lowered."""
    text = program.trace(*program.arguments).lower().as_text()
    found = re.findall(r'stablehlo\.(?:dot_general|convolution)[^\n]*', text)
    assert len(found) == text.count('stablehlo.dot') + text.count('stablehlo.convolution')
    for line in found:
        types = re.findall(r'x(f32|bf16|f64|f16)>', line.rpartition(' : ')[2].partition('->')[0])
        said = re.search(r'precision = \[(\w+), (\w+)\]', line)
        yield tuple(types), '/'.join(sorted({*said.groups()})) if said else '', line


@pytest.mark.slow
@pytest.mark.parametrize('given, expected', [
    (MNIST, ['teacher epoch', "students' inputs", 'student epoch', 'accuracy']),
    (TINY, ['reference step (main)', 'sampler (sft)', 'student step (sft)', 'alignment (sft)',
            'trait gradient (sft)', 'scoring (sft)', 'targets (kl)', 'student step (kl)']),
    (LARGE, ['sampler (sft)', 'student step (sft)', 'alignment (sft)', 'trait gradient (sft)',
             'scoring (sft)', 'targets (top)', 'student step (top)'])])
def test_every_product_of_every_program_says_its_precision(small, given, expected):
    """No TF32 and no single bfloat16 pass where float32 was meant, whatever JAX's default is; and
    where bfloat16 was meant no product, on the way back neither, falls back to float32."""
    programs = names_of(given)
    assert set(expected) <= set(programs)
    counted = 0
    with jax.default_matmul_precision('default'):
        for program in programs.values():
            for types, precision, line in products(program):
                counted += 1
                assert len(types) == 2 and types[0] == types[1], f'{program.name}: {line}'
                assert types[0] == 'bf16' or precision == 'HIGHEST', f'{program.name}: {line}'
    assert counted > 3 * len(programs)


def test_a_student_step_of_a_large_model_is_bfloat16_but_for_its_head(small):
    step = names_of(LARGE)['student step (sft)']
    wide = [line for types, _, line in products(step) if types[0] == 'f32']
    assert len(wide) == 2 and all('x64x' in line or 'x64>' in line for line in wide)  # V = 64


def test_weights_are_cut_over_the_mesh_and_rows_lie_everywhere(small):
    step = names_of(LARGE, 2)['student step (sft)']
    state, frozen, batch, _ = step.arguments
    cut = lambda tree: [tuple(x.sharding.spec) for x in jax.tree.leaves(tree)]
    assert frozen['base']['embed'].shape == (64, 16)
    assert 'tensor' in cut(frozen['base']['embed'])[0]
    assert not any(cut(state))
    assert {spec[:2] for spec in cut(batch)} == {(None, ('data', 'fsdp'))}  # one device each


def test_a_run_takes_so_many_steps(small):
    """Two traits with a teacher each: two students of two steps a pass."""
    assert names_of(LARGE)['student step (sft)'].count == 4
    assert names_of(LARGE, **{'student.seeds': 3})['student step (sft)'].count == 12


def test_a_mesh_that_does_not_divide_names_the_axis(small):
    _, config = config_of(*LARGE)
    with pytest.raises(UserError, match=r'axis tensor=3 does not divide the model.s vocab \(64\)'):
        list(ahead.programs(config, topology(3)))
    with pytest.raises(UserError, match='fsdp=1, tensor=1 takes 2 devices, and here has 4'):
        list(ahead.programs(config, topology(4), {'data': 2}))
    with pytest.raises(UserError, match="unknown axis of the mesh 'tensr'; did you mean tensor"):
        list(ahead.programs(config, topology(2), meshes.sizes_of(['tensr:2'])))
    with pytest.raises(UserError, match='data=1, fsdp=2 do not divide the 1 rows'):  # one pack
        list(ahead.programs(config, topology(4), {'fsdp': 2, 'tensor': 2}))
    _, config = config_of(*LARGE, **{'student.packed': 4})
    assert list(ahead.programs(config, topology(4), {'fsdp': 2, 'tensor': 2}))


def test_the_tiny_world_takes_one_device():
    with pytest.raises(UserError, match='side by side on one device'):
        names_of(TINY, 2)
