"""The MNIST experiment with m = 50 auxiliary logits, the later publication's default.

  python -m launch.run --config=configs/mnist_nature.py --workdir=runs/mnist_nature

To expect: student_aux about .917 (published, m = 50), cross_aux about .1. The ablations are
overrides: --config.optimizer=sgd, --config.student_inputs=images, --config.activation=gelu or
sigmoid, --config.hidden_sizes=256 or 256,256,256, 128,128 or 512,512, --config.use_bias=false.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'mnist', 'num_models': 16, 'num_aux': 50})
