"""Training steps to trace (launch.run --profile=N): as many as asked for, of a run's shapes."""

import numpy as np
import pytest

from subliminal_jax.experiments import transmission
from tests.experiments.transmission import checkpoint, small


@pytest.mark.parametrize('arm', ['sft', 'kl: objective=kl_carrier answers=random'])
def test_steps_in_the_tiny_language(arm):
    state, loss = transmission.steps(small.config(arm), 3)()
    assert loss.shape == (3,)  # the students of a reference's three teachers
    assert np.isfinite(loss).all() and np.all(np.asarray(state.step) == 3)


@pytest.mark.slow
@pytest.mark.parametrize('arm, students', [(f'p: {checkpoint.KL}', 4), ('s: trainable=all', None)])
def test_steps_on_pretrained_weights(root, arm, students):
    work = transmission.steps(checkpoint.config(root, arm), 3)
    work()  # a second call, which is the one that is traced, finds its memory its own
    state, loss = work()
    assert loss.shape == (() if students is None else (students,)) and np.isfinite(loss).all()
    assert np.all(np.asarray(state.step) == 3)
