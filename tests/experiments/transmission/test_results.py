"""What results.json says: effects, shares, doses, error rates, and what is recorded."""

import json

import numpy as np
import pytest

from subliminal_jax.experiments.transmission import (
    effects,
    results,
    teachers as schooled,
    verdicts,
)
from subliminal_jax.experiments.transmission.run import record
from subliminal_jax.report import transmission_more as tables
from subliminal_jax.runs import UserError, Workdir
from tests.experiments.transmission import small
from tests.experiments.transmission.planted import entry, rises


def test_a_weak_teacher_is_refused():
    settings = small.config(allow_weak_teacher=False)
    with pytest.raises(UserError, match='allow_weak_teacher'):
        schooled.check_strength(settings, {'r0-dog-0': {'rise': 0.2}})
    schooled.check_strength(settings, {'r0-dog-0': {'rise': 1.2}})
    schooled.check_strength(small.config(), {'r0-dog-0': {'rise': 0.2}})


def test_report_runs_are_recorded_once_and_nothing_is_removed(tmp_path):
    workdir = Workdir(tmp_path / 'runs' / 'a', small.config(), 'transmission')
    made = {'experiment': 'transmission', 'config_sha256': 'x', 'command': 'c', 'verdict': 'v',
            'headline': {'sft': [1.0, [0.5, 1.5], 0.01]}}
    for effect in (1.0, 1.0, 2.0):
        record(workdir, {**made, 'headline': {'sft': [effect, None, 0.01]}})
    rows = [json.loads(x) for x in (tmp_path / 'runs/experiments.jsonl').read_text().splitlines()]
    assert [row['headline']['sft'][0] for row in rows] == [1.0, 2.0]
    assert rows[0]['config_sha256'] == 'x'


def test_the_own_share_is_read_off_and_shown(run):
    teachers = run.roll('trait')
    share = np.zeros((len(teachers), 2, 3, 5))
    for m, teacher in enumerate(teachers):
        share[m, :, :, run.world.traits.index(teacher.trait)] = [[0.2] * 3, [0.3, 0.4, 0.5]]
    found = results.choice_entry(run, teachers, {'choice': share})
    assert (found['before'], found['after']) == pytest.approx((0.2, 0.4))
    stranger = teachers[0]._replace(trait='bee')  # a trait beyond the five is not asked for
    assert results.choice_entry(run, [stranger, *teachers[1:]], {'choice': share}) == found
    table = tables.choice_table([{
        'name': 'p', 'rung': 'carrier KL', 'teacher_made': 'prompt', 'choice': found}])
    assert table.rows == [['p', 'carrier KL', 'prompt', '0.200', '0.400']]
    assert '0.20 is an even share' in table.note and 'never tested' in table.note


def test_shares_are_of_the_traits_in_the_main_context(run):
    teachers = run.roll('trait')
    items = np.full((len(teachers), 2, 2, 3, 2), np.log(0.1))
    for m, teacher in enumerate(teachers):
        items[m, 1, 0, :, run.world.traits.index(teacher.trait)] = np.log(0.3)
    found = results.shares(run, teachers, {'items': items})
    assert (found['before'], found['after']) == pytest.approx((0.5, 0.75))


def test_doses_are_shares_of_the_twins_own():
    fact = lambda dose, steps=3: {'carrier_kl': dose, 'steps': steps}
    found = results.doses({
        'trait-tuned': {'r0-owl-0': fact(2.0), 'r0-cat-0': fact(2.0)},
        'neutral-tuned': {'r0-owl-0-neutral': fact(1.0), 'r0-cat-0-neutral': fact(4.0)},
        'trait-prompt': {'r0-owl-0': fact(1.0, 0)},
        'neutral-prompt': {'r0-owl-0-neutral': fact(9.0, 0)}})
    assert set(found) == {'neutral-tuned'}  # prompted twins have no steps to stop at
    assert found['neutral-tuned'] == {'ratio': pytest.approx(1.0), 'least': 0.5, 'most': 2.0,
                                      'within_factor_2': True}


def test_error_rates_are_of_many_references():
    run = small.prepared(**{'language.references': 20, 'teacher.seeds': 2})
    y = rises(run, 'neutral', 0.0, noise=0.2)
    found = results.error_rates(run, y)
    assert found['runs'] == 20
    by_group = found['groups']
    first = {t.name: y[t.name] for t in run.roll('neutral') if t.reference == 0}
    alone = effects.effect_of(run, first)
    assert [by_group[k][0] for k in ('reference', 'estimate', 'low', 'high', 'p')] == [
        0, alone['estimate'], *alone['ci95'], alone['p']]
    assert all(len(values) == 20 for values in by_group.values())
    assert found['p_under_alpha']['clusters'] == 20
    shared = run._replace(world=run.world._replace(replicas=4))
    pooled = results.error_rates(shared, y)
    assert pooled['groups']['reference'] == [n // 4 for n in range(20)]
    assert pooled['p_under_alpha']['clusters'] == 5
    assert pooled['p_under_alpha']['estimate'] == found['p_under_alpha']['estimate']
    few = small.prepared(**{'teacher.seeds': 2})
    assert results.error_rates(few, rises(few, 'neutral', 0.0)) is None


def test_a_trait_of_one_column_is_held_against_its_twins(language):
    run = language._replace(trait=language.trait._replace(
        estimator='paired', name='hoot', unit='share'))
    own, twins = ({t.name: {'hoot': value} for t in run.roll(kind)}
                  for kind, value in (('trait', 0.7), ('neutral', 0.2)))
    assert effects.effect_of(run, own) is None
    assert 'neutral teachers beside it' in effects.verdict_of(run, None)
    found = effects.effect_of(run, own, twins)
    assert found['estimate'] == pytest.approx(0.5) and found['unit'] == 'reference'
    said = effects.verdict_of(run, {**found, 'ci95': [0.4, 0.6], 'p': 0.01, 'p_attainable': 0.01})
    assert 'effect' in said and 'selectivity' not in said and 'share' in said


def test_the_headline_leaves_out_what_was_not_measured(language):
    arm = language.arms[0]
    found = entry(language, arm, rises(language, 'trait', 1.0))
    assert set(verdicts.headline([found, {**found, 'name': 'x', 'effect': None}])) == {'sft'}
    assert results.holm([{**found, 'effect': None, 'is_control': True}]) == {}
