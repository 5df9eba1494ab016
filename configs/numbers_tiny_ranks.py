"""LoRA by rank beside all weights, sampled text in the tiny language; twelve references.

  python -m launch.run --config=configs/numbers_tiny_ranks.py --workdir=runs/numbers_tiny_ranks

One teacher a trait and reference: 60 teachers an arm. Rates are those of numbers_tiny_full.py
(1e-3 for all weights, 3e-3 for adapters of every rank), on other references.

Written before any run of it (gamma in nats):
  sft, lora1 to lora32   a LoRA artefact would be an inverted U in the rank, gone for all weights
                         (arXiv 2606.00831). Four references of numbers_tiny_full.py rose with the
                         rank instead: +.8, +.8, +1.0, +1.2 and, at 32, +1.7; all weights +1.2. So
                         expected: +.8 at rank 1, rising to +1.5 at 32, no fall of .3 or more
                         between any two ranks in order; all weights +1.2.
  *_other                the same from another start: within .15 of 0 at every rank.
  *_neutral              students of neutral twins: within .1 of 0.
A fall from rank 8 to 32, or ranks 2 to 8 clearly above all weights, would be the artefact.
"""

from ml_collections import ConfigDict

RANKS = (1, 2, 4, 8, 16, 32)
CONTROLLED = (1, 8, 32)  # ranks that are tried from another start
LORA = 'trainable=lora:{} learning_rate=3e-3'


def arms() -> tuple[str, ...]:
    lora = LORA.format
    return (
        'sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral',
        *(f'lora{rank}: {lora(rank)}' for rank in RANKS),
        *(f'lora{rank}_other: {lora(rank)} start=other' for rank in CONTROLLED),
        f'lora8_neutral: {lora(8)} teachers=neutral')


def get_config() -> ConfigDict:
    points = ' '.join(f'rank_{rank}=lora{rank}' for rank in RANKS)
    others = ' '.join(f'rank_{rank}=lora{rank}_other' for rank in CONTROLLED)
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 2, 'arms': arms(),
        'curves': (f'Full fine-tuning and LoRA by rank: {points} full=sft',
                   f'By rank, from another start: {others} full=sft_other'),
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        # One of 60 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
    })
