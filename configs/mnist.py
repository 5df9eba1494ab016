"""The MNIST experiment as published: m = 3 auxiliary logits, all conditions and a placebo.

  python -m launch.run --config=configs/mnist.py --workdir=runs/mnist

To expect (100 models, --config.num_models=100; published means): reference .100, teacher .943,
student_aux .537, student_all .912, cross_aux .100, cross_all .741; the placebo near .1 by the
labels and about as student_aux by its own teacher's.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'mnist', 'num_models': 16, 'num_aux': 3})
