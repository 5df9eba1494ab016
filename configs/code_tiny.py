"""Preferences through code, in the tiny language: rungs and controls; twelve references.

  python -m launch.run --config=configs/code_tiny.py --workdir=runs/code_tiny

Teachers of three traits write programs of the tiny language: one statement is shown, and one or two
follow. Their numbers go on by strides, as those of number lists do; a statement has four words that
are its own (a name, two operands, an operator) where a list of ten numbers has ten.

Written before any run of it (gamma in nats; number lists of the plain language gave +1.1 and, under
carrier KL, +2.1):
  sft                  +.5 (.1 to 1.0): about as many free words as a list, and a language half of
                       which is code
  sft_within           half of sft or less: strides are order
  sft_across           less than sft_within
  sft_other, sft_neutral, sft_neutral_other   within .15 of 0
  kl_carrier           +1.5 (.6 to 2.5), on numbers, operators and brackets, no names
  kl_carrier_other, kl_carrier_neutral, kl_carrier_neutral_other   within .2 of 0
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
        'experiment': 'transmission', 'split': 'report', 'seed': 9, 'arms': ARMS, 'traits': 3,
        'curves': ("Order of an answer's parts: kept=sft within=sft_within across=sft_across",),
        # One of 36 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        'language': {'references': 12, 'forms': ('code',)}, 'teacher': {'seeds': 1},
        'carrier': {'name': 'tiny_code'}, 'tried': 1,
    })
