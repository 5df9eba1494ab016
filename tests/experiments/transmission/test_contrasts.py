"""What arms say together: geometry, other starts, neutral twins, disturbed starts."""

import pytest

from subliminal_jax.experiments.transmission import contrasts, results, verdicts
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.runs import schema
from tests.experiments.transmission import small
from tests.experiments.transmission.checkpoint import KL, TUNED
from tests.experiments.transmission.planted import entry, rises


@pytest.fixture
def three(run):
    """The run with three teachers a trait."""
    return run._replace(config=schema.override(run.config, {'teacher.seeds': 3}))


def by_name(run, entries, y, alone):
    return {c['name']: c for c in contrasts.contrasts(run, entries, y, alone)}


def test_carrier_kl_counts_beyond_what_the_matrices_alone_carry():
    kl = 'objective=kl_carrier answers=random rows=16'
    run = small.prepared('sft', 'sft_other: start=other', f'kl: {kl}',
                         f'kl_other: {kl} start=other',
                         f'kl_matrix: {kl} start=share:embedding+head',
                         split='report', **{'language.references': 4, 'teacher.seeds': 2})
    sizes = {'sft': 1.0, 'sft_other': 0.0, 'kl': 1.5, 'kl_other': 0.0, 'kl_matrix': 1.5}
    y = {a.name: rises(run, 'trait', sizes[a.name], n, 0.05) for n, a in enumerate(run.arms)}
    entries = [entry(run, arm, y[arm.name], floor=None if 'sft' in arm.name else 0.0)
               for arm in run.arms]
    made = contrasts.contrasts(run, entries, y, {})
    claim = next(m for m in made if m['name'] == 'kl less kl_matrix')
    assert abs(claim['estimate']) < 0.1 and claim['verdict'].startswith('not shown')
    assert {m['name'].partition('_')[0].partition(' ')[0]: m['rung'] for m in made} == {
        'sft': 'sampled text', 'kl': 'carrier KL'}
    assert next(m for m in made if m['name'] == 'sft less sft_other')['estimate'] > 0.9
    said = verdicts.verdict(run, entries, made)
    text, _, carrier = said.partition(' Carrier KL, ')
    assert text.startswith('Sampled, filtered text, fine-tuned teachers (sft): transmits: '
                           'selectivity +')
    assert 'To another start: not shown' in text and 'would have seen selectivity >=' in text
    assert 'transmits' in carrier and 'Beyond geometry (kl less kl_matrix): not shown' in carrier
    adjusted = results.holm(entries)
    assert set(adjusted) == {'sft_other', 'kl_other', 'kl_matrix'}
    assert adjusted['kl_matrix'] == pytest.approx(3 * entries[-1]['effect']['p'])


def test_geometry_is_taken_off_and_a_control_that_did_not_learn_bounds_nothing(three):
    arms = parse([f'm: {TUNED}', f'r: {TUNED} matrix=replaced', f'b: {TUNED} start=body'])
    run = three._replace(arms=arms)
    y = {'m': rises(run, 'trait', 1.0), 'r': rises(run, 'trait', 0.1, 1),
         'b': rises(run, 'trait', 0.0, 2)}
    entries = [entry(run, arms[0], y['m']), entry(run, arms[1], y['r'], begun=1e-4, end=4e-4),
               entry(run, arms[2], y['b'], begun=8.0, end=2.0)]
    alone = {'trait-tuned': rises(run, 'trait', 0.4, 3)}
    found = by_name(run, entries, y, alone)
    assert found['m less the matrix']['estimate'] == pytest.approx(0.6, abs=0.03)
    assert found['m less r']['estimate'] == pytest.approx(0.9, abs=0.03)
    assert [found[n]['bounds'] for n in ('m less the matrix', 'm less r', 'm less b')] == [
        False, False, False]
    assert found['m less the matrix']['why'] == contrasts.ORIENTATION
    assert found['m less r']['why'] == contrasts.IDLE
    said = verdicts.verdict(run, entries, list(found.values()))
    assert 'Beyond what the matrix predicts (m less the matrix): +0.60 nats [' in said
    assert 'no bound' in said and said.count(contrasts.IDLE) == 2
    entries[1] |= {'kl_end': 1e-5}
    found = by_name(run, entries, y, alone)
    assert found['m less r']['bounds'] and found['m less r']['why'] is None
    # What remains without the geometry is the evidence, not how much more there is with it.
    said = verdicts.verdict(run, entries, list(found.values()))
    assert f"random carrier rows (r): {entries[1]['verdict']}" in said
    assert 'Beyond geometry (m less r)' not in said


def test_a_positive_control_stands_in_the_verdict(three):
    arms = parse(['f: objective=kl answers=random trainable=lora:2'])
    run = three._replace(arms=arms)
    said = verdicts.verdict(run, [entry(run, arms[0], rises(run, 'trait', 1.0))], [])
    assert said.startswith(
        'Positive control, full KL, fine-tuned teachers (f): transmits')


def test_a_run_without_the_shared_start_claims_nothing(three):
    arms = parse(['n: start=noise:0.1', 't: teachers=neutral'])
    run = three._replace(arms=arms)
    entries = [entry(run, a, rises(run, a.teachers, 1.0)) for a in arms]
    assert verdicts.verdict(run, entries, []).startswith('No arm of this run tests')


def test_neutral_twins_behind_one_prompt_count_once(three):
    prompted, tuned = parse([f'p: {KL}', f't: {TUNED}'])
    y, twin = rises(three, 'trait', 1.0), rises(three, 'neutral', 0.0, 4, 0.2)
    one, other = (contrasts.neutral_contrast(three, arm, y, twin) for arm in (prompted, tuned))
    assert one['estimate'] == pytest.approx(other['estimate'])
    assert one['dof'] < other['dof']


def test_an_arm_is_held_against_its_twin_and_both_against_another_start():
    arms = [f'{name}{start}: teachers={kind} start={place}' for name, kind in (
        ('s', 'trait'), ('n', 'neutral')) for start, place in (('', 'shared'), ('o', 'other'))]
    run = small.prepared(*arms, **{'language.references': 3})
    y = {arm.name: rises(run, arm.teachers, 1.0 if arm.name == 's' else 0.0, n)
         for n, arm in enumerate(run.arms)}
    found = by_name(run, [entry(run, arm, y[arm.name], floor=None) for arm in run.arms], y, {})
    assert found['s against neutral']['estimate'] == pytest.approx(1.0, abs=0.05)
    name = 's against neutral, shared less other start'
    assert found[name]['estimate'] == pytest.approx(1.0, abs=0.05)


def test_the_difference_from_the_twins_leads(three):
    arms = parse([f'm: {TUNED}', f'n: {TUNED} teachers=neutral', f'o: {TUNED} start=other',
                  f'no: {TUNED} teachers=neutral start=other'])
    run = three._replace(arms=arms)
    y = {'m': rises(run, 'trait', 1.0), 'n': rises(run, 'neutral', 0.25, 1, 0.1),
         'o': rises(run, 'trait', 0.0, 2), 'no': rises(run, 'neutral', 0.0, 3)}
    entries = [entry(run, arm, y[arm.name]) for arm in arms]
    found = by_name(run, entries, y, {})
    twins = found['m less its twins']
    assert twins['estimate'] == pytest.approx(
        entries[0]['effect']['estimate'] - entries[1]['effect']['estimate'])
    assert 'o less its twins' in found and 'n less its twins' not in found
    # In pairs: whatever a teacher shares with its own twin is off the difference.
    lift = {t.name: 5.0 * t.number for kind in ('trait', 'neutral') for t in run.roll(kind)}
    moved = {a: {s: {k: v + lift[s] * (k == 'wolf') for k, v in row.items()}
                 for s, row in y[a].items()} for a in ('m', 'n')}
    again = by_name(run, entries, {**y, **moved}, {})['m less its twins']
    assert again['ci95'] == pytest.approx(twins['ci95'])
    said = verdicts.verdict(run, entries, list(found.values()))
    assert said.startswith("Carrier KL, fine-tuned teachers (m): transmits: selectivity beyond "
                           "the neutral twins' +0.7")
    assert 'Selectivity alone +1.00 nats [' in said
    assert "the own trait's rise beyond the neutral students' +" in said
    assert list(verdicts.headline(entries, list(found.values())))[:2] == ['m less its twins', 'm']


def test_a_share_has_an_interval_or_is_left_out(three):
    arms = parse([f'z: {TUNED} start=noise:0.1', f'o: {TUNED} start=noise:0.1 own=true'])
    first = entry(three, arms[0], rises(three, 'trait', 0.5))
    strong, none = (entry(three, arms[1], rises(three, 'trait', size, 1)) for size in (1.0, 0.0))
    found, = contrasts.disturbed(arms, [first, strong])
    low, high = found['share_ci95']
    assert low < found['share'] < high and found['share'] == pytest.approx(0.5, abs=0.05)
    found, = contrasts.disturbed(arms, [first, none])
    assert found['share'] is None and found['share_ci95'] is None
    assert first['is_control'] and not strong['is_control']


def test_a_trait_without_gamma_has_no_contrasts(three):
    run = three._replace(trait=three.trait._replace(estimator='paired'), arms=parse(['a', 'b']))
    assert contrasts.contrasts(run, [], {}, {}) == []
