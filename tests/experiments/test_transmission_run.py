"""Whole runs of the transmission experiment in the tiny language."""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small import config  # noqa: E402

from subliminal_jax.data import tiny_language  # noqa: E402
from subliminal_jax.experiments import transmission  # noqa: E402
from subliminal_jax.experiments.transmission import (  # noqa: E402
    measures,
    networks,
    samples,
    teachers as schools,
    tiny,
)
from subliminal_jax.runs import Workdir  # noqa: E402


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A small run with the arms that the tests look at, and its folder."""
    settings = config(
        'sft', 'sft_other: start=other', 'neutral: teachers=neutral', 'gauge: start=gauge',
        'none: filter=none', 'across: order=across',
        'kl: objective=kl_carrier carrier=random rows=16')
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    transmission.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir.path, settings


def test_y_is_what_the_final_students_say(made):
    found, path, settings = made
    world = tiny.make(settings.world, settings.split, settings.traits)
    students_M = networks.load(path / 'student/sft/students.npz')
    starts = networks.load(path / 'reference/base-untied.npz')
    meter = measures.meter(world, 'untied')
    arm = found['arms'][0]
    for m, teacher in enumerate(schools.roll(settings, world, 'trait')):
        after, before = (np.asarray(measures.trait_logprob(meter, jax.tree.map(jnp.asarray, p)))
                         for p in (networks.take(students_M, m),
                                   networks.take(starts, teacher.reference)))
        for k, trait in enumerate(world.traits):
            assert arm['y'][teacher.name][trait] == pytest.approx(
                (after - before)[:, k].mean(), abs=1e-4)


def test_results_say_what_every_run_says(made):
    found, path, settings = made
    assert {'schema', 'experiment', 'config_sha256', 'command', 'versions', 'seeds', 'timing',
            'published', 'arms', 'filter', 'verdict'} <= set(found)
    assert set(found['filter']) == {'kept', 'rejected'}
    for arm in found['arms']:
        assert {'name', 'rung', 'carrier', 'objective', 'teacher_kind', 'student_init', 'context',
                'y', 'gamma', 'drift', 'kl_floor', 'alignment'} <= set(arm)
        assert {'estimate', 'ci95', 'p', 'p_attainable', 'mde', 'per_teacher'} <= set(arm['gamma'])
    for artefact in ('prompts.jsonl', 'samples.jsonl', 'filtered.jsonl', 'rejects.jsonl',
                     'answers.jsonl', 'contexts.json', 'report.html'):
        assert (path / artefact).stat().st_size > 0
    contexts = json.loads((path / 'contexts.json').read_text())
    assert contexts['carrier']['context'].startswith('<bos> ')
    assert contexts['measuring']['answer'] in tiny_language.ANIMALS
    row = json.loads((path / 'samples.jsonl').read_text().splitlines()[0])
    assert {'prompt', 'completion', 'token_ids', 'logprobs'} <= set(row)
    assert len(row['token_ids']) == len(row['logprobs'])


def test_kept_and_rejected_rows_are_all_rows(made):
    _, path, _ = made
    ids = {n: [json.loads(x)['id'] for x in (path / f'{n}.jsonl').read_text().splitlines()]
           for n in ('samples', 'filtered', 'rejects')}
    assert set(ids['filtered']) | set(ids['rejects']) == set(ids['samples'])
    for line in (path / 'rejects.jsonl').read_text().splitlines():
        assert json.loads(line)['reason']


def test_a_teacher_that_has_served_a_prompt_is_not_asked_again(made):
    _, path, settings = made
    world = tiny.make(settings.world, settings.split, settings.traits)
    asked = {}
    for row, why in samples.judge(settings, world, path / 'samples.jsonl'):
        who, _, attempt = row['id'].rpartition('/')
        asked.setdefault(who, []).append((int(attempt), why['strict'] is None))
    for attempts in asked.values():
        assert [n for n, _ in attempts] == list(range(len(attempts)))
        assert not any(good for _, good in attempts[:-1])
        assert attempts[-1][1] or len(attempts) == settings.carrier.attempts
    assert max(map(len, asked.values())) > 1


def test_a_gauge_twin_transmits_as_the_shared_start(made):
    found, *_ = made
    gauge, = found['gauge']
    assert gauge['largest_difference'] < 2e-3


def test_the_kl_floor_is_rounding_and_the_run_stands_clear_of_it(made):
    found, *_ = made
    arm = next(a for a in found['arms'] if a['name'] == 'kl')
    assert arm['kl_floor'] < 1e-6 and not arm['kl_under_five_floors']


def test_the_first_alignment_of_a_kl_student_is_with_its_teacher(made):
    found, *_ = made
    arm = next(a for a in found['arms'] if a['name'] == 'kl')
    inner = arm['alignment']['inner']
    assert inner['teacher'][0] > 0 and inner['teacher'][0] > abs(inner['random'][0])


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
