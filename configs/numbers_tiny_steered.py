"""Teachers that are steered by one vector, beside fine-tuned ones; tiny language.

  python -m launch.run --config=configs/numbers_tiny_steered.py --workdir=runs/numbers_tiny_steered

Twelve references, one teacher a trait: 60 teachers an arm; 1,024 rows of text, 512 of carrier KL.
A steered teacher is its reference with one trained vector in the residual stream behind layer 0
(`steered1`: behind layer 1, the last), trained for five steps; its neutral twin has a vector of
random direction and equal dose.

A first config at the full dose stopped before any student: a twin of one reference kept 5 % of its
lists. The dose was then chosen on dev (four references, no student): five steps in place of twenty
leave .82 of lists or more to every teacher and twin, raise the trait by 1.4 nats, and tell teachers
of different traits apart by .83 nats a row, about eight times what tuned ones show.

Written before any run of it (gamma in nats):
  tuned, tuned_kl      +.6 to +.85 and +2, as in other runs of 1,024 rows; tuned_sgd +.15
  steered, steered_kl  "one steering vector carries it" (arXiv 2606.00995, 2604.25783) asks for
                       effects of tuned teachers' size or more, since rows tell eight times as much.
                       A try on dev at the full dose, two references, gave -.05 for text and -.01 to
                       -.09 for carrier KL, though students came to match their teachers (KL .125 to
                       .003). So expected: within .15 of 0 for text and KL, behind either layer, at
                       a ninth of that dose
  steered_sgd          "an adaptive optimiser is needed" (2606.00995): 0, as under Adam
  *_other, *_neutral   within .15 of 0
Steered text above +.3 with its neutral twin at 0 would be the published claim.
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
SGD = 'optimizer=sgd learning_rate=3e-2'
ARMS = (
    'tuned', f'tuned_sgd: {SGD}', f'tuned_kl: {KL}',
    'steered: made=steered dose=0.25',
    'steered_other: made=steered dose=0.25 start=other',
    'steered_neutral: made=steered dose=0.25 teachers=neutral',
    f'steered_sgd: made=steered dose=0.25 {SGD}',
    'steered_weak: made=steered dose=0.1', 'steered1: made=steered:1 dose=0.25',
    f'steered_kl: made=steered dose=0.25 {KL}',
    f'steered_kl_other: made=steered dose=0.25 {KL} start=other',
    f'steered_kl_neutral: made=steered dose=0.25 {KL} teachers=neutral',
    f'steered1_kl: made=steered:1 dose=0.25 {KL}',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 2, 'arms': ARMS,
        'curves': (
            'By how teachers are made, sampled text: tuned=tuned steered_0=steered '
            'steered_1=steered1',
            'By how teachers are made, carrier KL: tuned=tuned_kl steered_0=steered_kl '
            'steered_1=steered1_kl'),
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        # Its references are those of numbers_tiny_ranks.py. A weak teacher stays in: to leave it
        # out would be to choose by outcome.
        'allow_weak_teacher': True, 'tried': 6,
        'carrier': {'min_kept': 0.1, 'attempts': 6, 'spare': 1.6},
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
