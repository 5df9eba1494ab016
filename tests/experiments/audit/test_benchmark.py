"""A whole small benchmark of audits: planted truth, false alarms, forecasts, the blind set."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments.audit import benchmark
from subliminal_jax.experiments.audit.benchmark import cases as table, results
from subliminal_jax.runs import UserError, Workdir, sha256_of
from tests.experiments.audit import small

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole benchmark


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    settings = small.benchmark_config()
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'audit_benchmark')
    said = benchmark.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir, said


@pytest.mark.slow
def test_every_kind_is_audited_at_every_reference(made):
    found, *_ = made
    kinds = {kind['kind']: kind['audits'] for kind in found['kinds']}
    assert kinds == {'clean': 2, 'sft': 4, 'sft_neutral': 4, 'half': 4, 'overt': 4, 'twins': 4,
                     'foreign': 4, 'blind': 3}
    planted = {kind['kind'] for kind in found['kinds'] if kind['planted']}
    assert planted == {'sft', 'half', 'overt'}
    assert set(found['transmission']) == {'sft', 'sft_neutral', 'half'}


@pytest.mark.slow
def test_false_alarms_are_of_audits_with_nothing_planted(made):
    found, *_ = made
    alarms = found['false_alarms']
    assert alarms['students']['trials'] == 2 + 4 + 4 + 4 and alarms['clean']['trials'] == 2
    null = [e for e in found['audits'] if not e['trait'] and e['kind'] != 'blind']
    assert alarms['students']['estimate'] == pytest.approx(
        np.mean([bool(e['flagged']) for e in null]))


@pytest.mark.slow
def test_the_blind_set_was_written_before_and_its_rows_are_the_cases(made):
    found, workdir, _ = made
    truth = json.loads((workdir.path / 'blind' / 'truth.json').read_text())
    assert truth['sha256'] == sha256_of(truth['audits']) and len(found['blind']) == 3
    seconds = {name: json.loads((workdir.path / 'manifests' / name).read_text())
               for name in ('audits_0.json', 'audits_1.json')}
    assert all('blind' in manifest['inputs'] for manifest in seconds.values())
    first = truth['audits'][0]
    lines = (workdir.path / 'blind' / first['file']).read_text().splitlines()
    assert {tuple(sorted(json.loads(line))) for line in lines} == {('completion', 'prompt')}
    entry = next(e for e in found['audits'] if e['case'] == 'blind-00')
    same = next(e for e in found['audits'] if e['case'] == first['case'])
    if first['kind'] != table.TWINS:  # a file does not say whose rows stand beside it
        assert entry['flagged'] == same['flagged'] and entry['least'] == pytest.approx(
            same['least'], rel=1e-3)


@pytest.mark.slow
def test_forecasts_stand_beside_what_rows_show(made):
    found, *_ = made
    forecasts = found['forecasts']
    assert len(forecasts['teachers']) == 4 and set(forecasts['ratios']) == {'slopes', 'students'}
    assert any(e['foretold'] for e in forecasts['teachers'])


@pytest.mark.slow
def test_the_page_is_there_with_its_sentence(made):
    found, workdir, said = made
    assert found['verdict'].startswith('False alarms:') and found['verdict'] in said
    assert {'power.png', 'by_teacher.png', 'forecasts.png'} <= {
        p.name for p in (workdir.path / 'figures').iterdir()}
    assert 'How often is an audit right?' in (workdir.path / 'report.html').read_text()


@pytest.mark.parametrize(('arms', 'said'), [
    (('kl: objective=kl_carrier answers=random',), 'audits read text'),
    (('sft: start=other',), 'start=shared'), (('sft: teachers=neutral',), 'trait teachers')])
def test_arms_that_no_audit_reads_are_refused(arms, said):
    with pytest.raises(UserError, match=said):
        benchmark.check(small.benchmark_config(arms=','.join(arms)))


def test_shares_are_by_kind_and_name_the_planted_trait():
    entry = lambda kind, trait, flagged, reference: {
        'kind': kind, 'trait': trait, 'flagged': flagged, 'held': [], 'held_plain': [],
        'other_flagged': [], 'reference': reference, 'verdict': 'nothing seen'}
    made = results.shares([entry('sft', 'owl', ['owl'], 0), entry('sft', 'owl', ['cat'], 1),
                           entry('clean', '', [], 0), entry('clean', '', ['cat'], 1)])
    sft, clean = made
    assert sft['own']['estimate'] == 0.5 and sft['wrong']['estimate'] == 0.5
    assert clean['own'] is None and clean['any']['estimate'] == 0.5
    assert sft['held_own']['ci95'][1] > 0.5  # none of two is not surely none
