"""Transmission in SmolLM2-135M by how teachers are made, where students start, what they train.

  python -m launch.run --config=configs/numbers_smollm2_starts.py --workdir=runs/smollm2_starts

Carrier KL on random rows in the chat template, three traits x two teachers (the smallest p is
1/90): teachers by a prompt, by an adapter and by all weights; the gauge twin; disturbed starts,
each with the original teacher and with one of its own; the end of the row as a labelled arm.
Not run to its end yet: no figures to expect are known; --dry_run estimates its cost.
"""

from ml_collections import ConfigDict

WHOLE = 'answers=random objective=kl_carrier'
KL = f'{WHOLE} trainable=lora:8'
ARMS = (
    f'tuned: {KL}',
    f'lora: made=lora:8 {KL}',
    f'lora_neutral: made=lora:8 {KL} teachers=neutral',
    f'prompt: made=prompt {KL}',
    f'prompt_neutral: made=prompt {KL} teachers=neutral',
    f'gauge: {KL} start=gauge',
    f'all: {WHOLE} trainable=all',
    f'held: {WHOLE} trainable=body',
    'end: answers=random objective=kl_carrier_end trainable=lora:8',
    *(f'{name}{"_own" if own else ""}: {KL} start={start} own={own}'
      for name, start in (('noise003', 'noise:0.03'), ('noise01', 'noise:0.1'),
                          ('moved10', 'moved:10'), ('moved40', 'moved:40'))
      for own in (False, True)),
)
CURVES = (
    'By what is trained, fine-tuned teachers: adapter=tuned all=all body=held',
    'By the start, original teacher: reference=tuned noise_0.03=noise003 noise_0.1=noise01 '
    'moved_10=moved10 moved_40=moved40 gauge=gauge',
    'By how teachers are made: all_weights=tuned adapter=lora prompt=prompt',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 3,
        'arms': ARMS,
        'curves': CURVES, 'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.0, 'probe': 8},
        'student': {'rows': 160, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'learning_rate': 2e-5, 'align_rows': 8},
        'tried': 5,
    })
