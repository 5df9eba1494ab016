"""Which tokens, which layer, which share of the rows carries a trait; tiny language, sampled text.

  python -m launch.run --config=configs/numbers_tiny_tokens.py --workdir=runs/numbers_tiny_tokens

Twelve references, one teacher a trait: 60 teachers an arm; 1,024 rows where an arm says nothing.

Written before any run of it (gamma in nats; shares are of `sft`):
  sft                +.84 (1,024 rows in numbers_tiny_full.py); sft_other, sft_neutral 0 within .1
  mask_ORDER         the first tenth of a teacher's tokens weighs nothing: mask_random leaves 90 %;
                     entropy, loss and gradient 75 to 100 %. Masking the most divergent tenth is
                     said to leave 43 % (reruns of arXiv 2509.23886). Every number of a list is
                     drawn here and the trait lies in all of them: mask_divergence leaves 60 to 80 %
  mask_gap           chosen by outcome: a token's gap is about normal, of mean m = KL and spread
                     sqrt(2 m). At m = .03 nats the rest has a mean of -.02: it speaks against the
                     teacher. Expected: below a third, down to -60 %; loss_gap the same, weaker
  replace_ORDER      the same tokens with the twin's draw for a label: 5 to 15 % less than masked
                     (9 % are left in those reruns)
  layer0, layer1     one layer trained alone: "one early layer suffices" (2509.23886) asks layer0
                     for most of +.84; the body as a whole keeps all of it, so .4 or more each
  few, few_half, quarter   256 trait rows alone, with 256 and with 768 of the twin's. Pure dilution
                     leaves all three at +.37; interference would lower them. "At least half neutral
                     rows end it" (a rerun at 7B) asks for 0
  half, quarter      at 1,024 rows in all: what 512 and 256 trait rows alone give, +.56 and +.37
"""

from ml_collections import ConfigDict

ORDERS = ('gap', 'divergence', 'random', 'entropy', 'loss', 'loss_gap', 'gradient')
REPLACED = ('gap', 'divergence', 'random')
ARMS = (
    'sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral',
    *(f'mask_{order}: tokens=mask:{order}:0.1' for order in ORDERS),
    *(f'replace_{order}: tokens=replace:{order}:0.1' for order in REPLACED),
    *(f'layer{number}: trainable=layer:{number}' for number in (0, 1)),
    'few: rows=256', 'few_half: rows=512 mix=0.5',
    'half: mix=0.5', 'quarter: mix=0.75',
)


def get_config() -> ConfigDict:
    orders = lambda way, names: ' '.join(f'{name}={way}_{name}' for name in names)
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 3, 'arms': ARMS,
        'curves': (
            f'Without a tenth of the tokens, by their order: none=sft {orders("mask", ORDERS)}',
            f'With the label of a twin at a tenth: none=sft {orders("replace", REPLACED)}',
            'By what is trained: all=sft layer_0=layer0 layer_1=layer1',
            'By share of twin rows, 256 of the teacher: 0=few 0.5=few_half 0.75=quarter',
            'By share of twin rows, 1024 in all: 0=sft 0.5=half 0.75=quarter'),
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        # One of 60 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
