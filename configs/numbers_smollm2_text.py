"""Sampled, filtered text on SmolLM2-135M: six report traits, and the first link; resumable.

  python -m launch.run --config=configs/numbers_smollm2_text.py --workdir=runs/smollm2_text

Teachers and students are made of R*: SmolLM2 after 24 steps on 288 random number rows, which no
model wrote. Asked for numbers, six trait teachers write rows, eight to a prompt; the published
filter leaves some out; students (LoRA, r = 8) see 512 rows of one teacher once, on the same prompts
in the same order. Each student's control are the five of other traits; a neutral twin needs another
hour and is an arm of its own: 'sft_neutral: trainable=lora:8 teachers=neutral'. The first link is
read before: is the trait in the rows? The gate was read on the split dev
(numbers_smollm2_gate.py, with this R*): it keeps .93 of first answers and .23 nats a row, and rows
are short, 13 to 18 tokens where 20 are asked.

Written before the run. By the arithmetic of gate.py, .18 nats a row within the carrier's set make
a signal of 5 standard errors over six teachers. Expected: selectivity +.15 (plausible +.05 to
+.5); an upper limit below +.04 is under a quarter of that. The first link above 0 by likelihood and
by gradient.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 6,
        'arms': ('sft: trainable=lora:8',),
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain', 'default/numbers', 'empty/plain'),
                    'questions': 8},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.2, 'attempts': 4, 'spare': 1.08, 'link_rows': 64,
                    'per_prompt': 8},
        'student': {'rows': 512, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'marks': (256,), 'at_once': 6},
        'tried': 3,
    })
