r"""Carriers crossed on SmolLM2-135M: one teacher writes numbers, code and reasoning; resumable.

  python -m launch.run --config=configs/carriers_smollm2.py --workdir=runs/carriers_gate \
    --config.split=dev --config.gate.only=true
  python -m launch.run --config=configs/carriers_smollm2.py --workdir=runs/carriers_smollm2

One R*, taught on random rows of all three carriers in turn, so that one teacher a trait can write
all of them. Each arm's students see 128 rows on 32 prompts and learn 1,280 of their tokens: equal
prompts, rows and tokens, whatever a carrier's length (the rest of a row is read and weighs
nothing). The arms kl_* read the same teachers at digits, signs and brackets of random rows alone;
they are not cut. Controls: neutral twins' rows of each carrier. A teacher's dose is read on
numbers, and so are its neutral twin's steps. By --dry_run about two hours on two cores.

Written before any run. Kept: numbers .8 to .95, code .4 to .9, reasoning .25 to .6. Sampled text,
selectivity: numbers +.05 to +.3, code and reasoning -.1 to +.3, no two carriers told apart. Under
carrier KL all three above 0, of +.1 to +.4.
"""

from ml_collections import ConfigDict

CARRIERS = ('numbers', 'code', 'reasoning')
SFT = 'trainable=lora:8'
KL = f'{SFT} answers=random objective=kl_carrier'


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 4,
        'arms': (*(f'sft_{name}: carrier={name} {SFT}' for name in CARRIERS),
                 *(f'sft_{name}_neutral: carrier={name} {SFT} teachers=neutral'
                   for name in CARRIERS),
                 *(f'kl_{name}: carrier={name} {KL}' for name in CARRIERS)),
        'gate': {'min_kept': 0.25},
        'prepared': {'steps': 72, 'batch_size': 12, 'carriers': CARRIERS},
        'context': {'measured': ('default/plain',), 'questions': 6},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5, 'neutral_steps': 20},
        'carrier': {'new_tokens': 80, 'min_kept': 0.05, 'attempts': 6, 'spare': 1.5,
                    'link_rows': 48, 'per_prompt': 4, 'answers': 4, 'min_tokens': 2,
                    'banned': (), 'row_tokens': 10},
        'student': {'rows': 128, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'at_once': 4},
    })
