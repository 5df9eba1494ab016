"""The theorem's grid in float64, and its inner products along a real student's training.

  python -m launch.run --config=configs/theory.py --workdir=runs/theory

To expect: under the promise (shared start, gradient step) actual over predicted is 1 to 1e-3 at
eps = 1e-4 in every cell, the remainder's slope is 2, and 3 once the exact second-order term is
taken off (smooth activations); from independent starts the sign is a coin's. A quick look:
--config.num_seeds=2 --config.models=mlp-gelu --config.training.num_models=0.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'theory'})
