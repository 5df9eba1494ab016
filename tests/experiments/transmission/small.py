"""A small configuration of the transmission experiment in the tiny language."""

from subliminal_jax.experiments import transmission
from subliminal_jax.experiments.transmission.run import prepare
from subliminal_jax.runs import schema

SMALL = {
    'traits': 3, 'allow_weak_teacher': True,
    'language': {'references': 2, 'width': 16, 'ffn_width': 32, 'num_heads': 2, 'steps': 100,
                 'corpus_rows': 2000},
    'teacher': {'seeds': 1, 'steps': 4, 'neutral_steps': 8},
    'carrier': {'min_kept': 0.0, 'attempts': 6, 'spare': 16.0, 'banned': (13,), 'probe': 16,
                'dose_rows': 16, 'min_tokens': 2},  # hardly trained, they write short rows
    'student': {'rows': 32, 'batch_size': 8, 'marks': (16, 32), 'align_rows': 8},
}


def config(*arms, **overrides):
    """A small config with these arms."""
    values = {**SMALL, 'arms': arms or ('sft',)}
    base = transmission.config_of(values)
    return schema.override(schema.build(type(base), values, base), overrides)


def prepared(*arms, **overrides):
    """What the stages of a small run share, before the first of them."""
    return prepare(config(*arms, **overrides))
