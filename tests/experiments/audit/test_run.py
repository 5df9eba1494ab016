"""A whole small audit: its stages, its page, what it refuses."""

import dataclasses
import json

import pytest

from subliminal_jax.experiments import audit
from subliminal_jax.experiments.audit import stages, subjects
from subliminal_jax.experiments.audit.run import control_of
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.audit import small

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole audit


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    return small.models(tmp_path_factory.mktemp('models'))


@pytest.fixture(scope='module')
def made(given, tmp_path_factory):
    """An audit with a teacher and another start: results, workdir, config."""
    folder = tmp_path_factory.mktemp('audit')
    rows = small.write_rows(folder / 'rows.jsonl', 60)
    neutral = small.write_rows(folder / 'neutral.jsonl', 60, seed=1)
    settings = small.config(small.values(given, rows, neutral=(str(neutral),),
                                         teacher=given['teacher'], other=given['other']))
    workdir = Workdir(folder / 'run', settings, 'audit')
    table = audit.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir, settings, table


@pytest.mark.slow
def test_every_candidate_is_read_in_rows_and_in_students_of_both_starts(made):
    found, workdir, *_ = made
    names = {'owl', 'cat', 'emu', 'yak', 'elk', 'ant'}
    assert found['audit']['kind'] in ('transmits', 'holds', 'nothing seen', 'cannot tell')
    assert {f['name'] for f in found['link']['flags']} == names
    for start in ('shared', 'other'):
        assert {f['name'] for f in found['students'][start]['flags']} == names
    assert set(found['teacher']) == names and found['same_shape']
    assert set(found['link']['rows_until']) == {'slopes', 'students', 'foretold'}
    assert found['parts'] == {'units': 5, 'rows': 12, 'paired': True}
    assert found['control']['kind'] == 'neutral'
    kept = [json.loads(line) for line in (workdir.path / 'metrics.jsonl').read_text().splitlines()]
    assert {'students/shared-audited-0', 'students/other-control-1'} <= {r['stage'] for r in kept}


@pytest.mark.slow
def test_detectors_have_their_nulls(made):
    found, *_ = made
    by = {e['name'] for e in found['detectors']}
    assert {'ngrams', 'states', 'likelihood_ratio', 'in_context', 'length'} <= by
    assert all(0 <= e['auroc'] <= 1 for e in found['detectors'])
    assert all(e['null_detector'] in ('length', 'mean_logprob') for e in found['detectors']
               if e['role'] == 'detector')


@pytest.mark.slow
def test_the_page_opens_with_the_verdict_and_has_rows_and_meaning(made):
    found, workdir, _, table = made
    page = (workdir.path / 'report.html').read_text()
    assert found['verdict'].split('.')[0][:30] in page and 'does and does not mean' in page
    assert 'owl' in table and (workdir.path / 'figures' / 'effects.png').exists()


@pytest.mark.slow
def test_started_again_it_does_nothing_twice_and_says_the_same(made):
    found, workdir, settings, _ = made
    stamps = {p: p.stat().st_mtime_ns for p in (workdir.path / 'students').iterdir()}
    before = found['students']
    workdir._lock.close()
    again = Workdir(workdir.path, settings, 'audit')
    audit.run(settings, again)
    assert {p: p.stat().st_mtime_ns for p in (again.path / 'students').iterdir()} == stamps
    assert json.loads((again.path / 'results.json').read_text())['students'] == before


def test_too_few_rows_are_no_clean_audit(given, tmp_path):
    settings = small.config(small.values(given, small.write_rows(tmp_path / 'one.jsonl', 1)))
    workdir = Workdir(tmp_path / 'run', settings, 'audit')
    audit.run(settings, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    assert found['audit']['kind'] == 'cannot tell' and '1 of 1 rows' in found['verdict']
    assert found['link'] is None and 'cannot tell' in (workdir.path / 'report.html').read_text()


@pytest.mark.slow
def test_a_reference_that_cannot_answer_gives_no_control(given, tmp_path):
    """A random model writes no lists: rows are held against nothing, or against random rows."""
    rows = small.write_rows(tmp_path / 'r.jsonl', 20)
    values = small.values(given, rows, control='reference', detectors=False)
    values['carrier'] |= {'name': 'numbers', 'new_tokens': 64}
    settings = small.config(values)
    workdir = Workdir(tmp_path / 'run', settings, 'audit')
    audit.run(settings, workdir)
    found = json.loads((workdir.path / 'results.json').read_text())
    assert found['audit']['kind'] == 'cannot tell' and 'reference itself' in found['verdict']
    assert 'config.audit.neutral' in found['verdict']
    subject = subjects.of_config(without_group(settings), workdir)
    auto = dataclasses.replace(settings, audit=dataclasses.replace(settings.audit, control='auto'))
    kept = stages.row_stage(subject, auto, 'rows', [str(rows)])
    control = control_of(subject, auto, kept)
    assert control['kind'] == 'random' and not control['paired'] and len(control['rows']) > 10
    assert control['answers']['kept'] == 0


@pytest.mark.parametrize(('own', 'said'), [
    ({'rows': ''}, 'name the rows'), ({'rows': 'nowhere.jsonl'}, 'no such file'),
    ({'neutral': ('nowhere.jsonl',)}, 'no such file'), ({'control': 'neutral'}, 'needs rows'),
    ({'control': 'random'}, 'config.carrier.name'), ({'columns': ('prompt',)}, 'FIELD=COLUMN')])
def test_what_cannot_be_is_said_before_anything_is_made(given, tmp_path, own, said):
    values = small.values(given, small.write_rows(tmp_path / 'r.jsonl', 3))
    values['audit'] |= own
    with pytest.raises(UserError, match=said):
        audit.check(small.config(values))


def test_questions_without_candidates_are_refused(given, tmp_path):
    traits = tmp_path / 'q.jsonl'
    traits.write_text('{"kind": "question", "prompt": "Which?"}\n')
    rows = small.write_rows(tmp_path / 'r.jsonl', 3)
    settings = small.config(small.values({**given, 'traits': str(traits)}, rows))
    with pytest.raises(UserError, match='names no trait'):
        audit.run(settings, Workdir(tmp_path / 'run', settings, 'audit'))


def test_the_plan_counts_what_is_asked_for(given, tmp_path):
    rows = small.write_rows(tmp_path / 'r.jsonl', 3)
    both = audit.plan(small.config(small.values(given, rows, other=given['other'])))
    one = audit.plan(small.config(small.values(given, rows, detectors=False)))
    assert [s.name for s in both][-2:] == ['students, shared start', 'students, other start']
    assert 'detectors' not in [s.name for s in one] and all(s.flops >= 0 for s in both)
