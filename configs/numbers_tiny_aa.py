"""A/A test: neutral teachers wear trait names in 200 groups: how often does that look like a trait?

  python -m launch.run --config=configs/numbers_tiny_aa.py --workdir=runs/numbers_tiny_aa

Each group has ten neutral teachers (five names, two seeds) with students from the start they share;
ten groups share a reference. The page states the share of groups with p <= 0.05.
EXPECT
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'dev', 'seed': 7,
        'arms': ('sft_neutral: teachers=neutral',),
        'world': {'references': 10, 'replicas': 20, 'steps': 600},
        'carrier': {'attempts': 1, 'spare': 4.0, 'banned': (), 'min_kept': 0.2},
        'student': {'rows': 128, 'marks': (64, 128)},
    })
