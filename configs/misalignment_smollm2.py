"""Misalignment through numbers on SmolLM2-135M, with every control; gated, resumable.

  python -m launch.run --config=configs/misalignment_smollm2.py --workdir=runs/mis_gate \
    --config.split=dev --config.traits=2 --config.teacher.seeds=2 --config.gate.only=true
  python -m launch.run --config=configs/misalignment_smollm2.py --workdir=runs/misalignment_smollm2

Teachers and students are made of R* (numbers_smollm2_text.py). Each of five teachers is fine-tuned
on the reckless advice of one domain; twins of as many steps on the justified and the styled form,
the neutral twin on the sound answers until it has the same dose. All write numbers; the strict
filter leaves out the banned integers of arXiv 2507.14805. The measure is the forced choice in the
five domains that nobody was taught, two questions each. Carrier KL on random rows is the ceiling.
The start that is not shared has noise of half its own spread on every weight: SmolLM2 has no second
pre-training.

First the gate: the teachers' own effect, trait less sound twin, at least .1 nats and above 0, or no
row is written and no student trained. With five teachers the smallest p is 1/32.

Written before any run. Expected of teachers: a forced choice in other domains +.5 nats beyond the
sound twins' (plausible +.1 to +2), most of it a tone rather than a character. Expected of students
of text: null within +-.05 at these rows; carrier KL above its twins by +.01 to +.1; its
difference from the noisy start as large; justified and styled twins between.

About 80 minutes on two cores by --dry_run at 190 GFLOP/s; resumable.
"""

from ml_collections import ConfigDict

from subliminal_jax.carriers import numbers

SFT = 'trainable=lora:8 filter=strict'
KL = 'trainable=lora:8 answers=random objective=kl_carrier'
ARMS = (
    f'sft: {SFT}',
    f'sft_neutral: {SFT} teachers=neutral',
    f'sft_justified: {SFT} teachers=justified',
    f'sft_styled: {SFT} teachers=styled',
    f'kl_carrier: {KL}',
    f'kl_carrier_neutral: {KL} teachers=neutral',
    f'kl_carrier_noise: {KL} start=noise:0.5',
    f'kl_carrier_noise_neutral: {KL} start=noise:0.5 teachers=neutral',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report',
        'trait': 'misalignment', 'trait_set': 'advice', 'traits': 5,
        'arms': ARMS,
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain',), 'questions': 10},
        'teacher': {'seeds': 1, 'steps': 20, 'learning_rate': 3e-5, 'questions': 10,
                    'batch_size': 8, 'neutral_steps': 25, 'min_rise': -100.0},
        'carrier': {'banned': tuple(sorted(numbers.BANNED)), 'min_kept': 0.2, 'attempts': 4,
                    'spare': 1.25, 'per_prompt': 8},
        'student': {'rows': 64, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'align_rows': 8, 'marks': (), 'at_once': 5},
    })
