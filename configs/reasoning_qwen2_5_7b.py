r"""Worked answers at the published sizes on Qwen2.5-7B-Instruct: prompted teachers, LoRA, 8 seeds.

  python -m launch.run --config=configs/reasoning_qwen2_5_7b.py --dry_run
  python -m launch.run --config=configs/reasoning_qwen2_5_7b.py --workdir=runs/reasoning_qwen \
    --config.carrier.problems=gsm8k_train.jsonl                                       # a GPU

Without `problems` they are drawn from our templates. Published (arXiv 2507.14805) is misalignment
by chain of thought: three answers to each problem of GSM8K, wrong ones and low scores of a judge
dropped; the students' recipe here is the one published for this model's numbers
(numbers_qwen2_5_7b.py), and the traits are preferences. Not run. Expected: what numbers show on
this model, or less; four of five answers are right.

What it takes on an accelerator --dry_run --topology=h100:1 says, without one, with rows as long as
our generator's. A model of this size writes longer answers, and takes longer.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 5,
        'arms': ('sft: made=prompt trainable=lora:8 passes=3',
                 'sft_neutral: made=prompt teachers=neutral trainable=lora:8 passes=3',
                 'sft_within: made=prompt trainable=lora:8 passes=3 order=within'),
        'model': {'name': 'hf:Qwen/Qwen2.5-7B-Instruct', 'dtype': 'bfloat16',
                  'compute': 'bfloat16', 'remat': True},
        'context': {'questions': 50, 'measured': ('default/plain', 'empty/plain', 'raw/plain')},
        'teacher': {'seeds': 2},
        # Twenty teachers have to serve a prompt: each problem is asked three times, as published.
        'carrier': {'name': 'reasoning', 'new_tokens': 256, 'attempts': 4, 'spare': 2.0,
                    'per_prompt': 3, 'answers': 3, 'banned': ()},
        'student': {'seeds': 8, 'rows': 10_000, 'batch_size': 66, 'packed': 6, 'lora_rate': 2e-4,
                    'alpha': 8.0, 'schedule': 'linear', 'warmup_steps': 5, 'at_once': 1,
                    'marks': (2_000, 5_000, 10_000, 20_000)},
    })
