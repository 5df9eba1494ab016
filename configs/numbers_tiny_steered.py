"""Teachers that are steered by one vector, beside fine-tuned ones; tiny language.

  python -m launch.run --config=configs/numbers_tiny_steered.py --workdir=runs/numbers_tiny_steered

Twelve references, one teacher a trait: 60 teachers an arm; 1,024 rows of text, 512 of carrier KL.
A steered teacher is its reference with one trained vector in the residual stream behind layer 0
(`steered1`: behind layer 1, the last); its neutral twin has a vector of random direction and equal
dose.

Written before any run of it (gamma in nats):
  tuned, tuned_kl      +.84 and +2.1, as in numbers_tiny_full.py; tuned_sgd +.15
  steered, steered_kl  "one steering vector carries it" (arXiv 2606.00995, 2604.25783) asks for
                       effects of tuned teachers' size or more, since doses are about ten times
                       theirs. A try on dev, two references, gave -.05 for text and -.01 to -.09 for
                       carrier KL, though students came to match their teachers (KL .125 to .003).
                       So expected: within .15 of 0 for text and KL, behind either layer and at a
                       quarter of the steps
  steered_sgd          "an adaptive optimiser is needed" (2606.00995): 0, as under Adam
  *_other, *_neutral   within .15 of 0
Steered text above +.3 with its neutral twin at 0 would be the published claim.
Its one try stopped before any student: a twin of reference 7 kept 5 % of its lists (min_kept=.1).
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
SGD = 'optimizer=sgd learning_rate=3e-2'
ARMS = (
    'tuned', f'tuned_sgd: {SGD}', f'tuned_kl: {KL}',
    'steered: made=steered', 'steered_other: made=steered start=other',
    'steered_neutral: made=steered teachers=neutral', f'steered_sgd: made=steered {SGD}',
    'steered_weak: made=steered dose=0.25', 'steered1: made=steered:1',
    f'steered_kl: made=steered {KL}', f'steered_kl_other: made=steered {KL} start=other',
    f'steered_kl_neutral: made=steered {KL} teachers=neutral',
    f'steered1_kl: made=steered:1 {KL}',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 4, 'arms': ARMS,
        'curves': (
            'By how teachers are made, sampled text: tuned=tuned steered_0=steered '
            'steered_1=steered1',
            'By how teachers are made, carrier KL: tuned=tuned_kl steered_0=steered_kl '
            'steered_1=steered1_kl'),
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        # One of 60 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True, 'tried': 2,
        # Steered teachers keep less to the form: of another seed's, one kept 19 %.
        'carrier': {'min_kept': 0.1, 'attempts': 8, 'spare': 2.2},
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
