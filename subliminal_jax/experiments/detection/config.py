"""The detection experiment's schema: a transmission config with what detectors add."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from subliminal_jax.detection.reader import Amplified
from subliminal_jax.experiments.transmission import extended
from subliminal_jax.runs import spec

PREFIX = Amplified()


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
    """What is read of rows, and in which bags it is told."""

    bags: tuple[int, ...] = spec((1, 4, 16, 64, 256), ge=1, min_len=1, doc='rows in a bag')
    verdict_bag: int = spec(64, ge=1, doc='of `bags`: the one that verdicts are of')
    questions: int = spec(4, ge=1, doc="the first of the split's, of which log P of traits is read")
    contexts: int = spec(64, ge=2, doc='contexts of rows that are read of a teacher, by length')
    prefix_bags: int = spec(4, ge=2, doc='prefixes that are trained on rows of a teacher, by bag')
    prefix_columns: int = spec(PREFIX.columns, ge=1, doc='keys and values of a prefix')
    prefix_steps: int = spec(PREFIX.steps, ge=1, doc='of its training, Adam')
    prefix_rate: float = spec(PREFIX.learning_rate, gt=0, doc='of its training')
    random_directions: int = spec(4, ge=1, doc="draws of the random direction that matches rows' "
                                  'gradients')
    matched_rows: int = spec(32, ge=1, doc='rows a teacher whose gradients it matches')
    prompted_rows: int = spec(256, ge=1, doc='rows a teacher that the prompted classifier reads')
    blind_pairs: int = spec(40, ge=1, doc='pairs of rows on the blind page')

    @property
    def prefix(self) -> Amplified:
        """How prefixes are trained."""
        return Amplified(self.prefix_columns, self.prefix_steps, self.prefix_rate)


def config_of(values: Mapping[str, Any]) -> Any:
    """The config whose values hold where a config file is silent: its world's, with detectors."""
    return extended.config_of(values, 'detection', DetectionConfig)
