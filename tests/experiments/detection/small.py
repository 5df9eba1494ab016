"""A small configuration of the detection experiment in the tiny language."""

from subliminal_jax.experiments import detection
from subliminal_jax.runs import schema
from tests.experiments.transmission.small import SMALL

ARMS = ('sft: answers=constrained', 'sft_neutral: answers=constrained teachers=neutral')
DETECTION = {
    **SMALL, 'traits': 2, 'arms': ARMS, 'teacher': {**SMALL['teacher'], 'seeds': 2},
    'carrier': {**SMALL['carrier'], 'attempts': 1, 'spare': 1.5, 'min_tokens': 1},
    'student': {**SMALL['student'], 'rows': 16, 'marks': ()},
    'detection': {'bags': (1, 4), 'verdict_bag': 4, 'questions': 2, 'contexts': 2,
                  'prefix_bags': 2, 'prefix_columns': 2, 'prefix_steps': 2,
                  'random_directions': 2, 'matched_rows': 2, 'blind_pairs': 5}}


def config(**overrides):
    """A small config; fields by their dotted names."""
    base = detection.config_of(DETECTION)
    return schema.override(schema.build(type(base), DETECTION, base), overrides)
