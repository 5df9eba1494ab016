"""The paper's rung on SmolLM2-135M: sampled, filtered text, at T = 1 and greedy; hours, resumable.

  python -m launch.run --config=configs/numbers_smollm2_sft.py --workdir=runs/smollm2_sft

Asked for numbers in its chat template, SmolLM2-135M does not write them (0 of 32 answers at T = 1
pass the filter), so rows are bare lists that a teacher goes on with (carrier.form=list). Not run to
its end yet: no figures to expect are known; --dry_run estimates its cost.
"""

from ml_collections import ConfigDict

ARMS = (
    'sft_tuned: made=tuned', 'sft_tuned_neutral: made=tuned teachers=neutral',
    'sft_tuned_greedy: made=tuned carrier=greedy', 'sft_tuned_within: made=tuned order=within',
    'sft_tuned_across: made=tuned order=across', 'sft_tuned_all: made=tuned trainable=all',
    'sft_prompt:', 'sft_prompt_neutral: teachers=neutral', 'sft_prompt_greedy: carrier=greedy',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission_weights', 'split': 'report', 'traits': 5, 'arms': ARMS,
        'context': {'questions': 24},
        'teacher': {'seeds': 2, 'steps': 12, 'learning_rate': 3e-5},
        # A prompt has to be served by all twenty teachers. The greedy ones have one answer each,
        # but much the same one: they differ by 5e-4 nats a place.
        'carrier': {'form': 'list', 'min_kept': 0.4, 'attempts': 6, 'spare': 2.5},
        'student': {'rows': 1024, 'batch_size': 4, 'packed': 4, 'lora_rate': 1e-4,
                    'learning_rate': 1e-5, 'marks': (256, 512), 'at_once': 2},
        'tried': 3,
    })
