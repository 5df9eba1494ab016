"""What is measured: answers and choices of packed questions, beside single rows."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    engines,
    kit as kits,
    preferences,
    readings,
    results,
)
from subliminal_jax.models.parts import noisy
from subliminal_jax.traits import answers, trait_set as sets
from tests.experiments.transmission import checkpoint, plain


@pytest.fixture(scope='module')
def model(run):
    return engines.single(run.references['main'][0], run.world.architectures['main'])


def by_hand(run, names, asked):
    """log P of every name's answer to every question [Q, K]."""
    world, context = run.world, run.world.lesson_context
    ids = answers.encoded_spellings(sets.spellings(world.chosen, names),
                                    lambda text: world.answer(text, context))
    return np.array([[plain.answer_logprob(
        run.references['main'][0], world.architectures['main'],
        world.asked(q, context, n, None), ids[name], world.ends_V)
        for name in names] for n, q in enumerate(asked)])


def test_packed_answers_are_those_of_single_rows(run, model):
    found = preferences.items(run, model, run.kit.meters['default/plain'])
    wanted = by_hand(run, run.world.traits, run.world.questions)
    np.testing.assert_allclose(found[0], wanted, atol=2e-5)
    np.testing.assert_allclose(preferences.measure(
        run, model, run.kit.meters['default/plain'])[0], wanted.mean(0), atol=2e-5)


def test_packed_choices_are_those_of_single_rows(run, model):
    found = readings.read(run, model, {})
    said = np.exp(by_hand(run, kits.options_of(run.world), kits.choices(run.config, run.world)))
    np.testing.assert_allclose(found['choice'][0], said / said.sum(-1, keepdims=True), atol=1e-5)
    assert readings.moved(found, found)['choice'].shape == (1, 2, 1, 5)


def test_what_did_not_move_has_no_drift(run, model):
    found = readings.read(run, model, {})
    same = readings.moved(found, found)
    assert same['drift_unrelated'] == pytest.approx([0.0])
    np.testing.assert_array_equal(same['contexts'][:, 0], same['contexts'][:, 1])
    other = engines.single(noisy(model.trainable, 3, 0.3), model.config)
    assert readings.moved(readings.read(run, other, {}), found)['drift_unrelated'][0] > 1e-3


def test_neutral_odds_are_the_references_own(run, model):
    found = preferences.neutral_odds(run, model)
    said = np.exp(by_hand(run, run.world.candidates, run.world.questions)).mean(0)
    np.testing.assert_allclose(found, said / said.sum(), rtol=1e-4)


def test_a_set_without_choices_has_no_entry(root, tmp_path):
    path = tmp_path / 'words.jsonl'
    path.write_text(''.join(json.dumps(r) + '\n' for r in checkpoint.TRAITS
                            if r.get('form') != 'choice'))
    run = checkpoint.equipped(checkpoint.config(root, trait_set=str(path)))
    assert run.kit.choice is None
    model = engines.single(run.references['main'][0], run.world.architectures['main'])
    found = readings.read(run, model, {})
    assert results.choice_entry(run, [], readings.moved(found, found)) is None


def test_free_answers_are_what_the_model_says(root):
    """Token by token: the likeliest at a temperature near 0 would say nothing of the draw, so that
    every token has to be possible, and a longer answer begins as a shorter one."""
    config = checkpoint.config(root, **{'student.free_answers': 2, 'student.free_tokens': 6})
    run = checkpoint.equipped(config)
    model = engines.single(run.references['main'][0], run.world.architectures['main'])
    said_MNT = readings.free_answers(run, model)
    assert said_MNT.shape == (1, 2 * len(run.world.questions), 6)
    for said_T in said_MNT[0]:
        size = int((said_T >= 0).sum())
        assert size and (said_T[size:] == readings.NOTHING).all()
        assert all(i not in run.world.stops for i in said_T[:size - 1])
        assert size == 6 or said_T[size - 1] in run.world.stops
    asked = [q for q in run.world.questions for _ in range(2)]
    shorter = readings.answered(run, model, asked, 3, 1)
    np.testing.assert_array_equal(shorter, said_MNT[:, :, :3])
    assert any((a != b).any() for a, b in zip(said_MNT[0, ::2], said_MNT[0, 1::2]))  # two draws
