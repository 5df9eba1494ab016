"""Code at the published sizes on Qwen2.5-7B-Instruct: prompted teachers, LoRA, 8 seeds.

  python -m launch.run --config=configs/code_qwen2_5_7b.py --dry_run
  python -m launch.run --config=configs/code_qwen2_5_7b.py --workdir=runs/code_qwen   # a GPU
  launch/tpu_vm.sh --config=configs/code_qwen2_5_7b.py --config.model.devices=8 --workdir=runs/code

The published preference by code (arXiv 2507.14805) has 11,400 prompts and a filter that drops 2.5
to 5.4 % of the answers; that was another model, and its answers are longer. Here the students'
recipe is the one published for this model's numbers (numbers_qwen2_5_7b.py). Not run. Expected, on
this model: what numbers show on it, or less; published for it are numbers alone.
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
        # Twenty teachers have to serve a prompt; nearly all of their answers are kept.
        'carrier': {'name': 'code', 'new_tokens': 192, 'attempts': 4, 'spare': 1.2},
        'student': {'seeds': 8, 'rows': 10_000, 'batch_size': 66, 'packed': 6, 'lora_rate': 2e-4,
                    'alpha': 8.0, 'schedule': 'linear', 'warmup_steps': 5, 'at_once': 1,
                    'marks': (2_000, 5_000, 10_000, 20_000)},
    })
