"""Who can learn from whom: students whose start is their teacher's in part, or in nothing.

`cross_mnist` is the matrix on digits: starts x read-outs x architectures x optimisers x auxiliary
logits, each cell beside what three hypotheses said of it before anything was run
(`hypotheses.py`).
"""

from subliminal_jax.experiments.cross_model.digits.config import Config
from subliminal_jax.experiments.cross_model.digits.run import check, plan, run
from subliminal_jax.report import cross_mnist as report
from subliminal_jax.runs.experiment import Experiment

EXPERIMENT = Experiment(Config, plan, run, page=report.write, check=check, estimate=plan)
