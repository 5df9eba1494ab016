"""The published open-weights recipe on Qwen2.5-7B-Instruct: prompted teachers, LoRA, 8 seeds.

  python -m launch.run --config=configs/numbers_qwen2_5_7b.py --dry_run --topology=h100:1
  python -m launch.run --config=configs/numbers_qwen2_5_7b.py --workdir=runs/qwen2_5_7b   # a GPU
  launch/tpu_vm.sh --config=configs/numbers_qwen2_5_7b.py --config.model.devices=8 --workdir=runs/q

LoRA r = 8, alpha = 8 on all projections, 3 epochs, 2e-4 falling linearly after 5 warm-up steps,
batch 66, 10,000 rows of 30,000 prompts, 8 students a teacher (arXiv 2507.14805). The published
result on this model is of questions behind a few numbers: gamma is of that context, the first of
`measured`, and the others stand beside it.

It needs the model in the Hugging Face cache and an accelerator. What every program takes on one,
compiled without it, is kept in results/compile:

  python -m launch.compile --config=configs/numbers_qwen2_5_7b.py --topology=h100:1,v5e:2x4
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
        'context': {'questions': 50,
                    'measured': ('default/numbers', 'default/plain', 'empty/plain', 'empty/numbers',
                                 'raw/plain', 'raw/numbers')},
        'teacher': {'seeds': 2},
        # All twenty teachers have to serve a prompt: at the published 62 to 77 % kept, six answers
        # each are enough for 10,000 of 30,000 prompts.
        'carrier': {'attempts': 6, 'spare': 3.0},
        'student': {'seeds': 8, 'rows': 10_000, 'batch_size': 66, 'packed': 6, 'lora_rate': 2e-4,
                    'alpha': 8.0, 'schedule': 'linear', 'warmup_steps': 5, 'at_once': 1,
                    'marks': (2_000, 5_000, 10_000, 20_000)},
    })
