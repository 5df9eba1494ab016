"""A run's folder: whole artefacts, skipped stages, refusals, the lock, metrics, results."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from subliminal_jax.runs import UserError, Workdir, app, spec, to_dict, write_json, written_aside


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = spec(0, doc='root')
    rate: float = spec(0.5, doc='rate')
    patient: bool = spec(False, changes_nothing=True, doc='goes on where another stops')


def opened(path, **changes):
    return Workdir(path, Config(**changes), 'test')


def reopened(workdir, **changes):
    """The same folder, as another process would find it."""
    workdir._lock.close()
    return opened(workdir.path, **changes)


def write(text):
    return lambda path: path.write_text(text)


def never(path):
    raise AssertionError('a complete stage ran again')


def test_a_stage_runs_once_and_its_manifest_says_what_it_read(tmp_path):
    workdir = opened(tmp_path)
    (tmp_path / 'source.txt').write_text('in')
    place = workdir.stage('one', 'a/one.txt', write('out'), reads={'seed': 0},
                          inputs=['source.txt'])
    assert place.read_text() == 'out'
    manifest = json.loads((tmp_path / 'manifests' / 'one.json').read_text())
    assert manifest['reads'] == {'seed': 0} and manifest['versions']['jax']
    assert set(manifest['inputs']) == {'source.txt'} and len(manifest['sha256']) == 64
    again = reopened(workdir)
    assert again.stage('one', 'a/one.txt', never, reads={'seed': 0},
                       inputs=['source.txt']) == place
    assert again.timing['one'] == manifest['seconds']


def test_a_folder_is_an_artefact_too(tmp_path):
    def make(path):
        path.mkdir()
        (path / 'inner.txt').write_text('x')

    workdir = opened(tmp_path)
    workdir.stage('folder', 'out', make)
    workdir = reopened(workdir)
    workdir.stage('folder', 'out', never)
    (tmp_path / 'out' / 'inner.txt').write_text('y')
    with pytest.raises(UserError, match='its artefact out has changed'):
        workdir.stage('folder', 'out', never)


def test_what_fails_half_way_leaves_no_artefact_and_runs_again(tmp_path):
    def half(path):
        path.write_text('half')
        raise KeyboardInterrupt

    workdir = opened(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        workdir.stage('one', 'one.txt', half)
    assert not (tmp_path / 'one.txt').exists()
    workdir = reopened(workdir)
    assert workdir.stage('one', 'one.txt', write('whole')).read_text() == 'whole'
    assert not list(tmp_path.glob('.*partial'))


@pytest.mark.parametrize('change, named', [
    ({'reads': {'seed': 1}}, 'config.seed has changed'),
    ({'reads': {'seed': 0, 'rate': 2}}, 'config.rate has changed'),
    ({'source': 'other'}, 'source.txt has changed'),
    ({'artefact': 'other'}, 'its artefact one.txt has changed'),
    ({'artefact': None}, 'its artefact one.txt has changed'),
])
def test_what_a_finished_stage_read_must_not_change(tmp_path, change, named):
    workdir = opened(tmp_path)
    source, place = tmp_path / 'source.txt', tmp_path / 'one.txt'
    source.write_text('in')
    workdir.stage('one', 'one.txt', write('out'), reads={'seed': 0}, inputs=['source.txt'])
    if 'source' in change:
        source.write_text(change['source'])
    if 'artefact' in change and change['artefact']:
        place.write_text(change['artefact'])
    elif 'artefact' in change:
        place.unlink()
    with pytest.raises(UserError, match=named) as error:
        workdir.stage('one', 'one.txt', never, reads=change.get('reads', {'seed': 0}),
                      inputs=['source.txt'])
    assert '\n' not in str(error.value) and 'another --workdir' in str(error.value)


def test_a_folder_belongs_to_one_config(tmp_path):
    workdir = opened(tmp_path)
    with pytest.raises(UserError, match='another config: rate is 0.5 there and 0.7 here'):
        reopened(workdir, rate=0.7)
    workdir = reopened(workdir, patient=True)  # no artefact depends on it: an error may name it
    assert json.loads((tmp_path / 'config.json').read_text())['patient'] is True
    with pytest.raises(UserError, match='another config: rate'):
        reopened(workdir, rate=0.7)
    (tmp_path / 'config.json').write_text('{"expe')
    with pytest.raises(UserError, match='config.json is damaged'):
        opened(tmp_path)


def test_a_folder_in_use_is_refused_and_a_killed_run_frees_it(tmp_path):
    code = ('import sys, time; from subliminal_jax.runs.workdir import locked; import pathlib; '
            'lock = locked(pathlib.Path(sys.argv[1])); print("held", flush=True); time.sleep(60)')
    holder = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], stdout=subprocess.PIPE,
                              text=True)
    try:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(UserError, match='in use by a run that is alive'):
            opened(tmp_path)
    finally:
        holder.kill()
        holder.wait()
    opened(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='--workdir=.* cannot be written'):
        opened(tmp_path / 'file' / 'inner')


def test_metrics_of_an_interrupted_stage_are_forgotten_with_a_torn_line(tmp_path):
    workdir = opened(tmp_path)

    def make(path, fail=False):
        for step in range(3):
            workdir.log(step=step, loss=math.nan)
        if fail:
            raise KeyboardInterrupt
        path.write_text('')

    workdir.stage('first', 'first', make)
    with pytest.raises(KeyboardInterrupt):
        workdir.stage('second', 'second', lambda path: make(path, fail=True))
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"stage": "second", "st')
    workdir = reopened(workdir)
    workdir.stage('second', 'second', make)
    assert [(row['stage'], row['step']) for row in workdir.metrics()] == [
        (stage, step) for stage in ('first', 'second') for step in range(3)]
    assert all(row['loss'] is None for row in workdir.metrics())


def test_results_have_what_every_run_tells_and_no_nan(tmp_path):
    workdir = opened(tmp_path)
    workdir.stage('one', 'one', write(''))
    body = {'value': np.float32(math.inf), 'list': np.arange(2), 'pair': (1, math.nan)}
    workdir.write_results(body, seeds={'root': 0}, published={})
    results = json.loads((tmp_path / 'results.json').read_text())
    assert list(results)[:8] == ['schema', 'experiment', 'config_sha256', 'command', 'versions',
                                 'seeds', 'timing', 'published']
    assert results['value'] is None and results['list'] == [0, 1] and results['pair'] == [1, None]
    assert set(results['timing']) == {'one', 'total'}
    assert json.loads((tmp_path / 'config.json').read_text()) == {
        'experiment': 'test', **to_dict(Config())}


def test_a_stop_is_heeded_between_stages_and_nothing_is_lost(tmp_path, monkeypatch):
    workdir = opened(tmp_path)

    def asked(path):
        path.write_text('done')
        app._on_sigterm(None, None)

    monkeypatch.setitem(app._STOP, 'asked', False)
    with pytest.raises(app.Preempted):
        workdir.stage('one', 'one', asked)
    monkeypatch.setitem(app._STOP, 'asked', False)
    assert reopened(workdir).stage('one', 'one', never).read_text() == 'done'


def test_files_appear_whole_or_not_at_all(tmp_path):
    place = tmp_path / 'deep' / 'value.json'
    write_json(place, {'a': 1})
    with pytest.raises(ZeroDivisionError), written_aside(place) as aside:
        aside.write_text('half')
        raise ZeroDivisionError
    assert json.loads(place.read_text()) == {'a': 1}
    with written_aside(tmp_path / 'folder') as aside:
        aside.mkdir()
        (aside / 'x').write_text('1')
    with written_aside(tmp_path / 'folder', ours=True) as aside:
        aside.mkdir()
        (aside / 'y').write_text('2')
    assert os.listdir(tmp_path / 'folder') == ['y']


@pytest.mark.parametrize('old, said', [
    ({'experiment': 'transmission_weights', 'seed': 0, 'rate': 0.5},
     'its experiment is transmission_weights, and test is asked for'),
    ({'experiment': 'test', 'seed': 0, 'patient': False}, 'config.rate is known here alone'),
    ({'experiment': 'test', 'seed': 0, 'rate': 0.5, 'patient': False, 'world': {'steps': 3}},
     'config.world is known there alone'),
])
def test_a_folder_of_another_version_is_refused_by_name(tmp_path, old, said):
    (tmp_path / 'config.json').write_text(json.dumps(old))
    with pytest.raises(UserError, match='made by another version') as error:
        opened(tmp_path)
    assert said in str(error.value) and 'use another --workdir' in str(error.value)
    assert json.loads((tmp_path / 'config.json').read_text()) == old  # nothing is lost
