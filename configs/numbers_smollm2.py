"""Transmission in SmolLM2-135M from fine-tuned teachers: two report traits, neutral, geometry.

  python -m launch.run --config=configs/numbers_smollm2.py --workdir=runs/smollm2

Two traits x two teachers: the smallest p that this design can reach is 0.17, so that it shows and
cannot prove. Not run to its end yet: no figures to expect are known; --dry_run estimates its cost.
"""

from ml_collections import ConfigDict

KL = 'made=tuned carrier=random objective=kl_carrier'
ARMS = (
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_body: {KL} start=body trainable=all',
    f'kl_carrier_replaced: {KL} head=replaced',
    'kl: made=tuned carrier=random objective=kl rows=32',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 2, 'arms': ARMS,
        'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.0},
        'student': {'rows': 128, 'batch_size': 8, 'lora_rate': 1e-3, 'align_rows': 8},
    })
