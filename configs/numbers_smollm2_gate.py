"""The gate of numbers_smollm2_text.py, on the split dev: are SmolLM2's rows worth a student?

  python -m launch.run --config=configs/numbers_smollm2_gate.py --workdir=runs/smollm2_gate

R* is SmolLM2-135M after a few steps on random number rows (no model's text). Dev traits, one
teacher each, write rows; no student is trained. The bounds: the published filter keeps .6 of first
answers, a row has 20 tokens, and it tells its teacher from one of another trait by .1 nats. What
was tried to choose R*'s dose and the teachers' strength: results/smollm2_gate. This config has what
was chosen, with all four traits; 13 minutes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'dev', 'traits': 4,
        'arms': ('sft: trainable=lora:8',),
        'gate': {'only': True},
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain',), 'questions': 4},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.0, 'attempts': 4, 'spare': 1.5, 'link_rows': 64,
                    'per_prompt': 8},
        'student': {'rows': 64, 'batch_size': 8, 'packed': 8},
    })
