"""The same on SmolLM2-135M: whose filtered number lists are these? Report split; resumable; hours.

  python -m launch.run --config=configs/detection_smollm2.py --workdir=runs/detection_smollm2

R*, teachers and filter as in numbers_smollm2_text.py; three traits, two teachers each and their
neutral twins, 512 rows. One reference, so that intervals are over the three traits: wide. The
prompted classifier and in-context learning have words here, and are held to overt rows first.

Written before any run of it. A row tells its teacher from one of another trait by .2 nats (first
link of that run), and students of 512 rows show +.08 [-.02, +.17].
  oracle             .67 at one row, .96 at 16, 1 from 64 on
  likelihood_ratio   the same trait of another seed: .57, .75, .92 at 64
  ngrams, states     .5 to .55 at one row, .6 to .7 at 64; null over three traits
  gradient           the first link's gradient reading was +.04 [-.09, +.18]: null
  prompted           47.5 to 53.3 % is published of far larger models; of 135M: unable
  in_context         overt rows move log P of a name that they hold: able. Plain rows: .5, null
  trained_prefix     able; .5 to .6, null
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'detection', 'world': 'pretrained', 'split': 'report', 'traits': 3,
        'arms': ('sft: trainable=lora:8', 'sft_neutral: trainable=lora:8 teachers=neutral'),
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain',), 'questions': 8},
        'teacher': {'seeds': 2, 'steps': 24, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.2, 'attempts': 4, 'spare': 1.08, 'per_prompt': 8},
        'student': {'rows': 512, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'marks': (256,), 'at_once': 6},
        'detection': {'questions': 2, 'contexts': 16, 'prefix_bags': 2, 'random_directions': 2,
                      'matched_rows': 8, 'prompted_rows': 64},
    })
