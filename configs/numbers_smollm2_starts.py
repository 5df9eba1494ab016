"""Transmission in SmolLM2-135M by how teachers are made, where students start, what they train.

  python -m launch.run --config=configs/numbers_smollm2_starts.py --workdir=runs/smollm2_starts

Carrier KL throughout, two traits x two teachers as in numbers_smollm2.py: teachers by a prompt, by
an adapter and by all weights; the gauge twin; disturbed starts, each with the original teacher and
with one of its own; the end of the row as a second, labelled arm.
"""

from ml_collections import ConfigDict

KL = 'carrier=random objective=kl_carrier'
ARMS = (
    f'tuned: made=tuned {KL}',
    f'lora: made=lora:8 {KL}',
    f'lora_neutral: made=lora:8 {KL} teachers=neutral',
    f'prompt: {KL}',
    f'prompt_neutral: {KL} teachers=neutral',
    f'gauge: made=tuned {KL} start=gauge',
    f'all: made=tuned {KL} trainable=all',
    f'held: made=tuned {KL} trainable=body',
    'end: made=tuned carrier=random objective=kl_carrier_end',
    *(f'{name}{"_own" if own else ""}: made=tuned {KL} start={start} own={own}'
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
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 2, 'arms': ARMS,
        'curves': CURVES, 'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'form': 'list', 'min_kept': 0.35, 'probe': 16},
        'student': {'rows': 40, 'batch_size': 4, 'packed': 4, 'lora_rate': 2e-4,
                    'learning_rate': 1e-5, 'align_rows': 4},
        'tried': 3,
    })
