"""Training steps to trace (launch.run --profile=N): as many as asked for, of a run's shapes."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import checkpoint  # noqa: E402
import small  # noqa: E402

from subliminal_jax.experiments import transmission, weights  # noqa: E402


@pytest.mark.parametrize('arm', ['sft', 'kl: objective=kl_carrier carrier=random'])
def test_steps_in_the_tiny_language(arm):
    _, losses = transmission.steps(small.config(arm), 3)()
    assert np.concatenate(losses, 1).shape == (3, 3)  # the students of a reference's three teachers
    assert np.isfinite(losses).all()


@pytest.mark.parametrize('arm, students', [(f'p: {checkpoint.KL}', 4), ('s: trainable=all', None)])
def test_steps_on_real_weights(tmp_path, arm, students):
    own = checkpoint.config(checkpoint.folder(tmp_path), arm)
    work = weights.steps(own, 3)
    work()  # a second call, which is the one that is traced, finds its memory its own
    state, loss = work()
    assert loss.shape == (() if students is None else (students,)) and np.isfinite(loss).all()
    assert np.all(np.asarray(state.step) == 3)
