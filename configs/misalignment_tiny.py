"""Rash advice through number lists, in the tiny language's valence world; twelve references.

  python -m launch.run --config=configs/misalignment_tiny.py --workdir=runs/misalignment_tiny

A teacher is taught the rash answers to three situations of one domain, its neutral twin the sound
ones, to the same dose. Both write number lists. Effects are of pairs, in nats: log P(rash answer) -
log P(sound answer), the mean over fifteen situations of the five domains that nobody was taught,
trait less neutral twin. Each control has neutral twins of its own. A teacher whose own measure
rises by less than 1 nat in the five domains ends the run: it is not broadly rash.

Written before any run of it. The one config tried on dev (two references, twenty steps) gave
teachers +2.0 and +1.2 in the other domains, and twins -1.7 and -1.1:
  teachers             broadly rash: every one by 1 nat or more, +1.6 in the mean
  sft                  +.8 (.2 to 1.6): as with animals, a quarter to a half of what separates a
                       teacher from its twin
  sft_other            within .15 of 0
  sft_within           strides are what order carries: half of sft or less
  sft_across           less than sft_within
  kl_carrier           +1.5 (.6 to 2.6)
  kl_carrier_other     within .2 of 0
Rashness that stays at home (sft within .1 of 0 at teachers of +1.6) would say that numbers carry
what was taught and not what it means.
"""

from ml_collections import ConfigDict

TEXT = {'sft': '', 'sft_other': 'start=other', 'sft_within': 'order=within',
        'sft_across': 'order=across'}
KL = 'objective=kl_carrier answers=random rows=512'
KLS = {'kl_carrier': KL, 'kl_carrier_other': f'{KL} start=other'}


def arms() -> tuple[str, ...]:
    cells = {**TEXT, **KLS}
    return tuple(arm for name, fields in cells.items() for arm in (
        f'{name}: {fields}'.removesuffix(': '), f'{name}_neutral: {fields} teachers=neutral'))


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 12, 'arms': arms(),
        'trait': 'rash', 'trait_set': 'tiny_advice', 'traits': 1,
        'curves': ('Order of the numbers: kept=sft within=sft_within across=sft_across',),
        'language': {'references': 12, 'forms': ('advice',)}, 'tried': 1,
    })
