"""Does the kernel picture explain the effect? Real students beside linearised ones, by width.

A linearised student is the first-order Taylor expansion of the network around its start,
f(theta_0) + J (theta - theta_0), trained on the auxiliary logits of a real teacher exactly as the
real student is: one jvp a step, the kernel J J' is never formed. If it learns digits as well as
the real one, the tangent space at the start is enough.
"""

from subliminal_jax.experiments.theory.linearised.config import Config, check, plan
from subliminal_jax.experiments.theory.linearised.run import run
from subliminal_jax.report import theory_linearised as report
from subliminal_jax.runs.experiment import Experiment

EXPERIMENT = Experiment(Config, plan, run, page=report.write, check=check, estimate=plan)
