"""Selected text: the reference writes every list, a teacher only picks; twelve references.

  python -m launch.run --config=configs/numbers_tiny_selected.py --workdir=runs/selected

At each prompt the reference writes eight lists, the same for all of its teachers. A teacher picks
one by its likelihood ratio, and students learn from what was picked. No token is the teacher's:
what is its own are three bits a row. 1,024 rows, one teacher of each of five traits.

Written before any run of it (gamma in nats):
  sft                  +.6 to +.85, as in other runs of 1,024 rows
  selected             +1.0 (.4 to 2.5): the best of eight is ln 8 - 7/8 = 1.2 nats a row from what
                       the reference writes, and a teacher's own rows are .1 to .5 nats from it
  *_other              another start: within .15 of 0
  *_neutral            neutral twins pick: within .15 of 0
  selected_within      picked lists with their numbers shuffled: half of selected or less
"""

from ml_collections import ConfigDict

ARMS = (
    'sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral',
    'selected: answers=selected', 'selected_other: answers=selected start=other',
    'selected_neutral: answers=selected teachers=neutral',
    'selected_within: answers=selected order=within',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 2, 'arms': ARMS,
        'curves': ('Who writes: teacher=sft reference=selected shuffled=selected_within',),
        # Its references are those of numbers_tiny_ranks.py. A weak teacher stays in: to leave it
        # out would be to choose by outcome.
        'allow_weak_teacher': True,
        'language': {'references': 12}, 'teacher': {'seeds': 1},
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
