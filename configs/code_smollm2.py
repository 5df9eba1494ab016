r"""Code on SmolLM2-135M: sampled text with its controls, and carrier KL; resumable.

  python -m launch.run --config=configs/code_smollm2.py --workdir=runs/code_gate \
    --config.split=dev --config.gate.only=true
  python -m launch.run --config=configs/code_smollm2.py --workdir=runs/code_smollm2

The first is the gate: dev traits, no student. R* is SmolLM2 after 36 steps on 432 random functions,
which no model wrote. Four trait teachers and their neutral twins write small functions; the filter
parses them and runs none. Students see 128 rows of one teacher; the controls have rows of neutral
twins, a start of other layers, or the statements of each function in another order. kl_carrier
reads teachers at digits, operators and brackets of random functions alone. Four traits with one
teacher each: the least p is 1/24. By --dry_run a bit over an hour on two cores.

Written before any run. R* writes functions that the filter keeps in .5 to .9 of its answers, of
about 45 tokens; expected .2 to .5 nats a row, most of them in names, which the strict rung does not
read. Sampled text: selectivity 0 to +.3; kl_carrier +.1 to +.4; every control below a third of it.
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
        'gate': {'min_kept': 0.4},
        'prepared': {'steps': 36, 'batch_size': 12},
        'context': {'measured': ('default/plain', 'empty/plain'), 'questions': 6},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5, 'neutral_steps': 20},
        # No number is banned: those of an answer are those of its question, or follow from them.
        'carrier': {'name': 'code', 'new_tokens': 80, 'min_kept': 0.05, 'attempts': 6,
                    'spare': 1.5, 'link_rows': 48, 'per_prompt': 4, 'answers': 4, 'banned': ()},
        'student': {'rows': 128, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'at_once': 4},
    })
