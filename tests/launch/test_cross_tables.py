"""Tables of the matrix on digits, from a kept results.json."""

import json

import pytest

from launch import table_parts
from launch.kept import cut
from subliminal_jax.runs import UserError


def cell(name, readout, measure, mean, **more):
    return {'part': 'mnist', 'name': f'{name}:{readout}:{measure}', 'cell': name, 'n': 2,
            'factors': {'start': name, 'readout': readout, 'num_aux': 3}, 'measure': measure,
            'mean': mean, 'ci95': [mean - 0.1, mean + 0.1], 'per_model': [mean, mean], **more}


def row(name, readout, mean, status, at_once):
    return {'cell': name, 'readout': readout, 'mean': mean, 'ci95': [mean - 0.1, mean + 0.1],
            'is_read': True, 'same_as': None, 'predictions': {
                'heads': {'predicted': 'rises', 'status': status, 'at_once': at_once}}}


RESULTS = {
    'schema': 1, 'experiment': 'cross_mnist', 'command': 'run --workdir=/x/mine', 'seeds': {},
    'timing': {'total': 1.0, 'a stage': 1.0},
    'cells': [cell('own', 'own', 'accuracy', 0.5, published={'mean': 0.537}),
              cell('own', 'own', 'rise', 0.4), cell('other', 'teacher', 'accuracy', 0.11),
              cell('other', 'teacher', 'rise', 0.01), cell('own', 'probe', 'probe', 0.92),
              cell('own', 'probe', 'less_start', 0.03), cell('own', 'probe', 'less_placebo', 0.02)],
    'hypotheses': {
        'rows': [row('own', 'own', 0.4, 'agrees', False), row('own', 'probe', 0.02, 'open', False),
                 row('other', 'teacher', 0.01, 'contradicted', True)],
        'hypotheses': {'heads': {'claim': 'heads suffice', 'agrees': 1, 'open': 1,
                                 'contradicted': 1, 'contradicted_by': [['other', 'teacher']],
                                 'parting': [], 'is_contradicted': True}}}}


@pytest.fixture
def results(tmp_path):
    (tmp_path / 'matrix').mkdir()
    (tmp_path / 'matrix' / 'results.json').write_text(json.dumps(cut(RESULTS)))
    return table_parts.Results(tmp_path)


def lines(results, name, *args):
    return table_parts.table(results, name, ['matrix', *args]).splitlines()[2:]


def test_cells_stand_beside_what_was_published(results):
    assert lines(results, 'cells') == [
        '| `own` | `own` | 3 | own class head | 0.500 [0.400, 0.600] | +0.400 [+0.300, +0.500] '
        '| 0.537 |',
        "| `other` | `other` | 3 | teacher's initial head | 0.110 [0.010, 0.210] "
        '| +0.010 [-0.090, +0.110] |  |']
    assert len(lines(results, 'cells', 'other')) == 1
    assert lines(results, 'probes') == [
        '| `own` | `own` | 0.920 [0.820, 1.020] | +0.030 [-0.070, +0.130] '
        '| +0.020 [-0.080, +0.120] |']


def test_predictions_and_what_became_of_them(results):
    found = lines(results, 'predictions')
    assert len(found) == 3 and found[0].endswith('| rises: agrees |')
    assert found[2].endswith('| rises: **contradicted** |')
    assert lines(results, 'predictions', 'other') == found[2:]
    assert lines(results, 'hypotheses') == ['| heads | heads suffice | 1 | 1 | 1 | 1 | 0 | yes |']


def test_a_cell_is_a_figure_by_its_name(results):
    assert table_parts.figure(results, 'matrix', 'own:own:rise', 'nats3') == (
        '+0.400 [+0.300, +0.500]')
    with pytest.raises(UserError, match="no entry 'another'"):
        lines(results, 'cells', 'another')
