"""Transmission on weights that someone else trained, under the controls of the tiny language."""

from subliminal_jax.experiments.weights.config import Config as Config
from subliminal_jax.experiments.weights.costs import calculated as calculated, plan as plan
from subliminal_jax.experiments.weights.designs import design as design
from subliminal_jax.experiments.weights.run import run as run
from subliminal_jax.experiments.weights.tracing import steps as steps
