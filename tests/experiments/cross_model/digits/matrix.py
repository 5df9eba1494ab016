"""A small matrix on images of ten kinds: its config, and how it is run."""

import json

from subliminal_jax.experiments.cross_model.digits import EXPERIMENT
from subliminal_jax.experiments.cross_model.digits.config import Config
from subliminal_jax.runs import Workdir, override

SMALL = {'num_models': '4', 'learning_rate': '0.003', 'batch_size': '64', 'teacher.epochs': '3',
         'student.epochs': '4', 'clone.epochs': '2', 'chunk_size': '2', 'probe_images': '1200'}
LINES = (
    'own: width=32 readout=own+teacher+probe', 'other: width=32 start=other',
    'out: width=32 start=share:output readout=own+probe', 'aux: width=32 start=share:aux',
    'half: width=32 start=mix:0.5', 'cloned: width=32 start=cloned',
    'cloned_all: width=32 start=cloned:all readout=own', 'own_m5: width=32 num_aux=5',
    'half_m5: width=32 num_aux=5 start=mix:0.5', 'own_wide: width=48',
    'own_wide5: width=48 num_aux=5')


def config_of(lines=LINES, **changes):
    """The small config with these cells."""
    return override(Config(cells=tuple(lines)), {**SMALL, **changes})


def run(config, path):
    """The table and results.json of a run in this folder."""
    workdir = Workdir(path, config, 'cross_mnist')
    try:
        text = EXPERIMENT.run(config, workdir)
    finally:
        workdir._lock.close()
    return text, json.loads((path / 'results.json').read_text())
