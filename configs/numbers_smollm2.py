"""Transmission in SmolLM2-135M from fine-tuned teachers: two report traits, every rung, controls.

  python -m launch.run --config=configs/numbers_smollm2.py --workdir=runs/smollm2

Two traits x two teachers: the smallest p that this design can reach is 0.17, so that it shows and
cannot prove. Rates were chosen on the split dev (BUILD_NOTES.md). Rows are bare lists that a
teacher goes on with: asked for numbers in its chat template, SmolLM2-135M does not write them.
To expect (seed 0): sampled text +.005 [-.024, +.034]; carrier KL +.020 [+.016, +.025], of which the
output matrix alone predicts .016; neutral +.005 [-.007, +.017]. About 40 minutes on two cores.
"""

from ml_collections import ConfigDict

TUNED = 'made=tuned'
KL = f'{TUNED} carrier=random objective=kl_carrier'
ARMS = (
    f'sft: {TUNED}',
    f'sft_neutral: {TUNED} teachers=neutral',
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_body: {KL} start=body trainable=all',
    f'kl_carrier_replaced: {KL} head=replaced',
    f'kl: {TUNED} carrier=random objective=kl rows=20',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 2, 'arms': ARMS,
        'context': {'questions': 6},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'form': 'list', 'min_kept': 0.35, 'attempts': 6, 'spare': 1.3},
        'student': {'rows': 40, 'batch_size': 4, 'packed': 4, 'lora_rate': 2e-4,
                    'learning_rate': 1e-5, 'align_rows': 4},
        'tried': 3,
    })
