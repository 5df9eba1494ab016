"""How often is an audit right? Planted truth in the tiny language; report split; resumable.

  python -m launch.run --config=configs/audit_tiny.py --workdir=runs/audit_tiny

Twelve references, three traits, one teacher each: trait teachers at full dose, of twice the steps,
and diluted with their twins' rows; neutral twins; the references' own rows; rows of another start;
rows of which one in four names the trait. 1,024 rows an audit, in eight parts of 128: some 360
audits, beside them 20 of files whose truth is written before and opened after.

A try on dev (two references): slopes in the plain metric found nothing, in the metric of the
students' Adam those of all twelve teachers rose, with no false alarm in fifteen audits: so they are
read in it. Widened by random directions they found five of twelve, as strict as the spread of the
other candidates is by itself: so that is left to audits of few candidates.
Rows that name the trait at their ends moved no answer to a question.

Written before any run on report:
  clean, twins, foreign   false alarms: 5 % or fewer of audits flag anything (the test is
                  conservative: two conditions at once, adjusted over twelve candidates)
  sft_neutral     as many or a few more: twins move all candidates a little
  sft             a part of 128 rows moves a trait by +.2: 60 to 90 % found in students, 70 to 100 %
                  in slopes
  plain metric    slopes of sft in it: under 10 %, as on dev; "gradient attribution adds nothing
                  over null baselines" (said of 7B) would be a matter of the metric
  half, quarter   10 to 40 %, under 15 % in students; slopes twice that
  strong          60 to 90 %, hardly more than sft: what is learned saturates
  overt           none: a name at the end of a list is no answer to a question in this language
  other start     no more than false alarms
  forecasts       within a factor of three for slopes; students need fewer rows than slopes say,
                  since Adam follows small signals further
  blind           as the kinds that it is drawn from
"""

from ml_collections import ConfigDict

ARMS = (
    'sft', 'sft_neutral: teachers=neutral', 'half: mix=0.5', 'quarter: mix=0.75',
    'strong: dose=2',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'audit_benchmark', 'split': 'report', 'seed': 20, 'traits': 3, 'arms': ARMS,
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        # One of 36 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True, 'tried': 3,
        'student': {'rows': 1024, 'marks': (1024,)},
    })
