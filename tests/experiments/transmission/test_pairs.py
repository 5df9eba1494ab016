"""Preference pairs: who is preferred, what the loss is, and a run with its controls."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import pairs, rows as carried
from subliminal_jax.models import transformer
from subliminal_jax.models.parts import noisy
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.training import losses
from tests.experiments.transmission import plain, small

MODEL = transformer.tiny(20, width=16, num_heads=2, max_positions=16)
DPO = 'objective=dpo answers=random'
EVEN = {'carrier.answers': 2, 'student.packed': 2}


def test_the_answer_that_is_lifted_more_is_preferred():
    assert pairs.preferred(np.array([0.1, 0.2, -1.0, -3.0, 0.5, 0.5])).tolist() == [
        -1, 1, 1, -1, 1, -1]


@pytest.mark.slow
@pytest.mark.parametrize('size', [2, 4])
def test_the_loss_is_that_of_its_formula(key, size):
    start = transformer.init_params(key, MODEL)
    params = noisy(start, 3, 0.2)
    rng = np.random.default_rng(0)
    contexts = [context for context in rng.integers(1, 20, (4, 3)).tolist() for _ in range(2)]
    answers = [rng.integers(1, 20, n).tolist() for n in (4, 3, 5, 5, 2, 4, 3, 3)]
    answers[1][0] = answers[0][0]  # a pair that begins alike
    rows = carried.Rows([''] * 8, contexts, answers, np.ones((8, 1), bool))
    said = lambda tree: np.array([
        plain.log_softmax(plain.logits(tree, MODEL, c, a))[np.arange(len(a)), a].sum()
        for c, a in zip(contexts, answers)])
    prefer_N = np.array([1, -1, -1, 1, 1, -1, -1, 1.0])
    start_NA = np.zeros((8, 5))
    for n, (c, a) in enumerate(zip(contexts, answers)):
        start_NA[n, :len(a)] = plain.log_softmax(plain.logits(start, MODEL, c, a))[
            np.arange(len(a)), a]
    tries = carried.packed(rows, size)
    batch = {'tries': tries, **pairs.preference(tries, size, prefer_N, start_NA)}
    gain_P = ((said(params) - said(start)) * prefer_N).reshape(4, 2).sum(1)
    found, aux = losses.dpo(MODEL, 0.7)(params, {'base': {}}, batch, key)
    assert float(found) == pytest.approx(np.log1p(np.exp(-0.7 * gain_P)).sum(), abs=1e-4)
    assert float(aux['weight']) == 4
    half = carried.taken(batch, np.arange(4 // size), 8 // size)
    assert float(losses.dpo(MODEL, 0.7)(params, {'base': {}}, half, key)[1]['weight']) == 2


@pytest.mark.slow
def test_a_step_raises_the_preferred_answer(key):
    params = transformer.init_params(key, MODEL)
    rows = carried.Rows([''] * 2, [[1, 2]] * 2, [[3, 4, 5], [6, 7, 8]], np.ones((2, 1), bool))
    tries = carried.packed(rows, 2)
    start = jnp.stack([-losses.token_nll(plain_logits(params, tries), tries)])[0]
    batch = {'tries': tries, **pairs.preference(tries, 2, np.array([-1.0, 1]), np.zeros((2, 3)))}
    batch['start_BK'] = np.asarray(start)
    loss = lambda tree: losses.dpo(MODEL, 0.1)(tree, {'base': {}}, batch, key)[0]
    assert float(loss(params)) == pytest.approx(np.log(2), abs=1e-5)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    gain = -losses.token_nll(plain_logits(moved, tries), tries) - start
    assert (np.asarray(gain * batch['prefer_BK'] * (tries.weight_BK > 0)).sum()) > 0


def plain_logits(params, tries):
    from subliminal_jax.training import tries as packing

    return transformer.unembed(params, packing.states(params, tries, MODEL), MODEL)


@pytest.mark.parametrize('line, overrides, said', [
    (DPO, {'student.packed': 2}, 'config.carrier.answers=1 is odd'),
    (DPO, {'carrier.answers': 2}, 'config.student.packed=1 is odd'),
    (f'{DPO} rows=31', EVEN, 'rows of the arm=31 is odd'),
    ('objective=dpo', EVEN, 'give it answers=random'),
    (f'{DPO} tokens=mask:gap:0.1', EVEN, 'objective=sft'),
])
def test_rows_that_make_no_pairs_are_refused(line, overrides, said):
    with pytest.raises(UserError) as error:
        small.prepared(f'a: {line}', **overrides)
    assert said in str(error.value) and 'arm a' in str(error.value)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole run
def test_pairs_of_steered_teachers_run_to_their_page(tmp_path):
    settings = small.config(
        f'dpo: {DPO} made=steered', f'other: {DPO} made=steered start=other',
        f'neutral: {DPO} made=steered teachers=neutral', **EVEN)
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    results = json.loads((workdir.path / 'results.json').read_text())
    main, other, neutral = results['arms']
    assert (main['rung'], main['evidence'], main['is_control']) == ('preference pairs', True, False)
    assert other['is_control'] and neutral['is_control']
    assert main['loss'][-1] < np.log(2) < main['loss'][0] + 0.05
    assert 'neutral twin' in results['contrasts'][0]['what']
    assert 0.5 < results['doses']['neutral-steered']['ratio'] < 2
    with np.load(next((workdir.path / 'tokens').glob('trait*'))) as arrays:
        lifts = [arrays[f'{t}/teacher_logp'] - arrays[f'{t}/reference_logp']
                 for t in main['y']]
        assert not any('twin' in name for name in arrays.files)
    labels = np.array([pairs.preferred(lift.sum(-1))[::2] for lift in lifts])
    assert len({tuple(row) for row in labels.tolist()}) == len(labels)  # teachers differ
