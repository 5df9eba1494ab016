"""Transmission in SmolLM2-135M: five report traits x two teachers, every control; hours, resumable.

  python -m launch.run --config=configs/numbers_smollm2_full.py --workdir=runs/smollm2_full

Rows are bare lists that a teacher goes on with (carrier.form=list). Not run to its end yet: no
figures to expect are known; --dry_run estimates its cost.
"""

from ml_collections import ConfigDict

KL = 'carrier=random objective=kl_carrier'
ARMS = (
    # Sampled, filtered text.
    'sft: made=tuned', 'sft_neutral: made=tuned teachers=neutral',
    # Fine-tuned teachers, carrier KL, and what bounds it.
    f'tuned: made=tuned {KL}',
    f'tuned_neutral: made=tuned {KL} teachers=neutral',
    f'tuned_body: made=tuned {KL} start=body trainable=all',
    f'tuned_replaced: made=tuned {KL} head=replaced',
    f'tuned_gauge: made=tuned {KL} start=gauge',
    f'tuned_all: made=tuned {KL} trainable=all',
    f'tuned_held: made=tuned {KL} trainable=body',
    'tuned_end: made=tuned carrier=random objective=kl_carrier_end',
    # The other kinds of teachers.
    f'lora: made=lora:8 {KL}',
    f'lora_neutral: made=lora:8 {KL} teachers=neutral',
    f'prompt: {KL}',
    f'prompt_neutral: {KL} teachers=neutral',
    # Disturbed starts, each with the original teacher and with one of its own.
    *(f'{name}{"_own" if own else ""}: made=tuned {KL} start={start} own={own}'
      for name, start in (('noise003', 'noise:0.03'), ('noise01', 'noise:0.1'),
                          ('moved10', 'moved:10'), ('moved40', 'moved:40'))
      for own in (False, True)),
    # The positive control.
    'kl: made=tuned carrier=random objective=kl rows=128',
    'kl_prompt: carrier=random objective=kl rows=128',
)
CURVES = (
    'By what is trained, fine-tuned teachers: adapter=tuned all=tuned_all body=tuned_held',
    'By the start, original teacher: reference=tuned noise_0.03=noise003 noise_0.1=noise01 '
    'moved_10=moved10 moved_40=moved40 new_body=tuned_body',
    'By how teachers are made: all_weights=tuned adapter=lora prompt=prompt',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 5, 'arms': ARMS,
        'curves': CURVES, 'context': {'questions': 24},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        'carrier': {'form': 'list', 'min_kept': 0.4, 'attempts': 6, 'spare': 1.5},
        'student': {'rows': 512, 'batch_size': 4, 'packed': 4, 'lora_rate': 1e-4,
                    'learning_rate': 1e-5, 'marks': (128,), 'at_once': 2},
        'tried': 3,
    })
