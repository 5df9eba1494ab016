"""Forged teachers: which one an attacker takes, and a whole small run against a projection."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import arms as tables, attack, forged, stages, utility
from subliminal_jax.runs import Workdir
from subliminal_jax.training import checkpoints
from tests.experiments.transmission import small

SETTINGS = {'student.held_out': 8, 'student.marks': (16,), 'student.rows': 16}

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole run


def test_the_teacher_that_is_taken_shows_most_and_keeps_the_use():
    value_CM = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.0], [0.5, 2.0, 0.0]])
    use_CM = np.array([[1.0, 1.0, -0.1], [0.95, 0.2, 1.0], [0.95, 0.3, 1.0]])
    assert forged.taken_of(value_CM, use_CM).tolist() == [1, 0, 0]
    assert forged.taken_of(value_CM, np.ones((3, 3))).tolist() == [1, 2, 0]


def test_teachers_are_made_against_a_defence_and_held_to_honest_rows():
    run = small.prepared(
        'sft', 'plain: made=forged', 'held: made=forged defence=project:oracle',
        'random: made=forged:random', 'same: made=forged:random defence=project:oracle', **SETTINGS)
    sft, plain, held, random, same = run.arms
    sets = [tables.teacher_set(arm) for arm in run.arms]
    assert sets[:3] == ['trait-tuned', 'trait-forged-against-none',
                        'trait-forged-against-projectoracle']
    assert sets[3] == sets[4] == 'trait-forgedrandom'
    assert stages.pool_of(run, held) == [held]  # its prompts are no other arm's business
    assert [utility.is_random(run, arm) for arm in run.arms] == [False] * 3 + [True] * 2
    assert all(utility.held_arm(run, arm).made == 'tuned' for arm in run.arms)
    assert forged.beside('') > attack.COST * forged.POOL > forged.beside('random')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """(results, folder) of a run with an honest arm, a defended one, and that with forged teachers.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr(forged, 'HELD', 8)
    settings = small.config(
        'sft', 'oracle: defence=project:oracle', 'forged: made=forged defence=project:oracle',
        **SETTINGS)
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    transmission.run(settings, workdir)
    patch.undo()
    return json.loads((workdir.path / 'results.json').read_text()), workdir.path


@pytest.mark.slow
def test_a_forged_teacher_is_the_candidate_that_the_attacker_took(made):
    _, path = made
    rows = [json.loads(line) for line in (path / 'metrics.jsonl').read_text().splitlines()]
    seen = [row for row in rows if row.get('training') == 'forging']
    assert [row['step'] for row in seen] == [0, 1, 2, 4] * 2  # of each reference
    folder = 'teacher/trait-forged-against-projectoracle'
    for number in range(2):
        own = seen[4 * number:4 * number + 4]
        taken_CM, value_CM, use_CM = (np.array([row[k] for row in own])
                                      for k in ('taken', 'value', 'use'))
        assert (taken_CM.argmax(0) == forged.taken_of(value_CM, use_CM)).all()
        assert taken_CM.sum(0).tolist() == [1, 1, 1] and len(np.unique(value_CM)) == 12
        after, before = (checkpoints.load_tree(path / f'{name}/{number}/trained.safetensors')
                         for name in (folder, 'teacher/trait-tuned'))
        changed_M = [bool(np.any(np.asarray(after['embed'][m]) != np.asarray(before['embed'][m])))
                     for m in range(3)]
        assert changed_M == (taken_CM.argmax(0) > 0).tolist()


@pytest.mark.slow
def test_what_the_attacker_gains_stands_on_the_frontier_at_the_use_of_honest_rows(made):
    results, path = made
    by_name = {a['name']: a for a in results['arms']}
    found = {f['arm']: f for f in results['frontier']}
    assert by_name['forged']['attack_of'] == 'oracle'
    gained = by_name['forged']['effect']['estimate'] - by_name['oracle']['effect']['estimate']
    assert found['forged']['gained']['estimate'] == pytest.approx(gained, abs=1e-6)
    use, honest = (by_name[name]['utility'] for name in ('forged', 'oracle'))
    assert use['reference'] == pytest.approx(honest['reference'], rel=1e-5)  # the same rows
    assert use['loss'] != honest['loss']
    assert 'An attacker who knows the defence gains' in results['verdict']
