"""The demonstration of the tiny language, whole, against the figures that are kept of it."""

import json

import pytest

from tests.golden import make_transmission as golden

NATS = 0.02  # another machine rounds otherwise, and a few sampled tokens with it
MOVED = (
    'The demonstration came out otherwise. If a rule of the pipeline was meant to change (what is '
    'sampled, the order of rows, doses, an optimiser), remake the file with '
    'tests/golden/make_transmission.py and say so in the message of the change; else find what '
    'moved: nothing that only tidies up may move a figure.')


@pytest.mark.slow  # a minute, alone
@pytest.mark.timeout(900)
def test_the_demonstration_is_golden(tmp_path):
    found = golden.record(golden.run(tmp_path / 'run'))
    kept = json.loads(golden.PLACE.read_text())
    assert set(found) == set(kept)
    for name, values in kept['effect'].items():
        assert found['effect'][name] == pytest.approx(values, abs=NATS), MOVED
    for name, rows in kept['y'].items():
        for teacher, row in rows.items():
            assert found['y'][name][teacher] == pytest.approx(row, abs=3 * NATS), MOVED
    for field, near in (('rise', 1e-3), ('dose', 1e-4)):  # nothing is sampled before these
        assert found[field] == pytest.approx(kept[field], abs=near), MOVED
    assert found['kept'] == pytest.approx(kept['kept'], rel=0.01), MOVED
    assert found['tokens_a_row'] == pytest.approx(kept['tokens_a_row'], rel=0.01), MOVED
