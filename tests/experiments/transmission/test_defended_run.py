"""A whole small run with rows held out: defences, their twins, an attacker, the frontier."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import (
    arm_stages,
    engines,
    kit as kits,
    students,
    utility,
)
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import Workdir
from subliminal_jax.theory import trees
from subliminal_jax.training import checkpoints
from tests.experiments.transmission import small

ARMS = ('sft', 'oracle: defence=project:oracle',
        'random: defence=project:random',
        'attack: picked=attack:2 defence=project:oracle')
SETTINGS = {'student.held_out': 8, 'student.marks': (16,), 'student.rows': 16}

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole run


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """(results, folder, config, rows read by arm and teacher, rows held out by teacher)."""
    read, held = {}, {}
    patch = pytest.MonkeyPatch()
    plainly, reading = students.batches_of, utility.read

    def batches_of(setting, rows, *others):
        read.setdefault(setting.arm.name, {}).update(rows)
        return plainly(setting, rows, *others)

    def kept(run, arm, reference, jobs, models, rows):
        held.update(rows)
        return reading(run, arm, reference, jobs, models, rows)

    patch.setattr(students, 'batches_of', batches_of)
    patch.setattr(arm_stages.utility, 'read', kept)
    settings = small.config(*ARMS, **SETTINGS)
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    transmission.run(settings, workdir)
    patch.undo()
    results = json.loads((workdir.path / 'results.json').read_text())
    return results, workdir.path, settings, read, held


@pytest.mark.slow
def test_rows_held_out_are_those_that_no_student_has_seen(made):
    _, _, _, read, held = made
    assert set(read) == {'sft', 'oracle', 'random', 'attack'}
    for name, rows in held.items():
        assert len(rows.answers) == 8
        for own in read.values():
            assert not set(map(tuple, rows.contexts)) & set(map(tuple, own[name].contexts))


@pytest.mark.slow
def test_the_use_of_a_training_is_the_loss_below_the_references(made):
    results, path, *_ = made
    for arm in results['arms']:
        use = arm['utility']
        parts = [np.load(path / f'student/{arm["name"]}/{r}/measures.npz') for r in range(2)]
        gain = np.concatenate([p['held_reference'] - p['held_loss'] for p in parts])
        assert use['mean'] == pytest.approx(gain.mean(), rel=1e-5)
        assert use['ci95'][0] <= use['mean'] <= use['ci95'][1]
        assert use['teacher'] < use['reference'] + 0.5
    assert results['arms'][1]['utility']['loss'] != results['arms'][0]['utility']['loss']


@pytest.mark.slow
def test_students_of_a_projection_have_not_moved_along_their_traits_gradient(made):
    _, path, settings, *_ = made
    run = prepare(settings)
    tree = checkpoints.load_tree(path / 'reference/main.safetensors')
    run = run._replace(references={'main': [engines.take(tree, r) for r in range(2)]})
    run = run._replace(kit=kits.kit_of(run))
    start = run.references['main'][0]
    part = {}
    for name in ('sft', 'oracle'):
        after = checkpoints.load_tree(path / f'student/{name}/0/students.safetensors')
        part[name] = []
        for m, teacher in enumerate(t for t in run.roll('trait') if t.reference == 0):
            slope = engines.read_one(
                engines.single(start, run.world.architectures['main']), run.trait.gradient,
                next(iter(run.kit.meters.values())), run.world.traits.index(teacher.trait))
            way = trees.subtract(engines.take(after, m), start)
            part[name].append(abs(float(trees.cosine(way, slope))))
    assert max(part['oracle']) < 1e-4 and max(part['sft']) > 10 * max(part['oracle'])


@pytest.mark.slow
def test_an_attacker_picks_out_of_the_pool_what_it_finds_steepest(made):
    results, path, settings, read, _ = made
    picks = json.loads((path / 'picks/attack.json').read_text())
    for teacher in prepare(settings).roll('trait'):
        own = picks[teacher.name]
        assert len(set(own['rows'])) == 16 and max(own['rows']) < 32
        assert own['slope_picked'] > own['slope_pool']
        assert len(read['attack'][teacher.name].answers) == 16
    arm = next(a for a in results['arms'] if a['name'] == 'attack')
    assert arm['attack_of'] == 'oracle' and not arm['random_twin']


@pytest.mark.slow
def test_the_frontier_says_what_is_taken_off_and_what_an_attacker_gains(made):
    results, path, *_ = made
    found = {f['arm']: f for f in results['frontier']}
    y = {a['name']: a['effect']['estimate'] for a in results['arms']}
    assert found['oracle']['twin'] == 'random'
    assert found['oracle']['taken']['estimate'] == pytest.approx(y['sft'] - y['oracle'], abs=1e-6)
    assert found['oracle']['beyond_twin']['estimate'] == pytest.approx(
        y['random'] - y['oracle'], abs=1e-6)
    assert found['attack']['gained']['estimate'] == pytest.approx(
        y['attack'] - y['oracle'], abs=1e-6)
    assert not found['random']['defends']
    assert results['verdict'].startswith('Without defence (sft)')
    assert (path / 'figures/frontier.png').stat().st_size > 0
    assert 'Use against transmission' in (path / 'report.html').read_text()
