"""Transmission through numbers, end to end, with the controls that make it a finding."""

from subliminal_jax.experiments.transmission.config import Config as Config
from subliminal_jax.experiments.transmission.run import plan as plan, run as run
from subliminal_jax.experiments.transmission.tracing import steps as steps
