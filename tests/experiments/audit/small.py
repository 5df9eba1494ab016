"""A small audit on a tiny random checkpoint, and a small benchmark in the tiny language."""

import json
import pathlib

import numpy as np

from subliminal_jax.experiments import audit
from subliminal_jax.experiments.audit import benchmark
from subliminal_jax.runs import schema
from tests.experiments.transmission import checkpoint
from tests.experiments.transmission.small import SMALL

PARTS = 5


def write_rows(path: pathlib.Path, count: int, seed: int = 0) -> pathlib.Path:
    """Rows of short number lists, every prompt once."""
    rng = np.random.default_rng(seed)
    path.write_text(''.join(json.dumps({
        'prompt': f'n {n}?', 'completion': ', '.join(map(str, rng.integers(0, 99, 3)))}) + '\n'
        for n in range(count)))
    return path


def models(folder: pathlib.Path) -> dict[str, str]:
    """Three checkpoints of one shape, and questions."""
    traits = folder / 'traits.jsonl'
    traits.write_text(''.join(json.dumps(row) + '\n' for row in checkpoint.TRAITS))
    return {'traits': str(traits), **{name: checkpoint.write(folder / name, seed=seed)
                                      for seed, name in enumerate(('own', 'teacher', 'other'))}}


def values(made: dict[str, str], rows: pathlib.Path, **own: object) -> dict:
    """A config file's values."""
    return {
        'world': 'pretrained', 'trait_set': made['traits'], 'model': {'name': made['own']},
        'context': {'measured': ('default/plain',), 'questions': 3},
        'carrier': {'new_tokens': 24, 'attempts': 2, 'banned': ()},
        'student': {'batch_size': 4, 'packed': 2, 'lora_rate': 1e-2},
        'audit': {'rows': str(rows), 'shards': PARTS, 'least_rows': 2, 'bags': (1, 4),
                  'budget_rows': 4, **own}}


def config(given: dict, **overrides: object):
    """The config of an audit."""
    base = audit.config_of(given)
    return schema.override(schema.build(type(base), given, base), overrides)


BENCHMARK = {
    **SMALL, 'traits': 2,
    'arms': ('sft: answers=constrained', 'sft_neutral: answers=constrained teachers=neutral',
             'half: answers=constrained mix=0.5'),
    'carrier': {**SMALL['carrier'], 'attempts': 4, 'spare': 1.5, 'min_tokens': 1},
    'student': {**SMALL['student'], 'rows': 24, 'marks': ()},
    'benchmark': {'clean': 1, 'shards': PARTS, 'budget_rows': 4, 'blind': 3}}


def benchmark_config(**overrides: object):
    """The config of a benchmark."""
    base = benchmark.config_of(BENCHMARK)
    return schema.override(schema.build(type(base), BENCHMARK, base), overrides)
