"""How often is an audit right? Planted truth in the tiny language; report split; resumable.

  python -m launch.run --config=configs/audit_tiny.py --workdir=runs/audit_tiny

Twelve references, three traits, one teacher each: trait teachers at full dose, of twice the steps,
and diluted with their twins' rows; neutral twins; the references' own rows; rows of another start;
rows of which one in four names the trait. 1,024 rows an audit, in eight parts of 128: some 360
audits, beside them 20 of files whose truth is written before and opened after.

Written before any run of it, on any split:
  clean, twins, foreign   false alarms: 5 % or fewer of audits flag anything (the test is
                  conservative: two conditions at once, adjusted over twelve candidates)
  sft_neutral     as many or a few more: twins move all candidates a little
  sft             a part of 128 rows moves a trait by +.15 or so, with a noise of .15 a student over
                  eight: 50 to 80 % found in students, 70 to 95 % in slopes
  half, quarter   10 to 40 %, under 15 % in students; slopes twice that
  strong          80 to 100 %
  overt           all, in students of both starts
  other start     no more than false alarms, but for overt
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
        'allow_weak_teacher': True,
        'student': {'rows': 1024, 'marks': (1024,)},
    })
