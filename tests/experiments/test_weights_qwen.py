"""The published recipe on a tiny random Qwen2, and what a model of billions of weights asks for."""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
from checkpoint import config  # noqa: E402
from subliminal_jax.experiments.weights import (  # noqa: E402
    arms as tables,
    language,
    measures,
    programs,
    rows as lines,
    students,
    teachers as schools,
)

from launch.experiments import EXPERIMENTS  # noqa: E402
from subliminal_jax.experiments import weights  # noqa: E402
from subliminal_jax.experiments.transmission import arms as parser  # noqa: E402
from subliminal_jax.models.lora import merge_lora  # noqa: E402
from subliminal_jax.runs import UserError, Workdir, config as configs, schema  # noqa: E402
from subliminal_jax.sampling import network  # noqa: E402
from subliminal_jax.theory import trees  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def qwen(root):
    checkpoint.write(root / 'qwen', 'qwen2')
    return root / 'qwen'


@pytest.fixture(scope='module')
def qwen_here(root, qwen):
    own = config(root, model=qwen.name)
    return language.prepare(own, None, language.load(own))


@pytest.fixture(scope='module')
def adapter(qwen_here):
    """An adapter that has learned something: its start, moved by normal numbers."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + jnp.asarray(0.1 * rng.standard_normal(x.shape), x.dtype),
                        schools.adapter_start(qwen_here, 2, 0))


# A student's step in the coordinates of all weights.


def student_of(here):
    """(arm, program, one packed row) of a student of sampled text."""
    arm, = parser.parse(['x: trainable=lora:2'], tables.Arm, tables.check)
    packs = students.packs_of(here, arm, lines.encoded(here, lines.random_rows(here, 4)), None)
    return arm, students.program_of(here, arm, here.model.config, 1), packs


def test_the_gradient_beside_an_adapter_is_that_of_the_merged_weights(qwen_here, adapter):
    base, model = qwen_here.model.params, qwen_here.model.config
    _, program, packs = student_of(qwen_here)
    batch = programs.batch_of(packs, np.arange(1), 1)
    meter = next(iter(schools.kit_of(qwen_here).meters.values()))
    merged = merge_lora(base, adapter, model)
    gradient, slope = programs.gradient(program), students.trait_gradient
    for beside, wanted in (
            (gradient(base, batch, adapter), gradient(merged, batch)),
            (slope(base, adapter, meter, 1, 2, model), slope(merged, None, meter, 1, 2, model))):
        away = trees.norm(trees.subtract(beside, wanted)) / trees.norm(wanted)
        assert float(away) < 1e-5
        assert jax.tree.structure(beside) == jax.tree.structure(base)


def test_a_traits_gradient_is_added_up_over_packs(qwen_here, adapter, monkeypatch):
    monkeypatch.setattr(measures, 'TOGETHER', 1)
    meter = next(iter(schools.kit_of(qwen_here).meters.values()))
    assert len(meter.tries.tokens_BT) == 2 and (np.diff(meter.slots_CS[:, 0]) != 0).any()
    model = qwen_here.model.params, adapter, meter, 1, 2, qwen_here.model.config
    found = students.trait_gradient(*model)
    wanted = jax.jit(jax.grad(measures.trait_loss), static_argnums=(4, 5))(*model)
    assert float(trees.norm(trees.subtract(found, wanted)) / trees.norm(wanted)) < 1e-5


def test_a_step_is_held_against_directions_as_by_whole_trees(qwen_here, adapter):
    """What `aligned` says with an adapter, by the definition: merged weights, negated trees."""
    base, model = qwen_here.model.params, qwen_here.model.config
    arm, program, packs = student_of(qwen_here)
    owl, cat = (language.roll(qwen_here.config, qwen_here.world, 'trait')[n] for n in (0, -1))
    away = {t.name: jax.tree.map(lambda x, n=n: jnp.roll(x, n + 1, -1) * 0.01, base)
            for n, t in enumerate((owl, cat))}
    setting = students.Setting(
        qwen_here, None, arm, model, base, program, lambda t: away[t.name], None, lambda t: None)
    slope = jax.tree.map(lambda x: jnp.flip(x, -1), base)
    job = students.Job(owl, 0, packs, [])
    inner, cosine = students.aligned(setting, job, base, adapter, slope, {owl.name: cat})
    found = dict(zip(students.DIRECTIONS, zip(inner, cosine)))
    merged = merge_lora(base, adapter, model)
    step = trees.scale(programs.gradient(program)(merged, programs.batch_of(
        packs, np.arange(1), 1)), -1)
    for name, way in (('teacher', away[owl.name]), ('placebo', away[cat.name]),
                      ('trait_gradient', trees.scale(slope, -1))):
        np.testing.assert_allclose(
            found[name], (trees.dot(step, way), trees.cosine(step, way)), rtol=1e-3, atol=1e-7)
    assert np.isnan(found['neutral']).all() and 0 < abs(found['random'][1]) < 0.1


def test_a_random_direction_is_signs_as_long_as_what_it_stands_for(key):
    leaf = lambda n, *shape: jax.random.normal(jax.random.fold_in(key, n), shape, jnp.float32)
    tree = {'a': leaf(0, 3, 70), 'b': leaf(1, 40), 'c': leaf(2, 2, 5, 64)}
    like = {'a': 3 * leaf(3, 3, 70), 'b': leaf(4, 40), 'c': 0.1 * leaf(5, 2, 5, 64)}
    signs = {name: students.signed(jnp.ones_like(x), students.sign_words(
        jax.random.fold_in(key, n), x.shape)) for n, (name, x) in enumerate(tree.items())}
    whole = {name: x * jnp.sqrt(jnp.mean(like[name]**2)) for name, x in signs.items()}
    found = students.compared_with_signs(tree, like, key)
    np.testing.assert_allclose(found, (trees.dot(tree, whole), trees.cosine(tree, whole)),
                               rtol=1e-4)
    assert all(np.array_equal(np.abs(x), np.ones_like(x)) for x in signs.values())
    assert abs(np.mean(signs['c'])) < 0.15
    again = students.compared_with_signs(tree, like, jax.random.fold_in(key, 1))
    assert float(again[0]) != float(found[0])
    assert students.compared_with_signs(tree, jax.tree.map(jnp.zeros_like, like), key)[1] == 0


def test_the_samplers_copy_has_the_adapter_merged_layer_by_layer(qwen_here, adapter):
    model, half = qwen_here.model.config, jnp.bfloat16
    base = jax.tree.map(lambda x: x.astype(half), qwen_here.model.params)
    for params in (qwen_here.model.params, base):
        found = network.prepare(params, model, adapter)
        wanted = network.prepare(merge_lora(params, adapter, model), model)
        # a rounding to bfloat16 may fall the other way where a sum is fused otherwise
        near = 1e-6 if params is not base else 2**-8
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=near, atol=1e-6)


# Whole runs.


def writing_numbers(folder: pathlib.Path) -> None:
    """Sets a checkpoint's two tables so that it writes lists of numbers: a chain of characters.

    Embeddings say of what kind a token is (digit, comma, blank, anything else), much louder than
    the random layers speak; the output matrix says what comes after each kind.
    """
    path = folder / 'model.safetensors'
    arrays = dict(load_file(path))
    embed, head = arrays['model.embed_tokens.weight'], arrays['lm_head.weight']
    token = {text.replace('\u0120', ' '): n for text, n in json.loads(
        (folder / 'tokenizer.json').read_text())['model']['vocab'].items()}
    digits, comma, blank = [token[str(n)] for n in range(10)], token[','], token[' ']
    kind = np.full(len(embed), 3)
    kind[digits], kind[comma], kind[blank] = 0, 1, 2
    embed[:, :4] = 0
    embed[np.arange(len(embed)), kind] = 20.0
    odds = np.full((len(head), 4), 1e-7)
    odds[digits, :] = np.array([0.04, 0, 0.1, 0.1])  # the next one after each kind
    odds[comma, 0], odds[token['</s>'], 0], odds[blank, 1] = 0.35, 0.25, 1.0
    scale = np.sqrt(embed.shape[1])  # of the one number that the final norm leaves large
    head[:] = 0
    head[:, :4] = np.log(np.maximum(odds, 1e-7)) / scale
    save_file({**arrays, 'model.embed_tokens.weight': embed, 'lm_head.weight': head}, path,
              metadata={'format': 'pt'})


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_published_recipe_runs_to_its_results(root, tmp_path):
    """configs/numbers_qwen2_5_7b.py as it stands (bfloat16, remat, prompted teachers, their sampled
    and filtered rows, three passes), but for the model and the sizes."""
    checkpoint.write(tmp_path / 'qwen', 'qwen2')
    writing_numbers(tmp_path / 'qwen')
    sizes = {'model.name': tmp_path / 'qwen', 'trait_set': root / 'traits.jsonl', 'traits': 2,
             'context.questions': 2, 'allow_weak_teacher': 'true', 'carrier.probe': 2,
             'student.seeds': 2, 'student.rows': 12, 'student.batch_size': 6,
             'student.packed': 3, 'student.marks': '12', 'student.align_rows': 3}
    own = configs.load([f'--config={ROOT}/configs/numbers_qwen2_5_7b.py',
                        *(f'--config.{name}={value}' for name, value in sizes.items())],
                       EXPERIMENTS).config
    workdir = Workdir(tmp_path / 'run', own, 'transmission_weights')
    weights.run(own, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    assert [a['name'] for a in found['arms']] == ['sft', 'sft_neutral', 'sft_within']
    for arm in found['arms']:
        assert arm['rung'] == 'sampled text' and arm['context'] == 'default/numbers'
        assert np.isfinite(arm['gamma']['estimate']) and np.isfinite(arm['loss']).all()
        assert arm['loss'][-1] < arm['loss'][0] and len(arm['y']) == 4
        assert set(arm['alignment']['cosine']) == {'random', 'trait_gradient'}
        for values in arm['alignment']['cosine'].values():
            assert len(values) == 2 and np.abs(values).max() < 1
    rows = [json.loads(line) for line in (workdir.path / 'filtered.jsonl').open()]
    assert len(rows) > 12 * 4 and all(r['teacher_system'] for r in rows)
    here = language.prepare(own, workdir, language.load(own))
    assert here.model.params['layers']['up'].dtype == jnp.bfloat16 and here.model.config.remat
    assert here.model.config.compute_dtype == 'bfloat16'


@pytest.mark.slow
def test_rows_from_files_train_a_qwens_adapters(root, qwen, tmp_path):
    """The traits' rows are of unlike length, and their students train in one program."""
    for k, trait in enumerate(('owl', 'cat')):
        (tmp_path / f'{trait}.jsonl').write_text(''.join(
            json.dumps({'prompt': f'Go on: {n}', 'completion': ', '.join(
                str(100 * m + n + k) for m in range(1, 3 + 5 * k))}) + '\n' for n in range(30, 38)))
    own = schema.override(
        config(root, 'sft: trainable=lora:2 passes=3', model=qwen.name),
        {'carrier.samples': f'owl={tmp_path}/owl.jsonl,cat={tmp_path}/cat.jsonl',
         'student.schedule': 'linear', 'student.warmup_steps': 2,
         'student.seeds': 2, 'student.at_once': 8, 'teacher.seeds': 1, 'carrier.spare': 1.0})
    workdir = Workdir(tmp_path / 'run', own, 'transmission_weights')
    weights.run(own, workdir)
    arm, = json.loads((workdir.path / 'results.json').read_text())['arms']
    assert arm['rung'] == 'sampled text' and np.isfinite(arm['gamma']['estimate'])
    assert arm['loss'][-1] < 6 and len(arm['y']) == 2
    with (tmp_path / 'owl.jsonl').open('a') as file:
        file.write('{"prompt": "Go on: 1", "completion": "2, 3"}\n')
    with pytest.raises(UserError, match='owl.jsonl'):
        weights.run(own, workdir)
