"""Doses: the KL of a teacher from its reference on the carrier, beside single rows."""

import numpy as np
import pytest

from subliminal_jax.experiments.transmission import doses, engines, geometry, teachers as schooled
from subliminal_jax.experiments.transmission.arms import parse
from subliminal_jax.models.parts import noisy
from tests.experiments.transmission import plain
from tests.experiments.transmission.checkpoint import KL, TUNED

SYSTEM = 'Love owls.'


@pytest.fixture(scope='module')
def moved(run):
    """A model that is not the reference."""
    return engines.single(noisy(run.references['main'][0], 5, 0.3),
                          run.world.architectures['main'])


def by_hand(run, params, system, within_set):
    """Mean KL from the reference over the probe's places, one row at a time."""
    probe, config = run.kit.probe, run.world.architectures['main']
    base, found = run.references['main'][0], []
    for prompt, context, answer, allowed in zip(
            probe.rows.prompts, probe.rows.contexts, probe.rows.answers, probe.rows.allowed_NC):
        ours = plain.logits(params, config, run.world.rows_context(prompt, system), answer)
        theirs = plain.logits(base, config, context, answer)
        ids = probe.ids_C[allowed]
        looks = np.isin(answer, ids) if within_set else np.ones(len(answer), bool)
        found += plain.kl(ours, theirs, ids if within_set else None)[looks].tolist()
    return np.mean(found)


def test_the_dose_is_read_over_as_many_prompts_as_rows(run):
    assert len(set(run.kit.probe.rows.prompts)) == run.config.carrier.dose_rows >= 16


@pytest.mark.parametrize('system', [None, SYSTEM])
def test_the_dose_is_the_kl_on_the_carriers_tokens(run, moved, system):
    arm, base = parse([f'a: {TUNED}'])[0], run.references['main'][0]
    found, = doses.reader(run, arm, base, system)(moved)
    assert found == pytest.approx(by_hand(run, moved.trainable, system, True), rel=1e-3)
    assert found > 1e-3


@pytest.mark.parametrize('system', [None, SYSTEM])
def test_the_whole_dose_is_the_kl_over_all_tokens(run, moved, system):
    arm, base = parse([f'a: {TUNED}'])[0], run.references['main'][0]
    (kl,), (mass,) = doses.whole_reader(run, arm, base, system)(moved)
    assert float(kl) == pytest.approx(by_hand(run, moved.trainable, system, False), rel=1e-3)
    assert 0 < float(mass) < 1


def test_the_reference_has_no_dose(run):
    arm, base = parse([f'a: {TUNED}'])[0], run.references['main'][0]
    same = engines.single(base, run.world.architectures['main'])
    assert abs(doses.reader(run, arm, base)(same)[0]) < 1e-6


def test_a_dose_is_the_same_however_rows_are_packed(run, moved, monkeypatch):
    arm, base = parse([f'a: {KL}'])[0], run.references['main'][0]
    both = lambda run: (doses.reader(run, arm, base, SYSTEM)(moved)[0],
                        geometry.predicted(run, moved, base, None))
    dose, shift = both(run)
    monkeypatch.setattr(doses, 'PACKED', 2)
    again, other = both(run._replace(kit=run.kit._replace(probe=doses.probe_of(run))))
    assert dose == pytest.approx(again, rel=1e-4)
    np.testing.assert_allclose(shift, other, atol=1e-4)


# What the output matrix alone predicts.


def test_the_matrix_alone_predicts_nothing_for_a_teacher_that_did_not_move(run):
    base = run.references['main'][0]
    same = engines.single(base, run.world.architectures['main'])
    found = geometry.predicted(run, same, base, None)
    assert found.shape == (1, 2, len(run.world.traits))
    np.testing.assert_allclose(found[:, 1], found[:, 0], atol=1e-5)


def test_what_the_carriers_rows_span():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((40, 16)).astype(np.float32)
    ids = np.arange(5)
    centred = table[ids] - table[ids].mean(0)
    table[5:8] = table.mean(0) + rng.standard_normal((3, 5)) @ centred  # roughly inside
    found = geometry.shares({'embed': table}, ids, np.arange(5, 8), np.arange(8, 40), True)
    assert found['traits'] > 0.9 and found['words'] == pytest.approx(found['random'], abs=0.12)
    assert found['random'] == 4 / 16


# Teachers as artefacts.


def test_a_teachers_digest_is_its_own(run):
    arm = parse([f'a: {TUNED}'])[0]
    first = run.roll('trait')[0]
    params = run.references['main'][0]
    digest = lambda teacher, tree: schooled.digest_of(run, arm, teacher, tree)
    assert digest(first, params) == digest(first, params)
    assert digest(first, params) != digest(first, noisy(params, 1, 0.1))
    prompted = parse([f'a: {KL}'])[0]
    assert schooled.digest_of(run, prompted, first, None) != schooled.digest_of(
        run, prompted, run.roll('trait')[-1], None)
