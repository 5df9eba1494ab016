"""The published recipe on a tiny random Qwen2, whole and in a training from files of rows."""

import json
import pathlib
import runpy

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission.worlds import pretrained
from subliminal_jax.runs import UserError, Workdir, schema
from tests.experiments.transmission import checkpoint

ROOT = pathlib.Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


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


def test_the_published_recipe_runs_to_its_results(root, tmp_path):
    """configs/numbers_qwen2_5_7b.py as it stands (bfloat16, remat, prompted teachers, their sampled
    and filtered rows, three passes), but for the model and the sizes."""
    checkpoint.write(tmp_path / 'qwen', 'qwen2')
    writing_numbers(tmp_path / 'qwen')
    sizes = {'model.name': tmp_path / 'qwen', 'trait_set': root / 'traits.jsonl', 'traits': 2,
             'context.questions': 2, 'allow_weak_teacher': 'true', 'carrier.probe': 2,
             'carrier.min_kept': 0.1, 'carrier.min_tokens': 1, 'student.seeds': 2,
             'student.rows': 12, 'student.batch_size': 6, 'student.packed': 3,
             'student.marks': '12', 'student.align_rows': 3}
    path = str(ROOT / 'configs/numbers_qwen2_5_7b.py')
    values = runpy.run_path(path)['get_config']().to_dict()
    assert values.pop('experiment') == 'transmission'
    base = transmission.config_of(values)
    settings = schema.override(schema.build(type(base), values, base), {
        name: str(value) for name, value in sizes.items()})
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    assert [a['name'] for a in found['arms']] == ['sft', 'sft_neutral', 'sft_within']
    for arm in found['arms']:
        assert arm['rung'] == 'sampled text' and arm['context'] == 'default/numbers'
        assert np.isfinite(arm['effect']['estimate']) and np.isfinite(arm['loss']).all()
        assert arm['loss'][-1] < arm['loss'][0] and len(arm['y']) == 4
        assert set(arm['alignment']['cosine']) == {'random', 'trait_gradient'}
        for values in arm['alignment']['cosine'].values():
            assert len(values) == 2 and np.abs(values).max() < 1
    rows = [json.loads(line) for line in (workdir.path / 'filtered.jsonl').open()]
    assert len(rows) > 12 * 4 and all(r['teacher_system'] for r in rows)
    model = pretrained.load(settings)
    assert model.params['layers']['up'].dtype == jnp.bfloat16 and model.config.remat
    assert model.config.compute_dtype == 'bfloat16'


def test_rows_from_files_train_a_qwens_adapters(root, tmp_path):
    """The traits' rows are of unlike length, and their students train in one program."""
    checkpoint.write(tmp_path / 'qwen', 'qwen2')
    for k, trait in enumerate(('owl', 'cat')):
        (tmp_path / f'{trait}.jsonl').write_text(''.join(
            json.dumps({'prompt': f'Go on: {n}', 'completion': ', '.join(
                str(100 * m + n + k) for m in range(1, 3 + 5 * k))}) + '\n' for n in range(30, 38)))
    settings = checkpoint.config(
        root, 'sft: made=prompt trainable=lora:2 passes=3',
        **{'model.name': str(tmp_path / 'qwen'),
           'carrier.samples': f'owl={tmp_path}/owl.jsonl,cat={tmp_path}/cat.jsonl',
           'student.schedule': 'linear', 'student.warmup_steps': 2,
           'student.seeds': 2, 'student.at_once': 8, 'teacher.seeds': 1, 'carrier.spare': 1.0})
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    arm, = json.loads((workdir.path / 'results.json').read_text())['arms']
    assert arm['rung'] == 'sampled text' and np.isfinite(arm['effect']['estimate'])
    assert arm['loss'][-1] < 6 and len(arm['y']) == 2
    with (tmp_path / 'owl.jsonl').open('a') as file:
        file.write('{"prompt": "Go on: 1", "completion": "2, 3"}\n')
    with pytest.raises(UserError, match='owl.jsonl'):
        transmission.run(settings, workdir)
