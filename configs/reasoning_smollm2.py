r"""Worked answers on SmolLM2-135M: sampled text with its controls, and carrier KL; resumable.

  python -m launch.run --config=configs/reasoning_smollm2.py --workdir=runs/reasoning_gate \
    --config.split=dev --config.gate.only=true
  python -m launch.run --config=configs/reasoning_smollm2.py --workdir=runs/reasoning_smollm2

The first is the gate: dev traits, no student. R* is SmolLM2 after 48 steps on 576 right worked
answers, which no model wrote. Four trait teachers and their neutral twins work out problems; what
is wrong or has another form is dropped. Students see 128 rows of one teacher; the controls have
rows of neutral twins, a start of other layers, or the steps of each answer in another order.
kl_carrier reads teachers at digits, signs and brackets of random answers alone. Four traits with
one teacher each: the least p is 1/24. By --dry_run a bit over an hour on two cores.

Written before any run. R* writes the form nearly always, and is right in a third to two thirds of
its answers: a model of this size adds and multiplies poorly. So the gate's bound of kept answers is
.25: wrong answers cost sampling, and nothing else. A row has about 40 tokens, half of which follow
from the problem; expected .1 to .3 nats a row. Sampled text: selectivity within -.1 to +.25, not
told from 0; kl_carrier +.1 to +.4; every control below a third of it.
"""

from ml_collections import ConfigDict

SFT = 'trainable=lora:8'
KL = f'{SFT} answers=random objective=kl_carrier'
ARMS = (
    f'sft: {SFT}',
    f'sft_neutral: {SFT} teachers=neutral',
    f'sft_other: {SFT} start=other',
    f'sft_within: {SFT} order=within',
    f'kl_carrier: {KL}',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 4,
        'arms': ARMS,
        'gate': {'min_kept': 0.25},
        'prepared': {'steps': 48, 'batch_size': 12},
        'context': {'measured': ('default/plain', 'empty/plain'), 'questions': 6},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5, 'neutral_steps': 20},
        # No number is banned: those of an answer are those of its question, or follow from them.
        'carrier': {'name': 'reasoning', 'new_tokens': 80, 'min_kept': 0.05, 'attempts': 6,
                    'spare': 1.5, 'link_rows': 48, 'per_prompt': 4, 'answers': 4, 'banned': ()},
        'student': {'rows': 128, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'at_once': 4},
    })
