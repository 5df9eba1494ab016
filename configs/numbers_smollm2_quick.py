"""Two prompted teachers of SmolLM2-135M in minutes: shows the machinery on real weights.

  python -m launch.run --config=configs/numbers_smollm2_quick.py --workdir=runs/smollm2_quick

Of a split for tuning and one teacher a trait: no interval, no finding. To expect: gamma within .1
nats of 0 in every arm; 4 minutes on two cores.
"""

from ml_collections import ConfigDict

PROMPTED = 'made=prompt answers=random trainable=lora:8'


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'dev', 'traits': 2,
        'arms': (
            f'kl_carrier: {PROMPTED} objective=kl_carrier',
            f'kl_carrier_neutral: {PROMPTED} objective=kl_carrier teachers=neutral',
            f'kl: {PROMPTED} objective=kl_top',
        ),
        'context': {'questions': 4},
        'teacher': {'seeds': 1},
        # 0 of 32 answers pass the filter: in its template this model does not write numbers when
        # asked, trait or not. The arms read logits on random rows alone.
        'carrier': {'min_kept': 0.0, 'probe': 4},
        'student': {'rows': 32, 'batch_size': 8, 'lora_rate': 2e-4, 'at_once': 2, 'align_rows': 8},
    })
