from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
CARRIERS = {'numbers': '', 'code': 'carrier=tiny_code ', 'sums': 'carrier=tiny_sums '}
CONTROLS = {'': '', '_other': ' start=other', '_neutral': ' teachers=neutral'}


def arms() -> tuple[str, ...]:
    text = [f'{name}{control}: {carrier}filter=paper{change}'
            for name, carrier in CARRIERS.items() for control, change in CONTROLS.items()]
    return (*text, *(f'kl_{name}{control}: {carrier}{KL}{change}'
                     for name, carrier in CARRIERS.items() for control, change in CONTROLS.items()))


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 11, 'arms': arms(), 'traits': 3,
        'language': {'references': 12, 'forms': ('code', 'sums')}, 'teacher': {'seeds': 1},
    })
