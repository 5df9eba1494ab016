"""What results of transmission on real weights say, from made-up students."""

import numpy as np
import pytest
from subliminal_jax.experiments.weights import arms as tables, geometry, language, results

from subliminal_jax.experiments.transmission import arms as parser, results as plain
from subliminal_jax.runs import schema
from tests.experiments.checkpoint import KL, config

MADE = f'{KL} made=tuned'


@pytest.fixture(scope='module')
def settings(root):
    return schema.override(config(root, f'm: {MADE}'), {'teacher.seeds': 3})


@pytest.fixture(scope='module')
def teachers(here, settings):
    return {kind: language.roll(settings, here.world, kind) for kind in ('trait', 'neutral')}


def rises(teachers, own, seed=0, noise=0.01):
    """y in which every teacher's own trait rises by `own` nats."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(t.trait for t in teachers))
    return {t.name: {n: own * (n == t.trait) + noise * rng.standard_normal() for n in names}
            for t in teachers}


def entry(arm, y, settings, teachers, begun=1e-3, end=1e-4):
    found = plain.gamma_of(settings, teachers, y)
    return {'name': arm.name, 'y': y, 'gamma': found, 'kl_floor': 0.0, 'kl_start': begun,
            'kl_end': end, 'verdict': 'V', 'distance': 0.1,
            'drift': {'perplexity_ordinary_start': 5.0}}


def test_geometry_is_taken_off_and_a_control_that_did_not_learn_bounds_nothing(settings, teachers):
    arms = parser.parse([f'm: {MADE}', f'r: {MADE} head=replaced', f'b: {MADE} start=body'],
                        tables.Arm, tables.check)
    own = teachers['trait']
    made = [entry(arms[0], rises(own, 1.0), settings, own),
            entry(arms[1], rises(own, 0.1, 1), settings, own, begun=1e-4, end=4e-4),
            entry(arms[2], rises(own, 0.0, 2), settings, own, begun=8.0, end=2.0)]
    alone = {'trait-tuned': rises(own, 0.4, 3)}
    found = {c['name']: c for c in results.contrasts(settings, arms, made, teachers, alone)}
    assert found['m less the matrix']['estimate'] == pytest.approx(0.6, abs=0.03)
    assert found['m less r']['estimate'] == pytest.approx(0.9, abs=0.03)
    assert [found[n]['bounds'] for n in ('m less the matrix', 'm less r', 'm less b')] == [
        True, False, False]
    said = results.verdict(arms, made, list(found.values()))
    assert 'Beyond geometry (m less the matrix): ' in said
    assert said.count('nothing is bounded') == 2
    made[1] |= {'kl_end': 1e-5}
    again = {c['name']: c for c in results.contrasts(settings, arms, made, teachers, alone)}
    assert again['m less r']['bounds']


def test_a_positive_control_stands_in_the_verdict(settings, teachers):
    arms = parser.parse([f'f: {MADE} objective=kl'.replace('objective=kl_carrier ', '')],
                        tables.Arm, tables.check)
    own = teachers['trait']
    said = results.verdict(arms, [entry(arms[0], rises(own, 1.0), settings, own)], [])
    assert said.startswith('Positive control, full KL, fine-tuned teachers (f): V')


def test_neutral_twins_behind_one_prompt_count_once(settings, teachers):
    prompted = parser.parse([f'p: {KL}'], tables.Arm, tables.check)[0]
    tuned = parser.parse([f'p: {MADE}'], tables.Arm, tables.check)[0]
    y, twin = rises(teachers['trait'], 1.0), rises(teachers['neutral'], 0.0, 4, 0.2)
    one, other = (results._against_neutral(settings, arm, y, twin, teachers)
                  for arm in (prompted, tuned))
    assert one['estimate'] == pytest.approx(other['estimate'])
    assert one['dof'] < other['dof']


def test_a_share_has_an_interval_or_is_left_out(settings, teachers):
    arms = parser.parse([f'z: {MADE} start=noise:0.1', f'o: {MADE} start=noise:0.1 own=true'],
                        tables.Arm, tables.check)
    own = teachers['trait']
    first = entry(arms[0], rises(own, 0.5), settings, own)
    found, = results.disturbed(arms, [first, entry(arms[1], rises(own, 1.0, 1), settings, own)])
    low, high = found['share_ci95']
    assert low < found['share'] < high and found['share'] == pytest.approx(0.5, abs=0.05)
    found, = results.disturbed(arms, [first, entry(arms[1], rises(own, 0.0, 1), settings, own)])
    assert found['share'] is None and found['share_ci95'] is None
    assert not plain.is_control({'teacher_kind': 'trait', 'student_init': 'noise:0.1',
                                 'fields': {'own': True}})


def test_what_the_carriers_rows_span(here):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((40, 16)).astype(np.float32)
    ids = np.arange(5)
    centred = table[ids] - table[ids].mean(0)
    table[5:8] = table.mean(0) + rng.standard_normal((3, 5)) @ centred  # roughly inside
    found = geometry.shares({'embed': table}, ids, np.arange(5, 8), np.arange(8, 40), True)
    assert found['traits'] > 0.9 and found['words'] == pytest.approx(found['random'], abs=0.12)
    assert found['random'] == 4 / 16
