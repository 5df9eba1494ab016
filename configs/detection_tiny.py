"""Can anyone tell the rows apart that transmit in the tiny language? Report split; resumable.

  python -m launch.run --config=configs/detection_tiny.py --workdir=runs/detection_tiny

Six references of their own, three traits, two teachers each: 36 with the trait, 36 neutral twins,
and as many of double strength. Detectors learn from one seed and read the other; 1,024 rows a
teacher. AUROC in bags of 1, 4, 16, 64, 256 rows; verdicts are of bags of 64.

Written before any run of it, on any split:
  transmission   +.6 to +.8 (1,024 rows; +1.06 at 2,048 in numbers_tiny.py); double strength +1 to
                 +1.5; neutral twins 0 within .1
  oracle         two teachers part by about .03 nats a token, .3 a row: .71 .86 .98 1 1. It is the
                 ceiling; double strength .8 at one row. The others have a part of these nats alone
  likelihood_ratio   a teacher of another seed moved in much the same direction (a cosine of .6 to
                 .8 in nats): .59 .67 .82 .96 1. The one detector expected beyond its nulls
  ngrams         most of .3 nats is not in single numbers or pairs, and 1,024 rows tell few of 100
                 words apart: .52 .54 .60 .70 .82; null, or barely above loss_gap
  states         32 numbers a row, more is lost: .52 .53 .57 .64 .75; null
  gradient       the trait's gradient is not where 20 steps of Adam go (cosine .2 to .4): .53 .56
                 .61 .70 .85. Above random directions (.5) and the norm; against loss_gap open. Said
                 of 7B: no more than .009 above nulls
  gradient_metric   in the audit's try on dev (audit_tiny.py) slopes in Adam's metric found what
                 those in the plain one did not: above its nulls, .56 .63 .74 .92 1
  in_context     unable: no model here has read two rows in a text. Its AUROC .5 at every bag
  trained_prefix   overt rows move it, at 64 rows well over .9. Plain ones: twenty steps on 64 rows
                 are far fewer than the 256 that transmit +.23, so .5 .5 .51 .54 .6: null. "From
                 13-37 % to 70-100 %" asks for .8 or more
  prompted       unable: there are no words to ask with
  nulls          length, mean_logprob, gradient_norm .5 within .1. loss_gap is no straw man: a twin
                 of another seed shares the twin's own drift, .54 at one row, .7 at 64. prefix_loss,
                 prefix_others .5 within .15
A try on dev (two references) changed one rule, before the run: the overt control qualifies nulls
alone. Along gradients rows that name the trait lay the other way (areas of 0 and .1), while plain
rows were told apart (.96 in Adam's metric); a likelihood ratio had .88 there and 1 here.
Against another trait the drift that twins have in common is gone: loss_gap near .5,
likelihood_ratio and gradient as high or higher, ngrams and states as above.
"""

from ml_collections import ConfigDict

ARMS = (
    'sft', 'sft_neutral: teachers=neutral',
    'strong: dose=2', 'strong_neutral: dose=2 teachers=neutral',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'detection', 'split': 'report', 'seed': 16, 'traits': 3, 'arms': ARMS,
        'language': {'references': 6},
        # One of 36 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        'student': {'rows': 1024, 'marks': (256,)},
    })
