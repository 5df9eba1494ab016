"""The kept table of killed runs."""

import json

import pytest

from launch import table_parts
from subliminal_jax.runs import UserError


def test_a_line_a_program_and_what_differed(tmp_path):
    (tmp_path / 'chaos').mkdir()
    row = {'arguments': ['--config=configs/mnist.py', '--config.num_models=2'], 'kills': 12,
           'SIGKILL': 5, 'SIGTERM': 7, 'runs': 3, 'seconds_clean': 102.1}
    (tmp_path / 'chaos/table.jsonl').write_text('\n'.join(
        json.dumps({**row, 'differing': differing}) for differing in ([], ['arms'])))
    table = table_parts.table(table_parts.Results(tmp_path), 'chaos', ['chaos']).splitlines()
    assert table[2] == '| `mnist.py` | 12 | 5 | 7 | 3 | 102 | nothing |'
    assert table[3].endswith('| arms |')
    with pytest.raises(UserError, match='not kept'):
        table_parts.table(table_parts.Results(tmp_path), 'chaos', ['none'])
