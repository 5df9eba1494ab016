"""The theorem, checked cell by cell, and followed along a real student's training.

Stages: the grid (every cell named before any is computed), one stage a compiled program (model and
precision), one a model of the training tracks; then results.json and the page. The claims are
float64 on the CPU; the tracks are float32, as the MNIST experiment is.
"""

from subliminal_jax.experiments.theory.config import Config, check
from subliminal_jax.experiments.theory.plan import plan
from subliminal_jax.experiments.theory.run import run
from subliminal_jax.report import theory as report
from subliminal_jax.runs.experiment import Experiment

EXPERIMENT = Experiment(Config, plan, run, page=report.write, check=check, estimate=plan)
