"""Tokens that students do not learn from, and rows of twins that are mixed in."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import (
    arms as tables,
    contrasts,
    engines,
    rows as carried,
    samples,
    students,
    targets,
    tokens,
)
from subliminal_jax.experiments.transmission.token_orders import chosen, selection_of
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.training import tries as packing
from tests.experiments.transmission import plain, small


@pytest.mark.slow
def test_what_is_said_of_tokens_is_what_the_plain_forward_pass_says(key, language):
    world = language.world
    model = world.architectures['main']
    params = transformer.init_params(key, model)
    ids = carried.token_set(world, language.carrier())
    rows = carried.random_rows(language.config, world, language.carrier(), 3, 'random', 0, 1)
    found = targets.at_places(language, engines.single(params, model), None, rows, tokens.said,
                              jnp.asarray(ids))
    for n in range(3):
        answer = np.array(rows.answers[n])
        logits = plain.logits(params, model, rows.contexts[n], answer)
        log_p = plain.log_softmax(logits)
        places = np.arange(len(answer))
        read = {name: values[0, n, :len(answer)] for name, values in found.items()}
        np.testing.assert_allclose(read['logp'], log_p[places, answer], atol=1e-4)
        np.testing.assert_allclose(read['entropy'], -(np.exp(log_p) * log_p).sum(-1), atol=1e-4)
        np.testing.assert_allclose(read['logits'], logits[:, ids], atol=1e-4)
        x_TD = states_of(params, model, rows.contexts[n], answer)
        off = np.exp(log_p) - np.eye(logits.shape[1])[answer]
        whole = off[:, :, None] * x_TD[:, None]  # the gradient by the output matrix
        np.testing.assert_allclose(read['gradient'], np.sqrt((whole**2).sum((1, 2))), rtol=1e-4)


def states_of(params, model, context, answer):
    tries = packing.pack([[packing.Row(context, answer)]])
    return np.asarray(packing.states(params, tries, model), np.float64)[0, :len(answer)]


@pytest.mark.parametrize('name, first', [
    ('gap', (0, 1)), ('divergence', (1, 1)), ('entropy', (1, 0)), ('loss', (0, 0)),
    ('loss_gap', (1, 1)), ('gradient', (0, 1))])
def test_an_order_puts_its_own_tokens_first(name, first):
    said = {'teacher_logp': [[-1.0, -1.0], [-1.0, -2.0]], 'twin_logp': [[-1.0, -3.0], [-2.0, -2.0]],
            'reference_logp': [[-6.0, -5.0], [-4.0, -8.0]],
            'twin_divergence': [[0.1, 0.2], [0.2, 0.4]],
            'teacher_entropy': [[0.1, 0.2], [0.9, 0.3]],
            'reference_gradient': [[0.1, 0.7], [0.2, 0.3]]}
    if name == 'loss':
        said['reference_logp'][0][0] = -9.0
        said['teacher_logp'][0][0] = -8.0
    found = chosen(selection_of(f'mask:{name}:0.25'), {k: np.array(v) for k, v in said.items()},
                   np.ones((2, 2)), 0)
    assert np.argwhere(found).tolist() == [list(first)]


def test_random_tokens_are_drawn_among_those_that_weigh():
    said = {'teacher_logp': np.zeros((40, 5))}
    weight = np.ones((40, 5))
    weight[:, 4] = 0
    found = chosen(selection_of('mask:random:0.25'), said, weight, 1)
    assert found.sum() == 40 and not found[:, 4].any()
    assert (found != chosen(selection_of('mask:random:0.25'), said, weight, 2)).any()


def test_a_twin_draws_as_its_odds_say():
    rng = np.random.default_rng(0)
    p = np.array([0.7, 0.2, 0.1])
    found = tokens.drawn(np.broadcast_to(np.log(p) + 3, (4000, 5, 3)), rng)
    np.testing.assert_allclose(np.bincount(found.ravel()) / found.size, p, atol=0.01)


def test_labels_are_replaced_and_what_is_read_stays(language):
    rows = carried.random_rows(language.config, language.world, language.carrier(), 4, 'random', 0,
                               1)
    tries = carried.packed(rows, 2)
    pick = np.zeros((4, 11), bool)
    pick[3, 2] = True
    found = carried.relabelled(tries, 2, pick, np.full((4, 11), 7))
    at = (np.arange(2)[:, None] * 2 + tries.row_BK == 3) & (tries.offset_BK == 2) & (
        tries.weight_BK > 0)
    assert at.sum() == 1 and (found.target_BK[at] == 7).all()
    np.testing.assert_array_equal(found.target_BK[~at], tries.target_BK[~at])
    np.testing.assert_array_equal(found.tokens_BT, tries.tokens_BT)


def test_mixed_rows_are_a_share_at_the_same_places_for_all():
    rows = lambda who: {t: [{'id': n, 'completion': f'{who}{t}'} for n in range(8)] for t in 'ab'}
    found = samples.mixed(rows('own'), rows('twin'), 0.25, 3)
    places = {t: [n for n, row in enumerate(own) if row['completion'].startswith('twin')]
              for t, own in found.items()}
    assert len(places['a']) == 2 and places['a'] == places['b']
    assert [row['id'] for row in found['a']] == list(range(8))
    assert {row['completion'] for row in found['b']} == {'ownb', 'twinb'}


def test_arms_with_fewer_tokens_and_mixed_rows_are_compared_with_their_own():
    run = small.prepared(
        'all', 'gap: tokens=mask:gap:0.1', 'random: tokens=mask:random:0.1',
        'other: tokens=mask:random:0.2', 'less: rows=16', 'mixed: mix=0.5', 'more: rows=64 mix=0.5')
    by_name = {arm.name: arm for arm in run.arms}
    pairs = lambda holds: {(a, b) for a in by_name for b in by_name
                           if holds(by_name[a], by_name[b])}
    assert pairs(contrasts.selects_less) == {
        ('all', 'gap'), ('all', 'random'), ('all', 'other'), ('random', 'gap')}
    assert pairs(lambda a, b: contrasts.mixes_less(run, a, b)) == {
        ('all', 'mixed'), ('all', 'more'), ('less', 'mixed')}


@pytest.mark.parametrize('line, said', [
    ('tokens=some', 'mask:gap:0.1'), ('tokens=mask:gap:2', 'mask:gap:0.1'),
    ('tokens=mask:gapp:0.1', 'did you mean gap'), ('tokens=drop:gap:0.1', 'mask:gap:0.1'),
    ('tokens=mask:gap:0.1 objective=kl answers=random', 'objective=sft'),
    ('mix=0.5 objective=kl answers=random', "nobody's"), ('mix=1', 'mix')])
def test_what_cannot_be_selected_or_mixed_is_refused(line, said):
    with pytest.raises(UserError) as error:
        tables.parse([f'a: {line}'])
    assert said in str(error.value) and '\n' not in str(error.value)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a whole run
def test_selected_and_mixed_rows_are_what_students_read(tmp_path, monkeypatch):
    """A run: tokens masked are as many as asked; others have the twin's labels, or are its rows."""
    read = {}
    plainly = students.batches_of

    def kept(setting, *args):
        read.setdefault(setting.arm.name, plainly(setting, *args))
        return plainly(setting, *args)

    monkeypatch.setattr(students, 'batches_of', kept)
    settings = small.config('sft', 'mask: tokens=mask:gap:0.25', 'swap: tokens=replace:random:0.25',
                            'mixed: mix=0.5', 'twins: teachers=neutral')
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    results = json.loads((workdir.path / 'results.json').read_text())
    assert {c['name'] for c in results['contrasts']} >= {
        'sft less mask', 'sft less swap', 'sft less mixed'}
    whole, mask, swap, mixed, twins = (read[name] for name in read)
    for name, own in whole.items():
        weight = own['tries'].weight_BK
        kept_weight = mask[name]['tries'].weight_BK
        assert weight.sum() - kept_weight.sum() == round(0.25 * weight.sum())
        assert (kept_weight <= weight).all()
        changed = swap[name]['tries'].target_BK != own['tries'].target_BK
        assert 0 < changed.sum() <= round(0.25 * weight.sum()) + (weight == 0).sum()
        np.testing.assert_array_equal(swap[name]['tries'].tokens_BT, own['tries'].tokens_BT)
        texts = lambda batch: [t.tolist() for t in batch['tries'].tokens_BT]
        from_twin = [same(a, b) for a, b in zip(texts(mixed[name]),
                                                texts(twins[f'{name}-neutral']))]
        from_own = [same(a, b) for a, b in zip(texts(mixed[name]), texts(own))]
        assert all(a or b for a, b in zip(from_twin, from_own))
        assert sum(from_twin) >= 16 and sum(from_own) >= 16 and not all(from_own)
    with np.load(next((workdir.path / 'tokens').iterdir())) as arrays:
        one = next(iter(whole))
        said = {name: arrays[f'{one}/{name}'] for name in (
            'teacher_logp', 'twin_logp', 'twin_divergence')}
    gap = said['teacher_logp'] - said['twin_logp']
    written = said['twin_divergence'] > 0
    assert written.any() and np.abs(gap[written]).max() > 1e-4
    assert said['twin_divergence'].min() > -1e-6


def same(a, b):
    """Whether two rows of tokens are one, whatever their padding."""
    short, long = sorted((a, b), key=len)
    return long[:len(short)] == short and not any(long[len(short):])


