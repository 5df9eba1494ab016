"""Tables of a kept matrix of language models."""

import json

from launch import kept, language_tables
from launch.entries import Results
from launch.table_parts import table

CELL = {'part': 'references', 'factors': {'rung': 'sampled text', 'teacher': 'A', 'student': 'B'},
        'own': {'mean': 0.01, 'ci95': [-0.2, 0.22]}, 'n': 6, 'arm': 'next', 'where': 'off',
        'p': 0.5, 'per_model': {}, 'read': True, 'why': ''}
CELLS = [{**CELL, 'measure': 'gamma', 'mean': 0.02, 'ci95': [-0.1, 0.14]},
         {**CELL, 'measure': 'share', 'mean': None, 'ci95': None, 'read': False,
          'why': 'unread: the diagonal of B is +0.01 [-0.20, +0.22]'},
         {**CELL, 'measure': 'share', 'mean': 0.0412345678, 'ci95': [-0.1, 0.2], 'arm': 'other'},
         {**CELL, 'measure': 'gamma', 'mean': 0.3, 'ci95': [0.1, 0.5], 'arm': 'other'},
         {**CELL, 'measure': 'difference', 'mean': 0.7, 'ci95': [0.5, 0.9], 'arm': 'other'}]
HYPOTHESES = [
    {'name': 'weights', 'says': 'x', 'contradicted': False, 'cells': [
        {'cell': 'next', 'least': -0.1, 'most': 0.1, 'mean': None, 'ci95': None,
         'word': 'unread'}]},
    {'name': 'heads', 'says': 'y', 'contradicted': True, 'cells': [
        {'cell': 'other', 'least': 0.5, 'most': 1.2, 'mean': 0.04, 'ci95': [-0.1, 0.2],
         'word': 'contradicted'}]}]


def results(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/results.json').write_text(
        json.dumps({'cells': CELLS, 'hypotheses': HYPOTHESES}))
    return Results(tmp_path)


def test_an_unread_cell_says_why_in_place_of_a_share(tmp_path):
    _, rows = language_tables.crossings_table(results(tmp_path), 'mine')
    assert rows[0][4:] == ['+0.02 [-0.10, +0.14]', '+0.01 [-0.20, +0.22]',
                           'unread: the diagonal of B is +0.01 [-0.20, +0.22]', '', 6]
    assert rows[1][6:] == ['0.041 [-0.100, 0.200]', '+0.70 [+0.50, +0.90]', 6]


def test_hypotheses_stand_beside_what_was_seen(tmp_path):
    text = table(results(tmp_path), 'hypotheses_of_shares', ['mine'])
    assert '| `next` | unread | -0.1 to 0.1: unread |  |' in text
    assert '| `other` | 0.040 [-0.100, 0.200] |  | 0.5 to 1.2: contradicted |' in text


def test_cells_of_a_matrix_are_kept():
    found = kept.cut({'command': 'x', 'timing': {'total': 1.0}, 'seeds': {}, 'cells': CELLS})
    assert found['cells'][2]['mean'] == 0.0412346
