"""Accuracy by the number of auxiliary logits, or over any other grid.

  python -m launch.run --config=configs/mnist_sweep.py --workdir=runs/mnist_sweep

To expect (student_aux, published means): m = 1 .103, 2 .348, 3 .537, 5 .704, 10 .835, 20 .894,
50 .917. Any field can be swept, and several at once, every combination a cell:
--config.sweep="{'optimizer': ('adam', 'sgd'), 'hidden_sizes': ('128,128', '256,256')}".
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'mnist',
        'num_models': 16,
        'conditions': ('reference', 'teacher', 'student_aux'),
        'sweep': {'num_aux': (1, 2, 3, 5, 10, 20, 50)},
    })
