"""The benchmarks' own sums, and that both sides do the same work."""

import json

import pytest

from launch import speed_tables, table_parts
from launch.bench import common, lm_training, mesh
from subliminal_jax.runs import UserError


def test_an_entry_is_of_medians():
    found = common.compared([4.0, 1.0, 2.0], [2.0, 1.0, 0.5], flops=3e9, sgemm_gflops=12.0)
    assert found == {'ours': 2.0, 'torch': 1.0, 'ours_range': [1.0, 4.0], 'torch_range': [0.5, 2.0],
                     'ratio': 2.0, 'gflops': 6.0, 'fraction_of_sgemm': 0.5}
    assert common.compared([1.0], [2.0])['fraction_of_sgemm'] is None
    assert 'a' in common.table({'a': found})


def test_every_run_is_timed_after_one_that_is_not():
    calls = []
    assert len(common.timed(3, lambda: calls.append(1))) == 3
    assert len(calls) == 4


def test_rows_begin_alike_and_are_packed_once():
    batch = lm_training.batch_of(256, 0)['tries']
    columns = lm_training.SHARED + lm_training.ROWS * (lm_training.QUESTION + lm_training.ANSWER)
    # the last token of an answer is predicted; it is a column too
    assert int((batch.last_BT >= 0).sum()) == columns
    assert batch.weight_BK.sum() == lm_training.ROWS * lm_training.ANSWER
    assert lm_training.batch_of(256, 3)['tries'].tokens_BT.shape[:2] == (3, 1)


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize('rank', [0, lm_training.RANK])
def test_both_sides_have_the_same_first_loss(rank):
    pytest.importorskip('transformers')
    pytest.importorskip('torch')
    ours, peer = (side(common.RANDOM, rank, 1) for side in (lm_training.ours, lm_training.peer))
    assert ours['loss'] == pytest.approx(peer['loss'], abs=1e-4)
    assert len(ours['step_s']) == len(peer['step_s']) == 1
    assert ours['flops'] > 0


def test_entries_are_kept_beside_those_of_other_benchmarks(tmp_path):
    place = tmp_path / 'kept' / 'results.json'
    entry = common.compared([2.0, 1.0, 3.0], [1.0, 1.0, 1.0], flops=1e9, sgemm_gflops=4.0)
    common.keep(str(place), 'lm', {'train_full': entry}, 4.0)
    common.keep(str(place), 'mnist', {'mnist_table': entry}, 5.0)
    kept = json.loads(place.read_text())['benchmarks']
    assert set(kept) == {'lm', 'mnist'}
    assert kept['mnist']['mnist_table']['of_run']['sgemm_gflops'] == 5
    assert kept['lm']['train_full']['ours_range'] == [1, 3]
    common.keep('', 'lm', {}, 1.0)

    header, rows = speed_tables.speed_table(table_parts.Results(tmp_path), 'kept')
    assert len(rows) == 2 and len(rows[0]) == len(header)
    assert rows[0][2:] == ['2 [1, 3]', '1', '2.000', '0.500', 'ratio 1.15: met; share 0.85: **no**']

    place.write_text('{"experiment": "mnist"}')
    with pytest.raises(UserError, match='name another'):
        common.keep(str(place), 'lm', {}, 4.0)


@pytest.mark.slow
def test_a_step_over_devices_is_held_to_the_one_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(mesh, 'LAYOUTS', ('', 'data:2'))
    found = mesh.entries(1, True)
    assert found['one device']['ratio'] == 1 and found['data:2']['seconds'] > 0
    # over `data` weights are not cut: each device holds all of them
    assert found['data:2']['held_mb'] == pytest.approx(found['one device']['held_mb'])

    common.keep(str(tmp_path / 'kept/results.json'), 'mesh', found, 1.0)
    results = table_parts.Results(tmp_path)
    assert speed_tables.speed_table(results, 'kept')[1] == []
    assert [row[0] for row in speed_tables.mesh_table(results, 'kept')[1]] == [
        'one device', '`data:2`']
