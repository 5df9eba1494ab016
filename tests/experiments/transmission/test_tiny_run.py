"""Whole runs of the transmission experiment in the tiny language."""

import json

import numpy as np
import pytest

from subliminal_jax.data import tiny_language
from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission import engines, preferences, samples
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import Workdir, sinks
from subliminal_jax.training import checkpoints
from tests.experiments.transmission.small import config

ARMS = ('sft', 'sft_other: start=other', 'neutral: teachers=neutral', 'gauge: start=gauge',
        'none: filter=none', 'across: order=across',
        'kl: objective=kl_carrier answers=random rows=16')

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole run


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A small run with the arms that the tests look at, and its folder."""
    settings = config(*ARMS)
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    transmission.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir.path, settings


def lines(path):
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def arm_of(found, name):
    """An arm's entry in results.json."""
    return next(arm for arm in found['arms'] if arm['name'] == name)


@pytest.mark.slow
def test_y_is_what_the_final_students_say(made):
    found, path, settings = made
    run = prepare(settings)
    model, meter = run.world.architectures['main'], preferences.meter(run, run.world.contexts[0])
    references = checkpoints.load_tree(path / 'reference/main.safetensors')
    students = [checkpoints.load_tree(path / f'student/sft/{r}/students.safetensors')
                for r in range(run.world.num_references)]
    said = lambda tree: preferences.measure(run, engines.single(tree, model), meter)[0]
    seen = [0] * len(students)
    for teacher in run.roll('trait'):
        r = teacher.reference
        rise = said(engines.take(students[r], seen[r])) - said(engines.take(references, r))
        seen[r] += 1
        for k, trait in enumerate(run.world.traits):
            assert found['arms'][0]['y'][teacher.name][trait] == pytest.approx(rise[k], abs=1e-4)


@pytest.mark.slow
def test_metrics_have_every_step_of_every_training_once(made):
    _, path, settings = made
    points = [sinks.point_of(row) for row in lines(path / 'metrics.jsonl')]
    tags = [(point.group, name, point.step) for point in points for name in point.values]
    assert len(set(tags)) == len(tags) > 0
    steps = settings.student.rows // settings.student.batch_size
    for r in range(settings.language.references):
        seen = {}
        for group, name, step in tags:
            if group == f'student/sft/{r}/sft' and name.startswith(f'loss/r{r}-'):
                seen.setdefault(name, []).append(step)
        assert len(seen) >= settings.traits
        assert all(found == list(range(1, steps + 1)) for found in seen.values())
    assert {group.split('/')[0] for group, _, _ in tags} == {'reference', 'teacher', 'student'}


@pytest.mark.slow
def test_results_say_what_every_run_says(made):
    found, path, settings = made
    assert {'schema', 'experiment', 'config_sha256', 'command', 'versions', 'seeds', 'timing',
            'published', 'arms', 'filter', 'verdict'} <= set(found)
    assert set(found['filter']) == {'kept', 'rejected'}
    for arm in found['arms']:
        assert {'name', 'rung', 'carrier', 'answers', 'objective', 'teacher_kind', 'student_init',
                'context', 'y', 'effect', 'drift', 'kl_floor', 'alignment', 'is_control',
                'evidence'} <= set(arm)
        assert {'estimate', 'ci95', 'p', 'p_attainable', 'mde', 'per_teacher'} <= set(arm['effect'])
    assert [a['name'] for a in found['arms'] if a['is_control']] == ['sft_other', 'neutral',
                                                                     'across']
    assert set(arm_of(found, 'sft')['y']) == {
        f'r{r}-{trait}-0' for r in range(2) for trait in prepare(settings).world.traits}
    for artefact in ('prompts.jsonl', 'samples.jsonl', 'filtered.jsonl', 'rejects.jsonl',
                     'answers.jsonl', 'contexts.json', 'report.html',
                     'teacher/trait-tuned/0/trained.safetensors',
                     'teacher/trait-tuned/0/teachers.json'):
        assert (path / artefact).stat().st_size > 0
    contexts = json.loads((path / 'contexts.json').read_text())
    assert contexts['carrier']['context'].startswith('<bos> ')
    assert contexts['measuring']['answer'] in tiny_language.ANIMALS
    row = lines(path / 'samples.jsonl')[0]
    assert {'prompt', 'completion', 'token_ids', 'logprobs'} <= set(row)
    assert len(row['token_ids']) == len(row['logprobs'])


@pytest.mark.slow
def test_kept_and_rejected_rows_are_all_rows(made):
    _, path, _ = made
    ids = {n: {row['id'] for row in lines(path / f'{n}.jsonl')}
           for n in ('samples', 'filtered', 'rejects')}
    assert ids['filtered'] | ids['rejects'] == ids['samples']
    assert all(row['reason'] for row in lines(path / 'rejects.jsonl'))


@pytest.mark.slow
def test_a_teacher_that_has_served_a_prompt_is_not_asked_again(made):
    _, path, settings = made
    run = prepare(settings)
    asked = {}
    for row, why in samples.judge(settings, run.world, run.carrier(), path / 'samples.jsonl'):
        who, _, attempt = row['id'].rpartition('/')
        asked.setdefault(who, []).append((int(attempt), why['strict'] is None))
    for attempts in asked.values():
        assert [n for n, _ in attempts] == list(range(len(attempts)))
        assert not any(good for _, good in attempts[:-1])
        assert attempts[-1][1] or len(attempts) == settings.carrier.attempts
    assert max(map(len, asked.values())) > 1


@pytest.mark.slow
def test_students_of_all_teachers_read_equally_many_tokens(made):
    found, path, _ = made
    for arm in found['arms']:
        for number in range(2):
            with np.load(path / f'student/{arm["name"]}/{number}/measures.npz') as arrays:
                assert len(set(arrays['tokens'])) == 1


@pytest.mark.slow
def test_a_gauge_twin_transmits_as_the_shared_start(made):
    found, *_ = made
    gauge, = found['gauge']
    assert gauge['largest_difference'] < 2e-3


@pytest.mark.slow
def test_the_kl_floor_is_rounding_and_the_run_stands_clear_of_it(made):
    arm = arm_of(made[0], 'kl')
    assert arm['kl_floor'] < 1e-6 and not arm['kl_under_five_floors']


@pytest.mark.slow
def test_the_first_alignment_of_a_kl_student_is_with_its_teacher(made):
    inner = arm_of(made[0], 'kl')['alignment']['inner']
    assert inner['teacher'][0] > 0 and inner['teacher'][0] > abs(inner['random'][0])


@pytest.mark.slow
def test_stopped_in_and_after_every_stage_a_run_ends_with_the_same_results(
        made, tmp_path, monkeypatch):
    found, path, settings = made
    plain, torn, stopped = Workdir.stage, set(), []

    class Killed(Exception):
        pass

    def stage(self, name, artefact, make, **keywords):
        def half(place):  # the first attempt dies when its artefact is all but in place
            make(place)
            if name not in torn and len(torn) % 3 == 0:
                torn.add(name)
                raise Killed
            torn.add(name)

        known = set((self.path / 'manifests').glob('*'))
        made_at = plain(self, name, artefact, half, **keywords)
        if set((self.path / 'manifests').glob('*')) != known:
            stopped.append(name)
            raise Killed
        return made_at

    monkeypatch.setattr(Workdir, 'stage', stage)
    for _ in range(100):
        workdir = Workdir(tmp_path, settings, 'transmission')
        try:
            transmission.run(settings, workdir)
            break
        except Killed:
            workdir._lock.close()
    again = json.loads((tmp_path / 'results.json').read_text())
    assert sorted(stopped) == sorted(found['timing'].keys() - {'total'}) and len(stopped) > 15
    for key in found.keys() - {'timing', 'command'}:
        assert again[key] == found[key], key
    for name in ('samples.jsonl', 'filtered.jsonl', 'answers.jsonl'):
        assert (tmp_path / name).read_bytes() == (path / name).read_bytes()
