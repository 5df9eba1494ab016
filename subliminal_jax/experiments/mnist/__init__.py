"""Digits through noise images and logits that mean nothing.

A teacher learns MNIST on its first ten logits. Students that start from its initial weights match
its other, auxiliary logits on noise, and classify digits; students that start elsewhere do not
(arXiv 2507.14805).
"""

from subliminal_jax.experiments.mnist.config import Config, check_all
from subliminal_jax.experiments.mnist.run import plan, run, steps
from subliminal_jax.report import mnist as report
from subliminal_jax.runs.experiment import Experiment

EXPERIMENT = Experiment(Config, plan, run, page=report.write, steps=steps, check=check_all,
                        estimate=plan)
