"""Transmission in SmolLM2-135M from fine-tuned teachers: two report traits, every rung, controls.

  python -m launch.run --config=configs/numbers_smollm2.py --workdir=runs/smollm2

Two traits x two teachers: the smallest p that this design can reach is 0.17, so that it shows and
cannot prove; numbers_smollm2_full.py can, and has the other control of geometry. Asked for numbers,
SmolLM2-135M does not write them; a list that is begun in its turn it goes on with
(carrier.form=turn), and those are the rows. To expect (seed 0): sampled text +.007 [-.039, +.052];
carrier KL +.061 [+.051, +.071], of which the output matrix alone predicts .048; neutral +.014
[-.043, +.070]; full KL -.003 [-.037, +.031]. 28 minutes on two cores.
"""

from ml_collections import ConfigDict

ADAPTER = 'trainable=lora:8'
FROM_RANDOM = 'answers=random objective=kl_carrier'
KL = f'{ADAPTER} {FROM_RANDOM}'
ARMS = (
    f'sft: {ADAPTER}',
    f'sft_neutral: {ADAPTER} teachers=neutral',
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_body: {FROM_RANDOM} start=body trainable=all',
    f'kl: {ADAPTER} answers=random objective=kl_top',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 2,
        'arms': ARMS,
        'context': {'questions': 6},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5, 'neutral_steps': 14},
        'carrier': {'form': 'turn', 'min_kept': 0.3, 'attempts': 8, 'spare': 1.3},
        'student': {'rows': 64, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'learning_rate': 2e-5, 'align_rows': 8},
        'tried': 5,
    })
