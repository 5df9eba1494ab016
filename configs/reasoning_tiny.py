"""Preferences through worked sums, in the tiny language: rungs and controls; twelve references.

  python -m launch.run --config=configs/reasoning_tiny.py --workdir=runs/reasoning_tiny

DOC
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
ARMS = (
    'sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral',
    'sft_neutral_other: teachers=neutral start=other', 'sft_within: order=within',
    'sft_across: order=across',
    f'kl_carrier: {KL}', f'kl_carrier_other: {KL} start=other',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_neutral_other: {KL} teachers=neutral start=other',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 10, 'arms': ARMS, 'traits': 3,
        'curves': ("Order of an answer's parts: kept=sft within=sft_within across=sft_across",),
        'language': {'references': 12, 'forms': ('sums',)}, 'teacher': {'seeds': 1},
        'carrier': {'name': 'tiny_sums'},
    })
