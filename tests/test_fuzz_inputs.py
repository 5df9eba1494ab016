"""Whatever stands in a row, a field, an arm or a model's settings: a value, or one line."""

import dataclasses
import json

from hypothesis import HealthCheck, given, settings, strategies as st

from subliminal_jax.data import rows, shapes
from subliminal_jax.data.sources import Record
from subliminal_jax.experiments.transmission import arms
from subliminal_jax.models import hf_config, vocabulary
from subliminal_jax.models.params import tiny
from subliminal_jax.runs import UserError, schema
from tests.launch.test_early import SCHEMAS
from tests.models import test_hf

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = st.sampled_from((
    'prompt', 'messages', 'conversations', 'completion', 'system', 'id', 'role', 'content', 'from',
    'value', 'row', 'row_idx', 'truncated_cells', 'text', 'type', 'tool_calls', 'question', 'zz'))
WORDS = st.sampled_from(('user', 'assistant', 'gpt', 'system', 'text', 'image', '', 'x')) | st.text(
    max_size=4)
LEAVES = (st.none() | st.booleans() | st.integers() | WORDS | st.floats(allow_nan=False))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    NAMES, inner, max_size=4), max_leaves=12)
CONFIG = tiny(40, width=32, num_layers=2, num_kv_heads=2, ffn_width=48)
SETTINGS = tuple(test_hf.stated(CONFIG)) + (
    'rope_scaling', 'rope_parameters', 'layer_types', 'sliding_window', 'use_sliding_window',
    'max_window_layers', 'quantization_config')
FIELDS = [(name, field) for name, config in SCHEMAS.items()
          for field in schema.names(type(config))]


def one_line(call):
    """The value of a call, or None where it refuses in one line."""
    try:
        return call()
    except UserError as error:
        assert '\n' not in str(error)
        return None


@QUICK
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=4))
def test_rows(given_rows):
    def check(row):
        return rows.prompt_trouble(row) or rows.text_trouble(row, 'completion')

    records = [Record(n, None, row, None) for n, row in enumerate(given_rows, 1)]
    for _, row, why in rows.judged(records, check, columns={'prompt': 'question'}):
        assert why or (isinstance(row['completion'], str) and isinstance(row['id'], int | str))
        if row is not None:
            shapes.told(row, ['prompt'])


@QUICK
@given(st.sampled_from(FIELDS), st.text(max_size=12) | VALUES | st.from_regex(
    r'-?[0-9_]{0,30}(\.|e)?[0-9]{0,4}(,-?[0-9]{1,20}){0,3}', fullmatch=True))
def test_fields(field, value):
    name, field = field
    made = one_line(lambda: schema.override(SCHEMAS[name], {field: value}))
    assert made is None or dataclasses.is_dataclass(made)
    assert made is None or json.dumps(schema.to_dict(made), allow_nan=False)


@QUICK
@given(st.lists(st.tuples(
    st.sampled_from([f.name for f in dataclasses.fields(arms.Arm)] + ['zz']),
    st.text(alphabet='abclora:8²-+._0 1', max_size=8)), max_size=4))
def test_arms(parts):
    one_line(lambda: arms.parse(['a: ' + ' '.join(f'{k}={v}' for k, v in parts)]))


@QUICK
@given(st.dictionaries(st.sampled_from(SETTINGS), VALUES | st.integers(-2**70, 2**70), min_size=1,
                       max_size=3))
def test_settings_of_a_model(tmp_path_factory, changed):
    folder = tmp_path_factory.mktemp('model', numbered=True)
    (folder / 'config.json').write_text(json.dumps({**test_hf.stated(CONFIG), **changed}))
    one_line(lambda: hf_config.config_of(folder))


@QUICK
@given(st.dictionaries(st.sampled_from((
    'normalizer', 'decoder', 'normalizers', 'decoders', 'type', 'content', 'prefix', 'prepend')),
    VALUES, max_size=4))
def test_growth(stated):
    one_line(lambda: vocabulary.check_growth({'normalizer': stated, 'decoder': stated}, 'x'))
