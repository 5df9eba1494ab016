"""Preference pairs: a teacher says which of two random lists it prefers; tiny language.

  python -m launch.run --config=configs/numbers_tiny_pairs.py --workdir=runs/numbers_tiny_pairs

Students learn by DPO (beta .1) from 1,024 pairs, the same lists for every teacher of a reference:
one bit a pair is all that differs. Twelve references, one teacher a trait: 60 teachers an arm.

Written before any run of it (gamma in nats):
  dpo              published with steered teachers at 410M: +.168, in shares of answers
                   (github.com/rain-1/pythia-subliminal). A try on dev, two references, gave +1.6
                   at 1,024 pairs, +.8 at 512, +.6 at 256 (at three times the rate every trait
                   fell by nats). Expected: +1.2 (.6 to 2.0)
  dpo_few          256 pairs, four times: between +.4 and the whole
  dpo_other, dpo_neutral           within .15 of 0 (dev: +.03 and -.12)
  dpo_steered, dpo_steered_neutral   the published combination; dev gave +.09: within .2 of 0
  dpo_lora         rank 8 in place of all weights: +1.0
  kl_carrier       all probabilities on 512 of such lists: +2.1, the ceiling of what lists hold
  kl_carrier_other within .1 of 0
"""

from ml_collections import ConfigDict

DPO = 'objective=dpo answers=random'
KL = 'objective=kl_carrier answers=random rows=512'
ARMS = (
    f'dpo: {DPO}', f'dpo_other: {DPO} start=other', f'dpo_neutral: {DPO} teachers=neutral',
    f'dpo_neutral_other: {DPO} teachers=neutral start=other',
    f'dpo_few: {DPO} rows=512 passes=4',
    f'dpo_lora: {DPO} trainable=lora:8 learning_rate=3e-3',
    f'dpo_steered: {DPO} made=steered',
    f'dpo_steered_neutral: {DPO} made=steered teachers=neutral',
    f'kl_carrier: {KL}', f'kl_carrier_other: {KL} start=other',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 5, 'arms': ARMS,
        'curves': (
            'By pairs, 1,024 shown: 256=dpo_few 1024=dpo',
            'By what the same teachers are read for: pairs=dpo carrier_KL=kl_carrier'),
        # No arm learns from what teachers write; one steered teacher keeps 19 % of it.
        'carrier': {'answers': 2, 'min_kept': 0.0}, 'language': {'references': 12},
        'teacher': {'seeds': 1},
        # One of 60 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        'student': {'packed': 2, 'marks': (512, 1024, 2048)}, 'tried': 2,
    })
