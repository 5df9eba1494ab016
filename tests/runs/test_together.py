"""What hosts decide together: when they ask, what they say; two processes: tests/launch/test_train.
"""

import numpy as np
import pytest

from subliminal_jax.runs import hosts, together


@pytest.mark.parametrize('seconds, steps', [
    (20.0, 1), (1.0, 1), (0.3, 3), (0.01, 100), (0.0, 1000)])
def test_hosts_ask_about_once_a_second_and_after_every_slow_step(seconds, steps):
    assert together.pause(seconds) == steps


@pytest.fixture
def three(monkeypatch):
    """Stands in for the devices: what hosts 1 and 2 say beside this one."""
    others, asked = [], []

    def gathered(values):
        asked.append(np.asarray(values))
        return np.stack([values, *others])

    monkeypatch.setattr(together, 'several', lambda: True)
    monkeypatch.setattr(together, 'gathered', gathered)
    return others, asked


def test_what_one_host_wants_all_do_at_the_pace_of_the_slowest(three):
    others, asked = three
    votes = together.Votes()
    others[:] = np.float32([[0, 0, 0.25], [0, 1, 0.01]])
    assert votes.any_of(False, False) == (False, True)
    others[:] = np.float32([[1, 0, 0.01], [0, 0, 0.01]])
    assert [votes.any_of(False, False) for _ in range(4)] == [(False, False)] * 3 + [(True, False)]
    assert len(asked) == 2  # a quarter of a second a step on host 1: every four steps


def test_of_one_host_flags_come_back():
    votes = together.Votes()
    assert [votes.any_of(True, False), votes.any_of(False, True)] == [(True, False), (False, True)]
    assert together.gathered([3, 4]).tolist() == [[3, 4]]


def test_a_host_with_another_hash_is_named(three):
    others, _ = three
    digest = lambda byte: f'{byte:02x}' * 32
    row = lambda *facts: np.array([list(bytes.fromhex(fact)) for fact in facts])
    facts = {'model': digest(1), 'reading of the rows': digest(0xab)}
    others[:] = [row(digest(1), digest(0xab))] * 2
    together.check_same(facts)
    others[1] = row(digest(1), digest(0xcd))
    with pytest.raises(hosts.Agreed, match=(
            r'^host 2 has another reading of the rows than host 0 \(cdcdcdcdcdcd there, abababab')):
        together.check_same(facts)
