"""Transmission in SmolLM2-135M: five report traits x two teachers; carries the claim; resumable.

  python -m launch.run --config=configs/numbers_smollm2_full.py --workdir=runs/smollm2_full

Sampled, filtered text and carrier KL from fine-tuned teachers, each beside neutral twins; under
carrier KL also with a matrix whose carrier rows are random, and what the matrix alone predicts.
With five traits the smallest p is 1/120. The settings are those of numbers_smollm2.py, with more
rows. Other kinds of teachers, starts and students: numbers_smollm2_starts.py.
"""

from ml_collections import ConfigDict

TUNED = 'made=tuned'
KL = f'{TUNED} carrier=random objective=kl_carrier'
ARMS = (
    f'sft: {TUNED}',
    f'sft_neutral: {TUNED} teachers=neutral',
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_replaced: {KL} head=replaced',
    f'kl: {TUNED} carrier=random objective=kl rows=24',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 5, 'arms': ARMS,
        'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'form': 'list', 'min_kept': 0.35, 'attempts': 6, 'spare': 1.25},
        'student': {'rows': 96, 'batch_size': 4, 'packed': 4, 'lora_rate': 2e-4,
                    'learning_rate': 1e-5, 'align_rows': 4, 'at_once': 5},
        'tried': 3,
    })
