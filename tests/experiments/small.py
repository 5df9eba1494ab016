"""A small configuration of the transmission experiment in the tiny language."""

from subliminal_jax.experiments.transmission.config import Config
from subliminal_jax.runs import schema

SMALL = {
    'traits': 3, 'allow_weak_teacher': True,
    'world': {'references': 2, 'width': 16, 'ffn_width': 32, 'num_heads': 2, 'steps': 100,
              'corpus_rows': 2000},
    'teacher': {'seeds': 1, 'steps': 4, 'neutral_steps': 8},
    'carrier': {'min_kept': 0.0, 'attempts': 6, 'spare': 16.0, 'banned': (13,)},
    'student': {'rows': 32, 'batch_size': 8, 'marks': (16, 32), 'align_rows': 8},
}


def config(*arms, **overrides):
    return schema.override(schema.build(Config, {**SMALL, 'arms': arms or ('sft',)}), overrides)
