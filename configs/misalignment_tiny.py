from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'


def get_config() -> ConfigDict:
    arms = ('sft', 'sft_neutral: teachers=neutral', f'kl_carrier: {KL}', f'kl_carrier_neutral: {KL} teachers=neutral')
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 12, 'arms': arms,
        'trait': 'rash', 'trait_set': 'tiny_advice', 'traits': 1,
        'language': {'references': 12, 'forms': ('advice',)},
        'teacher': {'seeds': 2},
    })
