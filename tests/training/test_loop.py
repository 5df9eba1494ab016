"""The host's loop: resuming to the same bits, whatever ended it; order of metrics and probes."""

import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subliminal_jax.runs import Preempted, UserError, app
from subliminal_jax.training.checkpoints import Checkpoints
from subliminal_jax.training.loop import fit, jit_step
from subliminal_jax.training.step import init_state, make_step

OPTIMIZER = optax.adam(0.05)
STEPS = 9

KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
from test_loop import *

def batch(number):
    if number == 7:
        checkpoints.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    return batch_at(number)

with Checkpoints({folder!r}) as checkpoints:
    train(checkpoints=checkpoints, batch=batch)
"""


def loss_fn(trainable, frozen, batch, key):
    noise = jax.random.normal(key, batch['y'].shape)
    error = jnp.tanh(batch['x'] @ trainable['w']) * frozen - batch['y'] - 0.1 * noise
    return (batch['weight'] * error**2).sum(), {'weight': batch['weight'].sum()}


def batch_at(number):
    rng = np.random.default_rng([3, number])
    return {'x': rng.standard_normal((8, 5), np.float32),
            'y': rng.standard_normal(8, np.float32), 'weight': np.ones(8, np.float32)}


STEP = jit_step(make_step(loss_fn, OPTIMIZER))


def train(num_steps=STEPS, checkpoints=None, batch=batch_at, **others):
    others = {'save_every': 0, **others}
    start = {'w': jnp.linspace(-1, 1, 5)}
    return fit(STEP, init_state(start, OPTIMIZER), jnp.float32(1.5), batch, num_steps,
               key=jax.random.key(2), checkpoints=checkpoints, **others)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.state, other.state)
    assert one.rows == other.rows


@pytest.fixture(scope='module')
def whole():
    return train()


def test_rows_tell_every_step_in_order(whole):
    state, _, rows = whole
    assert [row['step'] for row in rows] == list(range(1, STEPS + 1)) and int(state.step) == STEPS
    assert set(rows[0]) == {'step', 'loss', 'weight', 'grad_norm'}
    assert rows[-1]['loss'] < rows[0]['loss']


def test_a_step_is_dispatched_before_the_last_ones_metrics_are_read():
    events = []

    class Metric:
        def __init__(self, number):
            self.number = number

        def __float__(self):
            events.append(f'read {self.number}')
            return 0.5

        def __array__(self, dtype=None, copy=None):
            return np.array(float(self), dtype)

    def step(state, frozen, batch, key):
        events.append(f'dispatch {batch}')
        return state, {'loss': Metric(batch)}

    fit(step, init_state({'w': jnp.zeros(1)}, OPTIMIZER), None, lambda n: n, 3,
        key=jax.random.key(0), log=lambda **row: events.append(f'row {row["step"]}'))
    order = [e for n, e in enumerate(events) if e not in events[:n]]
    assert order == ['dispatch 0', 'dispatch 1', 'read 0', 'row 1', 'dispatch 2', 'read 1', 'row 2',
                    'read 2', 'row 3']


def watch(seen):
    """A probe that keeps the sum of the weights, and says how far it has come since the last."""
    def probe(number, trainable, kept):
        total = np.asarray(trainable['w'].sum())
        seen.append((number, float(total)))
        return {'moved': total - kept}, total

    return probe


def test_probes_come_where_they_are_asked_for_and_hand_on_what_they_keep(whole):
    seen = []
    found = train(probe=watch(seen), at=(0, 4, 8, STEPS), kept=np.float32(0))
    assert [number for number, _ in seen] == [0, 4, 8, STEPS]
    assert seen[-1][1] == float(found.state.trainable['w'].sum()) == float(found.kept)
    moved = [row['moved'] for row in found.rows if 'moved' in row]
    assert moved[1:] == pytest.approx(np.diff([total for _, total in seen]), abs=1e-6)
    places = [(row['step'], 'moved' in row) for row in found.rows]
    assert places == sorted(places) and sum(p for _, p in places) == 4
    same(found._replace(rows=[row for row in found.rows if 'moved' not in row]), whole)


def test_a_training_stops_where_its_probe_says_so():
    stop = lambda rows: rows[-1]['step'] == 4
    found = train(probe=watch([]), at=range(2, STEPS), kept=np.float32(0), stop=stop)
    assert int(found.state.step) == 4 and found.rows[-1]['step'] == 4


@pytest.mark.parametrize('killed', [1, 3, 4, 6, 8])
def test_what_probes_keep_survives_a_kill_at_any_step(tmp_path, killed):
    class Killed(Exception):
        pass

    def batch(number):
        if number == killed:
            raise Killed
        return batch_at(number)

    probes = {'at': (0, 3, 6, STEPS), 'kept': np.float32(0)}
    wanted = train(probe=watch([]), **probes)
    with pytest.raises(Killed), Checkpoints(tmp_path / 'c') as checkpoints:
        train(checkpoints=checkpoints, batch=batch, probe=watch([]), **probes)
    seen = []
    with Checkpoints(tmp_path / 'c') as checkpoints:
        assert checkpoints.latest() == killed
        found = train(checkpoints=checkpoints, probe=watch(seen), **probes)
    same(found, wanted)
    assert float(found.kept) == float(wanted.kept)
    assert [number for number, _ in seen] == [n for n in probes['at'] if n > killed]


def test_a_checkpoint_of_other_inputs_is_refused(tmp_path):
    with Checkpoints(tmp_path / 'c', note='rows a') as checkpoints:
        train(num_steps=2, checkpoints=checkpoints)
    with Checkpoints(tmp_path / 'c', note='rows b') as checkpoints, pytest.raises(
            UserError, match='other inputs: what it read has changed since'):
        train(checkpoints=checkpoints)


def test_nothing_is_made_before_there_is_something_to_save(tmp_path):
    with Checkpoints(tmp_path / 'c') as checkpoints:
        assert checkpoints.latest() is None
        train(num_steps=2, checkpoints=checkpoints, save_every=1e9)
    assert not (tmp_path / 'c').exists()


def test_more_steps_go_on_where_the_checkpoint_is(tmp_path, whole):
    logged = []
    with Checkpoints(tmp_path / 'c') as checkpoints:
        train(num_steps=4, checkpoints=checkpoints)
        assert checkpoints.latest() == 4
        found = train(checkpoints=checkpoints, log=lambda **row: logged.append(row['step']))
        same(found, whole)
        same(train(checkpoints=checkpoints), whole)  # nothing is left to do
        with pytest.raises(UserError, match='more than the 5'):
            train(num_steps=5, checkpoints=checkpoints)
    assert logged == [1, 2, 3, 4, 5, 6, 7, 8, 9]  # a stage that is made again has forgotten them


def test_sigterm_saves_and_the_rest_gives_the_same_bits(tmp_path, whole, monkeypatch):
    monkeypatch.setitem(app._STOP, 'asked', False)
    before = signal.signal(signal.SIGTERM, app._on_sigterm)

    def batch(number):
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_at(number)

    try:
        with Checkpoints(tmp_path / 'c') as checkpoints, pytest.raises(Preempted):
            train(checkpoints=checkpoints, batch=batch)
    finally:
        signal.signal(signal.SIGTERM, before)
        app._STOP['asked'] = False
    with Checkpoints(tmp_path / 'c') as checkpoints:
        assert checkpoints.latest() == 5
        same(train(checkpoints=checkpoints), whole)


def test_a_kill_loses_nothing_but_the_steps_since_the_checkpoint(tmp_path, whole):
    here, folder = os.path.dirname(__file__), str(tmp_path / 'c')
    made = subprocess.run([sys.executable, '-c', KILLED.format(tests=here, folder=folder)],
                          capture_output=True, text=True, check=False)
    assert made.returncode == -signal.SIGKILL, made.stderr
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == 7
        same(train(checkpoints=checkpoints), whole)


def test_what_is_not_finite_raises_and_names_its_step_and_is_not_saved(tmp_path):
    def batch(number):
        made = batch_at(number)
        return {**made, 'y': made['y'] * (np.nan if number == 5 else 1)}

    with Checkpoints(tmp_path / 'c') as checkpoints:
        with pytest.raises(UserError, match='step 6: .* is not finite: training has diverged'):
            train(checkpoints=checkpoints, batch=batch)
        checkpoints.wait()
        assert checkpoints.latest() == 5


def test_of_several_models_the_one_that_diverged_is_named():
    def step(state, frozen, batch, key):
        loss = jnp.array([0.5, np.nan if batch == 2 else 0.5, 0.5])
        return state, {'loss': loss}

    with pytest.raises(UserError, match='students of x, step 3: loss is not finite in owl: '):
        fit(step, init_state({'w': jnp.zeros(1)}, OPTIMIZER), None, lambda n: n, 5,
            key=jax.random.key(0), description='students of x', models=('cat', 'owl', 'fox'))
