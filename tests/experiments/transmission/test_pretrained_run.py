"""Whole runs of transmission on pretrained weights, on a tiny random checkpoint."""

import json

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission.worlds import pretrained
from subliminal_jax.runs import Preempted, UserError, Workdir, schema
from tests.experiments.transmission.checkpoint import KL, TUNED, config

ARMS = (f'p: {KL}', f't: {TUNED}', f'tn: {TUNED} teachers=neutral', f'g: {TUNED} start=gauge',
        f'z: {TUNED} start=noise:0.1', f'zo: {TUNED} start=noise:0.1 own=true',
        f'l: {KL.replace("prompt", "lora:2")}')

# The first test waits for the whole run. test_prepared.py and test_worlds.py have quicker ones.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope='module')
def made(root, tmp_path_factory):
    """A small run and its folder."""
    settings = config(root, *ARMS)
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'transmission')
    transmission.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir.path, settings


def test_results_have_what_the_page_needs(made):
    found, path, settings = made
    for arm in found['arms']:
        assert {'name', 'rung', 'carrier', 'answers', 'objective', 'teacher_kind', 'student_init',
                'context', 'y', 'effect', 'drift', 'kl_floor', 'alignment', 'contexts',
                'is_control', 'evidence'} <= set(arm)
        assert set(arm['contexts']) == set(settings.context.measured)
        assert arm['kl_floor'] < 1e-6 < arm['kl_start'] and arm['kl_end'] > 0
        assert len(arm['choice']['options']) == 5 and 0 < arm['choice']['after'] < 1
        assert set(arm['y']) == {f'r0-{t}-{n}{"-neutral" * (arm["name"] == "tn")}'
                                 for t in ('owl', 'cat') for n in range(2)}
    assert 'Choice of a given few' in (path / 'report.html').read_text()
    for name in ('contexts.json', 'prompts.jsonl', 'samples.jsonl', 'answers.jsonl', 'report.html',
                 'rejects.jsonl', 'filtered.jsonl', 'teacher/trait-tuned/r0-owl-0/teachers.json'):
        assert (path / name).exists()
    assert found['disturbed'][0]['start'] == 'noise:0.1' and found['disturbed'][0]['distance'] > 0


def test_a_prompted_teacher_has_no_displacement(made):
    found, path, _ = made
    prompted, tuned, *_, adapted = (a['alignment']['cosine'] for a in found['arms'])
    assert set(prompted) == {'random', 'trait_gradient'}
    assert set(tuned) == {'teacher', 'placebo', 'neutral', 'random', 'trait_gradient'}
    assert tuned['teacher'][0] > abs(tuned['random'][0])
    assert set(adapted) == {'teacher', 'placebo', 'random', 'trait_gradient'}  # and has no twin
    assert adapted['teacher'][0] > abs(adapted['random'][0])
    assert not list(path.glob('teacher/trait-prompt/*/trained.safetensors'))


def test_a_gauge_twin_transmits_as_the_shared_start(made):
    found, *_ = made
    assert found['gauge'][0]['largest_difference'] < 2e-4
    shared, twin = (next(a for a in found['arms'] if a['name'] == n)['alignment']['cosine']
                    for n in 'tg')
    for direction in ('teacher', 'placebo', 'neutral'):
        assert twin[direction] == pytest.approx(shared[direction], rel=1e-2, abs=1e-5)


def test_contexts_are_written_out(made):
    _, path, _ = made
    found = json.loads((path / 'contexts.json').read_text())
    assert 'be kind' in found["students' rows"]['context']
    assert 'Love owls.' in found['prompted teacher owl']
    assert found['measured in raw/numbers'].startswith('Question: Have a look')


def test_anothers_logits_serve_the_same_run_and_no_other(made, root, tmp_path):
    _, path, _ = made
    again = config(root, f'p: {KL}', **{'carrier.targets': str(path / 'targets')})
    transmission.run(again, Workdir(tmp_path / 'a', again, 'transmission'))
    name = 'trait-prompt-random-8-set.npz'
    assert (tmp_path / 'a/targets' / name).exists()
    other = schema.override(again, {'model.name': str(root / 'other')})
    with pytest.raises(UserError, match='another model'):
        transmission.run(other, Workdir(tmp_path / 'b', other, 'transmission'))


class _Stopping(Workdir):
    """Stops after each new stage."""

    def stage(self, name, artefact, make, **others):
        new = not (self.path / 'manifests' / f'{name.replace("/", "_")}.json').exists()
        place = super().stage(name, artefact, make, **others)
        if new:
            raise Preempted
        return place


def test_interrupted_at_every_stage_it_ends_with_the_same_numbers(made, root, tmp_path):
    found, *_ = made
    settings, stops, done = config(root, *ARMS[:2]), 0, False
    workdir = _Stopping(tmp_path / 'run', settings, 'transmission')
    while not done:
        try:
            transmission.run(settings, workdir)
            done = True
        except Preempted:
            stops += 1
    assert stops > 15
    again = json.loads((workdir.path / 'results.json').read_text())
    for name in ('y', 'effect', 'drift', 'kl_start'):
        assert [a[name] for a in again['arms']] == [a[name] for a in found['arms'][:2]]


@pytest.fixture
def uncached():
    """No compilation cache: XLA's CPU client has crashed on reading a program for several devices
    back from it."""
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()
    yield
    jax.config.update('jax_enable_compilation_cache', True)
    compilation_cache.reset_cache()


def test_devices_that_share_the_weights_end_with_the_same_numbers(made, root, tmp_path, uncached):
    found, *_ = made
    settings = config(root, *ARMS[:3], f'm: {TUNED} start=moved:2', **{'model.devices': 4})
    workdir = Workdir(tmp_path / 'run', settings, 'transmission')
    transmission.run(settings, workdir)
    again = json.loads((workdir.path / 'results.json').read_text())
    for one, other in zip(again['arms'], found['arms'][:3]):
        for teacher, row in one['y'].items():
            assert row == pytest.approx(other['y'][teacher], abs=2e-3)


def test_weights_are_cut_over_devices(root):
    placed = pretrained.load(config(root, **{'model.devices': 4})).params['layers']['up'].sharding
    assert len(placed.device_set) == 4 and not placed.is_fully_replicated
    with pytest.raises(UserError, match='devices=9'):
        pretrained.load(config(root, **{'model.devices': 9}))
