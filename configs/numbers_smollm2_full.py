"""Transmission in SmolLM2-135M: five report traits x two teachers; carries the claim; resumable.

  python -m launch.run --config=configs/numbers_smollm2_full.py --workdir=runs/smollm2_full

Carrier KL on random number rows in the model's chat template, from fine-tuned teachers: beside
neutral twins, with a matrix whose carrier rows are random, less what the matrix alone predicts.
Names are permuted over ten teachers. Sampled text: numbers_smollm2_sft.py; other teachers, starts
and students: numbers_smollm2_starts.py. To expect (seed 0): gamma +.285 [+.250, +.319]; neutral
+.004 [-.040, +.048]; less the matrix's prediction +.233 [+.189, +.276]; less random carrier rows
+.144 [+.104, +.183]. 70 minutes on two cores.
"""

from ml_collections import ConfigDict

KL = 'trainable=lora:8 answers=random objective=kl_carrier'
ARMS = (
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_replaced: {KL} matrix=replaced',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 5,
        'arms': ARMS,
        'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'probe': 8, 'min_kept': 0.0},
        'student': {'rows': 160, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'at_once': 5},
        'tried': 5,
    })
