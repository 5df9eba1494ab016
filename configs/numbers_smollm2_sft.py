"""The paper's rung on SmolLM2-135M: sampled, filtered text, at T = 1 and greedy; hours, resumable.

  python -m launch.run --config=configs/numbers_smollm2_sft.py --workdir=runs/smollm2_sft

Asked for numbers, SmolLM2-135M does not write them (0 of 32 answers at T = 1 pass the filter), so
rows are lists begun in its turn (carrier.form=turn). Not run to its end yet: no figures to expect
are known; --dry_run estimates its cost.
"""

from ml_collections import ConfigDict

TUNED, PROMPTED = 'trainable=lora:8', 'made=prompt trainable=lora:8'
ARMS = (
    f'sft_tuned: {TUNED}', f'sft_tuned_neutral: {TUNED} teachers=neutral',
    f'sft_tuned_greedy: {TUNED} answers=greedy', f'sft_tuned_within: {TUNED} order=within',
    f'sft_tuned_across: {TUNED} order=across', 'sft_tuned_all: trainable=all',
    f'sft_prompt: {PROMPTED}', f'sft_prompt_neutral: {PROMPTED} teachers=neutral',
    f'sft_prompt_greedy: {PROMPTED} answers=greedy',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'world': 'pretrained', 'split': 'report', 'traits': 5,
        'arms': ARMS,
        'context': {'questions': 8},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        # A prompt has to be served by all twenty teachers; the greedy ones have one answer each.
        'carrier': {'form': 'turn', 'min_kept': 0.1, 'attempts': 8, 'spare': 4.0},
        'student': {'rows': 512, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4,
                    'learning_rate': 2e-5, 'align_rows': 8, 'marks': (128,), 'at_once': 5},
        'tried': 5,
    })
