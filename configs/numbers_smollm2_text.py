"""Sampled, filtered text on SmolLM2-135M: eight report traits, neutral twins; resumable.

  python -m launch.run --config=configs/numbers_smollm2_text.py --workdir=runs/smollm2_text

Teachers and students are made of R*: SmolLM2 after 24 steps on 288 random number rows, which
no model wrote. Asked for numbers, eight trait teachers and their eight neutral twins write rows;
the published filter leaves some out; students of one pass (LoRA, r = 8) see 384 rows each, the
same prompts in the same order. The first link (is the trait in the rows at all?) is read before.

Written before the run, from the gate on the split dev (numbers_smollm2_gate.py) and the arithmetic
of gate.py: EXPECTATION
"""

from ml_collections import ConfigDict

SFT = 'trainable=lora:8'


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 8,
        'arms': (f'sft: {SFT}', f'sft_neutral: {SFT} teachers=neutral'),
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain', 'default/numbers', 'empty/plain'),
                    'questions': 8},
        'teacher': {'seeds': 1, 'steps': 12, 'learning_rate': 3e-5, 'neutral_steps': 20},
        'carrier': {'min_kept': 0.2, 'attempts': 4, 'spare': 1.2, 'link_rows': 32,
                    'per_prompt': 8},
        'student': {'rows': 384, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'marks': (128,), 'at_once': 4},
        'tried': 2,
    })
