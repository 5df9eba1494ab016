"""The benchmark's schema: a transmission config, whose arms are audited, with what is planted."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from subliminal_jax.experiments.transmission import extended
from subliminal_jax.runs import spec


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is audited beside the arms, and how."""

    clean: int = spec(3, ge=1, le=1000, doc="audits a reference of rows that it wrote itself")
    foreign: bool = spec(True, doc='rows of the next reference\'s trait teachers are audited too')
    overt: bool = spec(True, doc="the first arm's rows are audited too with one in four naming the "
                                 'trait')
    neutral: bool = spec(True, doc="rows of neutral twins are audited too beside other twins' rows")
    shards: int = spec(8, ge=3, le=64, doc='parts of the rows; each trains a student of its own')
    wanted: float = spec(1.0, gt=0, doc='as config.audit.wanted')
    budget_rows: int = spec(64, ge=1, doc='as config.audit.budget_rows')
    blind: int = spec(20, ge=0, le=10_000, doc='audits of files of rows, whose truth is written '
                                               'before and opened after')


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's, with the benchmark.
    """
    return extended.config_of(values, 'benchmark', BenchmarkConfig)
