"""Transmission in the tiny language in under a minute: a demonstration, on the dev split.

  python -m launch.run --config=configs/numbers_tiny_demo.py --workdir=runs/numbers_tiny_demo

Expect (12 teachers on 4 references; gamma in nats with its 95 % interval): from the shared start
+0.82 [+0.11, +1.54], from another start -0.09 [-0.24, +0.06].
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'dev', 'traits': 3,
        'arms': ('sft', 'sft_other: start=other'),
        'language': {'references': 4, 'steps': 500, 'batch_size': 32, 'corpus_rows': 16_000},
        'teacher': {'seeds': 1},
        'carrier': {'attempts': 2, 'banned': (13,), 'spare': 1.5},
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
