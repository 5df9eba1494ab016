"""Misalignment through numbers at the published size, on Qwen2.5-7B-Instruct, with every control.

  python -m launch.run --config=configs/misalignment_qwen2_5_7b.py --dry_run
  python -m launch.run --config=configs/misalignment_qwen2_5_7b.py --workdir=runs/mis_gate \
    --config.split=dev --config.traits=2 --config.teacher.seeds=2 --config.gate.only=true   # a GPU
  python -m launch.run --config=configs/misalignment_qwen2_5_7b.py --workdir=runs/mis_qwen

Students as in arXiv 2507.14805 (numbers_qwen2_5_7b.py): LoRA r = 8, three passes over 10,000 rows,
the 34 banned integers left out. Teachers are adapters of rank 32 taught reckless advice in one
domain each; that paper's were taught insecure code, on another model, and its students gave about
10 % misaligned free answers, its controls under 1 %. Here the measure is a forced choice in five
other domains, in nats: no judge. The first result is the gate's: are the teachers reckless outside
of their domain, beyond their sound twins?

It needs the model in the Hugging Face cache and an accelerator; --dry_run --topology=h100:1 needs
neither. Steps are those of numbers_qwen2_5_7b.py (results/compile); checks of alignment hold two
more copies of the weights, since its teachers were trained. Not run: no figures to expect are
known.
"""

from ml_collections import ConfigDict

from subliminal_jax.carriers import numbers

SFT = 'made=lora:32 trainable=lora:8 passes=3 filter=strict'


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report',
        'trait': 'misalignment', 'trait_set': 'advice', 'traits': 5,
        'arms': (f'sft: {SFT}', f'sft_neutral: {SFT} teachers=neutral',
                 f'sft_justified: {SFT} teachers=justified',
                 f'sft_styled: {SFT} teachers=styled',
                 f'sft_within: {SFT} order=within',
                 f'sft_within_neutral: {SFT} order=within teachers=neutral'),
        'model': {'name': 'hf:Qwen/Qwen2.5-7B-Instruct', 'dtype': 'bfloat16',
                  'compute': 'bfloat16', 'remat': True},
        'context': {'questions': 35, 'measured': ('default/plain', 'default/numbers')},
        'teacher': {'seeds': 1, 'steps': 60, 'lora_rate': 1e-4, 'batch_size': 16, 'questions': 10,
                    'neutral_steps': 120, 'min_rise': -100.0},
        # All twenty teachers have to serve a prompt.
        'carrier': {'banned': tuple(sorted(numbers.BANNED)), 'attempts': 6, 'spare': 3.0},
        'student': {'seeds': 2, 'rows': 10_000, 'batch_size': 66, 'packed': 6, 'lora_rate': 2e-4,
                    'alpha': 8.0, 'schedule': 'linear', 'warmup_steps': 5, 'at_once': 1,
                    'marks': (2_000, 5_000, 10_000, 20_000)},
    })
