"""A whole small run of detection, and what it refuses."""

import json

import numpy as np
import pytest

from subliminal_jax.data import tiny_language
from subliminal_jax.detection import pairs as pairing
from subliminal_jax.detection.detectors import DETECTORS
from subliminal_jax.experiments import detection
from subliminal_jax.experiments.detection import kinds as whose, stages
from subliminal_jax.experiments.transmission import arms as tables, engines, samples
from subliminal_jax.experiments.transmission.extended import without_group
from subliminal_jax.report import detection as report
from subliminal_jax.runs import UserError, Workdir
from subliminal_jax.training import checkpoints
from tests.experiments.detection.small import ARMS, config
from tests.experiments.transmission import plain

pytestmark = pytest.mark.timeout(900)  # the first test waits for the whole run


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A run's results, its folder and its config."""
    settings = config()
    workdir = Workdir(tmp_path_factory.mktemp('run'), settings, 'detection')
    table = detection.run(settings, workdir)
    return json.loads((workdir.path / 'results.json').read_text()), workdir, settings, table


def entries(found, **wanted):
    return [e for e in found['detectors'] if all(e[k] == v for k, v in wanted.items())]


@pytest.mark.slow
def test_every_detector_is_there_with_its_null_and_the_same_rows_transmission(made):
    found, *_ = made
    for task in ('twin', 'other'):
        names = {e['name'] for e in entries(found, task=task, teacher_kind='sft', trait='all')}
        assert names == set(DETECTORS) - {'prompted'}  # the language has no words for it
    for e in found['detectors']:
        assert {'name', 'null_detector', 'teacher_kind', 'trait', 'bag', 'auroc', 'ci95',
                'transmission'} <= set(e)
        assert 0 <= e['auroc'] <= 1 and (e['role'] != 'detector' or e['null_detector'])
    arm = found['transmission'][0]
    whole = entries(found, teacher_kind='sft', trait='all', bag=4)
    assert all(e['transmission']['estimate'] == arm['estimate'] for e in whole)
    assert all(e['transmission'] is None for e in entries(found, teacher_kind='overt'))
    by_trait = {e['trait']: e['transmission']['estimate']
                for e in entries(found, teacher_kind='sft', task='twin', bag=4)}
    assert np.mean([by_trait[t] for t in by_trait if t != 'all']) == pytest.approx(
        arm['estimate'], abs=1e-6)


@pytest.mark.slow
def test_verdicts_say_who_is_unable_and_why(made):
    found, *_ = made
    for own in found['verdicts']['sft'].values():
        assert set(own) == {n for n, row in DETECTORS.items() if row.role == 'detector'}
        assert own['prompted']['verdict'] == 'unable'
        assert 'no words to ask with' in own['prompted']['sentence']
        for name, said in own.items():
            if said['verdict'] == 'unable' and name != 'prompted':
                assert said['control'] < 0.9
    assert 'selectivity' in found['verdict'] and 'ceiling' in found['verdict']
    assert set(found['headline']) == {'twin', 'other'}


@pytest.fixture(scope='module')
def rows(made):
    """(the run, rows by kind's name and reference)."""
    _, workdir, settings, _ = made
    run = detection.prepare(settings, workdir)
    found = {}
    for suffix, arm in (('', run.arms[0]), ('-neutral-tuned-constrained', run.arms[1])):
        path = workdir.path / f'samples{suffix}.jsonl'
        found[tables.row_set(arm)] = samples.gather(
            samples.judge(run.config, run.world, run.carrier(), path))
    return run, {(kind.name, r): whose.written(run, kind, found, r)
                 for kind in whose.kinds_of(run) for r in range(2)}


@pytest.mark.slow
def test_rows_are_on_the_same_prompts_and_the_overt_ones_name_the_trait_or_others(rows):
    for r in range(2):
        plain, overt = rows[1]['sft', r], rows[1]['overt', r]
        assert len({tuple(w.prompts) for w in plain}) == 1 and len(plain) == 8
        for own, other in zip(plain, overt):
            changed = [n for n, (a, b) in enumerate(zip(own.texts, other.texts)) if a != b]
            assert changed == [0, 4, 8, 12]
            named = {other.texts[n].split()[-1] for n in changed}
            assert named <= set(tiny_language.ANIMALS)
            if own.teacher.kind == 'trait':
                assert named == {own.teacher.trait}
            else:
                assert own.teacher.trait not in named


@pytest.mark.slow
def test_the_oracle_is_the_ratio_of_the_two_teachers_themselves(made, rows):
    found, workdir, settings, _ = made
    run, written = rows
    own, twin = written['sft', 0][0], written['sft', 0][4]
    assert twin.teacher.name == own.teacher.twin
    with np.load(workdir.path / 'readings/sft-0.npz') as arrays:
        models = arrays[f'{own.teacher.name}/models']
    params = {name: checkpoints.load_tree(
        workdir.path / f'teacher/{name}-tuned/0/trained.safetensors') for name in (
            'trait', 'neutral')}
    for column, name in ((0, 'trait'), (4, 'neutral')):
        weights = engines.take(params[name], 0)
        row = own.rows[1]
        said = plain.log_softmax(plain.logits(
            weights, run.world.architectures['main'], row.context, row.answer))
        wanted = said[np.arange(len(row.answer)), row.answer].sum()
        assert models[1, column] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.slow
def test_the_same_command_goes_on_and_ends_with_the_same_results(made):
    found, workdir, settings, _ = made
    before = {p: p.stat().st_mtime_ns for p in workdir.path.rglob('*.npz')}
    detection.run(settings, workdir)
    again = json.loads((workdir.path / 'results.json').read_text())
    assert {p: p.stat().st_mtime_ns for p in workdir.path.rglob('*.npz')} == before
    assert all(again[key] == found[key] for key in found.keys() - {'timing', 'command'})


@pytest.mark.slow
def test_the_page_holds_the_tables_and_stands_on_results_alone(made, tmp_path):
    found, workdir, _, table = made
    (tmp_path / 'config.json').write_text((workdir.path / 'config.json').read_text())
    assert report.write(tmp_path, found) == table
    page = (tmp_path / 'report.html').read_text()
    for word in ('its best null', 'transmission, nats', 'oracle', 'random_direction',
                 'AUROC by rows in a bag', 'for tuning, not a finding'):
        assert word in page, word
    assert {p.name for p in (tmp_path / 'figures').iterdir()} == {'bags_twin.png',
                                                                  'bags_other.png'}
    assert 'gradient' in table and (workdir.path / 'blind.html').stat().st_size > 2000


@pytest.mark.slow
def test_transmissions_stages_do_not_hang_on_detectors_fields(made):
    _, workdir, settings, _ = made
    manifest = json.loads((workdir.path / 'manifests' / 'student_sft_0.json').read_text())
    assert 'detection' not in manifest['reads']
    assert not hasattr(without_group(settings), 'detection')


# Bad input.


@pytest.mark.parametrize('overrides, said', [
    ({'detection.bags': (1, 17), 'detection.verdict_bag': 1},
     'arm sft .config.student.rows.: 16 rows are fewer than the largest bag of 17'),
    ({'arms': ARMS[:1]}, 'one class only: detection needs an arm of trait teachers and the same'),
    ({'teacher.seeds': 1}, 'config.teacher.seeds=1: detectors learn from teachers of other seeds'),
    ({'detection.verdict_bag': 3}, 'verdict_bag=3 is none of config.detection.bags=1,4'),
    ({'arms': tuple(f'{arm} order=within' for arm in ARMS)}, 'filtered, and as written')])
def test_what_no_detector_could_read_is_refused_before_anything_is_made(overrides, said):
    with pytest.raises(UserError, match=said) as error:
        detection.prepare(config(**overrides))
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_teachers_that_are_the_same_model_are_refused_by_their_hash(made, monkeypatch):
    _, workdir, settings, _ = made
    run = detection.prepare(settings, workdir)
    kind = whose.kinds_of(run)[0]
    same = [w._replace(sha256='0' * 64) if w.trait == run.world.traits[0] and not w.neutral
            else w for w in whose.writers_of(run, kind)]
    pairs = pairing.paired(same)['twin']
    with pytest.raises(UserError, match='is the model .*SHA-256 000000000000'):
        stages.case_of(run, pairs[0], pairs, {w.name: None for w in same})


def test_arms_with_twins_are_the_kinds_and_the_overt_control_is_made_of_the_first():
    run = detection.prepare(config(arms=(
        *ARMS, 'strong: answers=constrained dose=2', 'alone: answers=constrained start=other',
        'strong_neutral: answers=constrained dose=2 teachers=neutral')))
    assert [(k.name, k.arm.name, k.overt) for k in whose.kinds_of(run)] == [
        ('sft', 'sft', False), ('strong', 'strong', False), ('overt', 'sft', True)]


def test_a_plan_says_what_detectors_take():
    assert detection.plan(config())[-1].name == 'detectors'
    assert detection.plan(config())[-1].flops > 0
