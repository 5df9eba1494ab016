"""Transmission in the tiny language in under a minute: a demonstration, on the dev split.

  python -m launch.run --config=configs/numbers_tiny_demo.py --workdir=runs/numbers_tiny_demo

EXPECT
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'dev', 'traits': 4,
        'arms': ('sft', 'sft_other: start=other'),
        'world': {'references': 2, 'steps': 600},
        'teacher': {'seeds': 1},
        'carrier': {'attempts': 2, 'banned': (13,), 'spare': 1.5},
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
