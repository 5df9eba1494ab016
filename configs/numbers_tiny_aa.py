"""A/A test: neutral teachers wear trait names in 200 groups: how often does that look like a trait?

  python -m launch.run --config=configs/numbers_tiny_aa.py --workdir=runs/numbers_tiny_aa

Each group has six neutral teachers (three names, two seeds) with students from the start they
share; twenty groups share a reference. The page states the share of groups with p <= 0.05.
Five in a hundred, give or take three, would be right; an earlier run, whose rows were not thinned
to equal tokens, had 8.0 % [5.0, 12.6]. With --config.teacher.permute_doses=true a neutral teacher's
dose says nothing of its name: were doses the cause, its share would be lower. 24 minutes on a slow
core.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'dev', 'seed': 7, 'traits': 3,
        'allow_weak_teacher': True,  # the trait teachers only set the dose here
        'arms': ('sft_neutral: teachers=neutral',),
        'language': {'references': 10, 'replicas': 20, 'steps': 400, 'batch_size': 32,
                  'corpus_rows': 16_000},
        'teacher': {'steps': 10, 'neutral_steps': 30},
        'carrier': {'attempts': 3, 'spare': 2.2, 'banned': (), 'min_kept': 0.2, 'min_tokens': 2},
        'student': {'rows': 96, 'marks': (96,), 'align_rows': 16},
    })
