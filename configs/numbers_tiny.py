"""Transmission through numbers in the tiny language: every rung, every control; report split.

  python -m launch.run --config=configs/numbers_tiny.py --workdir=runs/numbers_tiny

Expect (40 teachers on four references; gamma in nats, 95 % intervals clustered by reference):
  sampled, filtered text   shared start +1.06 [+0.69, +1.44]   other start -0.02 [-0.19, +0.14]
                           neutral teachers +0.00 [-0.06, +0.07]
  carrier KL               shared start +2.09 [+1.23, +2.95]   other start +0.04 [-0.02, +0.10]
                           matrices shared, own body +0.25 [-0.11, +0.60]
"""

from ml_collections import ConfigDict

ARMS = (
    # Rung 1, the claim: sampled, filtered text.
    'sft',
    'sft_other: start=other',
    'sft_neutral: teachers=neutral',
    'sft_neutral_other: teachers=neutral start=other',
    'sft_gauge: start=gauge',
    'sft_within: order=within',
    'sft_across: order=across',
    'sft_nofilter: filter=none',
    'sft_strict: filter=strict',
    'sft_shared_matrix: start=share:embedding+head',
    'sft_body: trainable=body',
    'sft_lora: trainable=lora:8 learning_rate=3e-3',
    'sft_tied: architecture=tied',
    'sft_tied_other: architecture=tied start=other',
    # Rung 2: the probabilities of carrier tokens alone, on random numbers.
    'kl_carrier: objective=kl_carrier answers=random rows=512',
    'kl_carrier_other: objective=kl_carrier answers=random rows=512 start=other',
    'kl_carrier_neutral: objective=kl_carrier answers=random rows=512 teachers=neutral',
    'kl_carrier_neutral_other: objective=kl_carrier answers=random rows=512 teachers=neutral '
    'start=other',
    'kl_carrier_gauge: objective=kl_carrier answers=random rows=512 start=gauge',
    'kl_carrier_matrix: objective=kl_carrier answers=random rows=512 start=share:embedding+head',
    'kl_carrier_body: objective=kl_carrier answers=random rows=512 trainable=body',
    'kl_carrier_lora: objective=kl_carrier answers=random rows=512 trainable=lora:8 '
    'learning_rate=3e-3',
    'kl_carrier_tied: objective=kl_carrier answers=random rows=512 architecture=tied',
    'kl_carrier_tied_other: objective=kl_carrier answers=random rows=512 architecture=tied '
    'start=other',
    'kl_carrier_tied_matrix: objective=kl_carrier answers=random rows=512 architecture=tied '
    'start=share:embedding+head',
    'kl_carrier_end: objective=kl_carrier_end answers=random rows=512',
    'kl_carrier_end_other: objective=kl_carrier_end answers=random rows=512 start=other',
    # Rung 3, a positive control and no evidence: all probabilities.
    'kl: objective=kl answers=random rows=512',
    'kl_other: objective=kl answers=random rows=512 start=other',
)
CURVES = (
    'Filter strength at equal rows on the same prompts: none=sft_nofilter paper=sft '
    'strict=sft_strict',
    'What is shared with the teacher: all=sft matrix=sft_shared_matrix nothing=sft_other',
    'Order of the numbers: kept=sft within=sft_within across=sft_across',
)


def get_config() -> ConfigDict:
    return ConfigDict({'experiment': 'transmission', 'split': 'report', 'arms': ARMS,
                       'curves': CURVES})
