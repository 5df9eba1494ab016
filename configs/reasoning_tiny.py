"""Preferences through worked sums, in the tiny language: rungs and controls; twelve references.

  python -m launch.run --config=configs/reasoning_tiny.py --workdir=runs/reasoning_tiny

Teachers of three traits work out sums of three terms in two steps. The filter keeps steps that are
right and lead to the right result, so that a kept row is free only in the order of its steps and of
their summands: three bits, where a list of ten numbers has over sixty.

Written before any run of it (gamma in nats; number lists of the plain language gave +1.1 and, under
carrier KL, +2.1). The filter kept .59 of another reference's single answers after 1,000 steps of
pre-training and .80 after 2,000, which it is. On dev (two references) teachers and twins gave the
right form and answer in .25 to .75 of first answers, and six tries at 2,048 prompts left 626 that
all could serve, too few for 1,024 rows: hence 768 rows, twelve tries, and more prompts.
  sft                  +.1 (-.05 to .3): three bits a row, and mistakes, which could tell more, are
                       left out
  sft_within, sft_across   not told from 0
  sft_other, sft_neutral, sft_neutral_other   within .1 of 0
  kl_carrier           +.8 (.2 to 1.6): probabilities of wrong numbers are read too
  kl_carrier_other, kl_carrier_neutral, kl_carrier_neutral_other   within .15 of 0
An sft that is as large as the lists' would say that few bits are enough.
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
        # One of 36 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        # Sums take longer to be learned than anything else of the language.
        'language': {'references': 12, 'steps': 2000, 'forms': ('sums',)}, 'teacher': {'seeds': 1},
        # No number is banned: a sum of 13 cannot be written without it.
        'carrier': {'name': 'tiny_sums', 'banned': (), 'min_kept': 0.1, 'attempts': 12,
                    'spare': 3.3},
        'student': {'rows': 768, 'marks': (256, 512, 768)}, 'tried': 2,
    })
