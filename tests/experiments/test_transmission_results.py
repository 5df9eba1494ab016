"""What arms say together, what is recorded, and what is refused."""

import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small import config  # noqa: E402

from subliminal_jax.experiments.transmission import (
    arms as tables,
    drift,
    measures,
    networks,
    results,
    teachers as schools,
    tiny,
)
from subliminal_jax.experiments.transmission.config import Config, WorldConfig
from subliminal_jax.experiments.transmission.run import record
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, Workdir


def test_a_weak_teacher_is_refused():
    with pytest.raises(UserError, match='allow_weak_teacher'):
        schools.check_strength(Config(), {'r0-dog-0': {'rise': 0.2}})


def test_report_runs_are_recorded_once_and_nothing_is_removed(tmp_path):
    workdir = Workdir(tmp_path / 'runs' / 'a', config(), 'transmission')
    made = {'experiment': 'transmission', 'config_sha256': 'x', 'command': 'c', 'verdict': 'v',
            'headline': {'sft': [1.0, [0.5, 1.5], 0.01]}}
    for gamma in (1.0, 1.0, 2.0):
        record(workdir, {**made, 'headline': {'sft': [gamma, None, 0.01]}})
    rows = [json.loads(x) for x in (tmp_path / 'runs/experiments.jsonl').read_text().splitlines()]
    assert [row['headline']['sft'][0] for row in rows] == [1.0, 2.0]
    assert rows[0]['config_sha256'] == 'x'


def planted(world, teachers, effect, arm='', noise=0.05):
    """Rises with a gamma of `effect`, and a move that all traits share."""
    rng = np.random.default_rng([len(arm), int(100 * effect)])
    return {t.name: {k: 0.3 + effect * (k == t.trait) + noise * rng.standard_normal()
                     for k in world.traits} for t in teachers}


def test_carrier_kl_counts_beyond_what_the_matrices_alone_carry():
    settings = config(split='report', **{'world.references': 4, 'teacher.seeds': 2})
    world = tiny.make(settings.world, 'report', 3)
    kl = 'objective=kl_carrier carrier=random rows=16'
    arms = tables.parse(['sft', 'sft_other: start=other', f'kl: {kl}',
                         f'kl_other: {kl} start=other',
                         f'kl_matrix: {kl} start={results.GEOMETRY}'])
    teachers = {k: schools.roll(settings, world, k) for k in ('trait', 'neutral')}
    sizes = {'sft': 1.0, 'sft_other': 0.0, 'kl': 1.5, 'kl_other': 0.0, 'kl_matrix': 1.5}
    y = {a.name: planted(world, teachers['trait'], sizes[a.name], a.name) for a in arms}
    made = results.contrasts(settings, arms, y, teachers)
    claim = next(m for m in made if m['name'] == 'kl less kl_matrix')
    assert abs(claim['estimate']) < 0.1 and claim['verdict'].startswith('not shown')
    assert {m['name'].partition('_')[0].partition(' ')[0]: m['rung'] for m in made} == {
        'sft': 'sampled text', 'kl': 'carrier KL'}
    assert next(m for m in made if m['name'] == 'sft less sft_other')['estimate'] > 0.9
    entries = []
    for arm in arms:
        found = results.gamma_of(settings, teachers['trait'], y[arm.name])
        entries.append({
            'name': arm.name, 'objective': arm.objective, 'teacher_kind': 'trait',
            'student_init': results.student_init(arm), 'fields': results.changed_fields(arm),
            'gamma': found, 'verdict': results.gammas.verdict(found)})
    said = results.verdict(entries, made)
    text, _, carrier = said.partition(' Carrier KL ')
    assert text.startswith('Sampled, filtered text transmits: gamma +')
    assert 'To another start: not shown' in text and 'would have seen gamma >=' in text
    assert carrier.startswith('transmits') and 'Beyond geometry: not shown' in carrier
    adjusted = results.holm(entries)
    assert set(adjusted) == {'sft_other', 'kl_other', 'kl_matrix'}
    assert adjusted['kl_matrix'] == pytest.approx(3 * entries[-1]['gamma']['p'])


def test_counterparts_differ_in_the_named_field_alone():
    arms = tables.parse(['sft', 'a: start=other', 'b: start=other rows=3', 'n: teachers=neutral'])
    assert results.counterpart(arms[0], arms, start='other').name == 'a'
    assert results.counterpart(arms[0], arms, teachers='neutral').name == 'n'
    assert results.counterpart(arms[2], arms, start='shared') is None


def test_the_matrix_alone_predicts_nothing_for_a_teacher_that_did_not_move(key):
    world = tiny.make(WorldConfig(width=16, num_heads=2, ffn_width=16), 'dev', 3)
    one = transformer.init_params(key, world.models['untied'])
    probe = measures.probe_rows(world, 0, 4)
    found = drift.predicted_by_matrix(world, world.models['untied'], one, networks.stack([one]),
                                      probe)
    np.testing.assert_allclose(found[:, 1], found[:, 0], atol=1e-5)
