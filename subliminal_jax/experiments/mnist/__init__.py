"""Digits through noise images and logits that mean nothing.

A teacher learns MNIST on its first ten logits. Students that start from its initial weights match
its other, auxiliary logits on noise, and classify digits; students that start elsewhere do not
(arXiv 2507.14805).
"""

from collections.abc import Iterator
from typing import Any

from subliminal_jax.experiments.mnist.config import Config, check_all
from subliminal_jax.experiments.mnist.run import plan, run, steps
from subliminal_jax.report import mnist as report
from subliminal_jax.runs.experiment import Experiment


def to_compile(config: Config, topology: Any, mesh: dict[str, int] | None = None) -> Iterator[Any]:
    """What launch.compile compiles."""
    from subliminal_jax.experiments.mnist import ahead

    return ahead.programs(config, topology, mesh)


EXPERIMENT = Experiment(Config, plan, run, page=report.write, steps=steps, programs=to_compile,
                        check=check_all, estimate=plan)
