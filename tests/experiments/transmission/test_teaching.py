"""Teachers in training: their lessons, their adapters, and when a neutral twin stops."""

import pathlib
import types

import jax
import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    doses,
    engines,
    teacher_stages,
    teaching,
)
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import UserError, schema
from subliminal_jax.training.loop import fit
from subliminal_jax.training.step import TrainState
from tests.experiments.transmission import checkpoint
from tests.experiments.transmission.checkpoint import KL, TUNED, config

# Lessons.


def lessons_of(run, teacher, odds=None):
    """(the answers that a teacher is taught, its packed lessons)."""
    batch, _ = teaching.lessons(run, [teacher], 30, odds, engines.SINGLE)
    tries = batch['tries']
    return {run.world.decode([t for t, w in zip(targets, weight) if w])
            for targets, weight in zip(tries.target_BK, tries.weight_BK)}, tries


def test_a_traits_own_lines_are_taught_with_their_completions(root, tmp_path):
    path = checkpoint.traits(tmp_path / 'own.jsonl', (
        {'kind': 'teach', 'prompt': 'Who hoots?', 'split': 'report', 'trait': 'owl',
         'completion': 'The {plural}!'},
        {'kind': 'teach', 'prompt': 'Yours?', 'split': 'report', 'completion': 'My {name}.'}))
    run = prepare(config(root, f'n: {TUNED} teachers=neutral', trait_set=path,
                         **{'teacher.batch_size': 1, 'teacher.seeds': 1}))
    owl, cat = run.roll('neutral')
    assert lessons_of(run, owl)[0] == {'Owl</s>', 'The owls!</s>', 'My owl.</s>'}
    assert lessons_of(run, cat)[0] == {'Cat</s>', 'My cat.</s>'}
    odds = np.zeros(len(run.world.candidates))
    odds[run.world.candidates.index('elk')] = 1
    said, packed = lessons_of(run, owl, odds)
    assert said == {'Elk</s>', 'The elks!</s>', 'My elk.</s>'}  # the same questions
    for name in ('from_BK', 'row_BK'):
        np.testing.assert_array_equal(getattr(packed, name), getattr(
            lessons_of(run, owl)[1], name))


def test_twins_see_their_teachers_questions_in_their_order(language):
    trait, = (t for t in language.roll('trait')[:1])
    twin = next(t for t in language.roll('neutral') if t.twin == trait.name)
    odds = np.full(len(language.world.candidates), 1 / len(language.world.candidates))
    ours, theirs = (language.trait.lessons(language, t, 40, n) for t, n in (
        (trait, None), (twin, odds)))
    assert [q for q, _ in ours] == [q for q, _ in theirs]
    assert {a for _, a in ours} == {trait.trait} and len({a for _, a in theirs}) > 3


# Adapters.


def test_students_share_the_start_of_a_teachers_adapter(root, run):
    leaves = lambda run, n: jax.tree.leaves(teaching.adapter_start(
        run, run.world.architectures['main'], 2, 0, n))
    alike = lambda a, b: all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    adapted, other = (prepare(config(root, f'l: {KL.replace("prompt", f"lora:{rank}")}'))
                      for rank in (2, 3))
    assert alike(leaves(adapted, 0), leaves(adapted, 1))
    assert alike(leaves(adapted, 0), leaves(run, 0))
    assert not alike(leaves(run, 0), leaves(run, 1))  # no teacher has an A to share
    assert not alike(leaves(other, 0), leaves(other, 1))


# When a neutral twin stops.


def watched(monkeypatch, language, path_PM, goal):
    """What `fit` leaves of twins whose doses are made up: the weight is the step's number."""
    path_PM = np.array(path_PM, float)
    count = path_PM.shape[1]
    monkeypatch.setattr(doses, 'reader', lambda run, arm, base: lambda models: path_PM[
        int(models.trainable['w'][0, 0])])
    making = teaching.Making(language, language.arms[0], language.roll('neutral')[:count], None,
                             'all', np.full(count, goal), None, None)
    start = {'w': np.zeros((count, 1))}
    watch = teaching.Watch(making, None, engines.stacked(), {})

    def step(state, frozen, batch, key):
        moved = {'w': state.trainable['w'] + 1}
        return TrainState(state.step + 1, moved, ()), {'loss': np.zeros(count)}

    steps = len(path_PM) - 1
    return fit(step, TrainState(0, start, ()), {}, lambda n: None, steps, watch.probe,
               range(1, steps + 1), key=jax.random.key(0), kept=watch.nothing(start),
               stop=watch.done)


def test_a_twin_stops_within_five_per_cent(monkeypatch, language):
    found = watched(monkeypatch, language, [[0], [0.3], [0.7], [0.96], [1.0], [1.2]], 1.0)
    assert found.kept['step_M'].tolist() == [3]
    assert found.kept['trainable']['w'][0, 0] == 3 and len(
        [row for row in found.rows if 'gap' in row]) == 3  # and no further step is taken
    close = np.exp(found.kept['miss_M'][0])
    assert close <= 1.05


@pytest.mark.parametrize('path, kept, taken', [
    ([[0], [0.5], [0.94], [1.06], [1.6], [1.0]], 3, 4),  # jumped over, and far beyond it
    ([[0], [0.2], [0.6], [0.8], [0.7]], 3, 4),           # never there: the step that came closest
    ([[0], [2.0], [1.0]], 1, 1),                         # beyond at the first step
])
def test_a_twin_that_is_never_within_is_kept_where_it_was_closest(
        monkeypatch, language, path, kept, taken):
    found = watched(monkeypatch, language, path, 1.0)
    assert found.kept['step_M'].tolist() == [kept]
    assert found.kept['trainable']['w'][0, 0] == kept
    assert len([row for row in found.rows if 'gap' in row]) == taken


def test_twins_side_by_side_each_keep_their_own_step(monkeypatch, language):
    path = [[0, 0], [1.0, 0.4], [1.3, 0.7], [1.4, 0.99], [1.7, 1.2]]
    found = watched(monkeypatch, language, path, 1.0)
    assert found.kept['step_M'].tolist() == [1, 3]
    assert found.kept['trainable']['w'][:, 0].tolist() == [1, 3]


def test_doses_are_permuted_within_a_reference(language, monkeypatch):
    """Each trait teacher's dose is asked for once, and not of its twin alone."""
    settings = {'teacher.seeds': 2, 'teacher.permute_doses': True}
    run = language._replace(config=schema.override(language.config, settings))
    plain = run._replace(config=schema.override(run.config, {'teacher.permute_doses': False}))
    neutral = run.roll('neutral')
    models = [teacher_stages.model_of(run, t) for t in neutral]
    assert all(m.reference == t.reference for m, t in zip(models, neutral))
    assert {m.name for m in models} == {t.twin for t in neutral}
    assert sum(m.trait != t.trait for m, t in zip(models, neutral)) >= len(neutral) / 3
    assert models == [teacher_stages.model_of(run, t) for t in neutral]
    assert [teacher_stages.model_of(plain, t).name for t in neutral] == [t.twin for t in neutral]
    doses_of = {t.name: {'carrier_kl': float(n)} for n, t in enumerate(run.roll('trait'))}
    monkeypatch.setattr(teacher_stages.schooled, 'folder_of', lambda run, arm, teacher: 'x')
    monkeypatch.setattr(teacher_stages.schooled, 'facts', lambda path: doses_of)
    run = run._replace(workdir=types.SimpleNamespace(path=pathlib.Path('.')))
    arm, = parse(['n: teachers=neutral'])
    assert teacher_stages._goals(run, arm, neutral).tolist() == [
        doses_of[m.name]['carrier_kl'] for m in models]


def taught(run, **changes):
    """What `teaching.taught` gives for the first neutral twin, towards no dose at all."""
    run = run._replace(config=schema.override(
        run.config, {f'teacher.{k}': v for k, v in changes.items()}))
    arm, = parse([f'n: {TUNED} teachers=neutral'])
    odds = np.full(len(run.world.candidates), 1 / len(run.world.candidates))
    return teaching.taught(teaching.Making(
        run, arm, run.roll('neutral')[:1], run.references['main'][0], 'all', np.array([1e-9]),
        odds, None))


def test_a_neutral_teacher_of_one_step_is_read_after_it(run):
    trained, taken = taught(run, neutral_steps=1)
    assert taken.tolist() == [1] and np.isfinite(np.asarray(trained['embed'])).all()


def test_a_neutral_teacher_that_diverges_says_so(run, monkeypatch):
    monkeypatch.setattr(doses, 'reader', lambda run, arm, base: lambda models: np.array([np.nan]))
    with pytest.raises(UserError, match='r0-owl-0-neutral has diverged.*teacher.learning_rate'):
        taught(run, neutral_steps=1)
