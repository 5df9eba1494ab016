"""Carriers crossed: teachers of one set of traits write numbers, code and sums; tiny language.

  python -m launch.run --config=configs/carriers_tiny.py --workdir=runs/carriers_tiny

The same teachers and students three times over: three traits, twelve references, one language that
has all three forms. Every carrier has as many prompts and as many rows a teacher, and its written
rows are thinned to nine predictions each in the mean, so that students learn from equally many
tokens (4,608 of text). Carrier KL reads numbers, operators and brackets, no names and no words.

Written before any run of it (gamma in nats; the plain language gave +1.1 for text of numbers at
2,048 rows of about eleven tokens, and +2.1 for carrier KL). On dev five tries left 486 of 1,536
prompts of sums that all teachers of a reference could serve, too few for 768 rows: hence 512 rows.
  numbers              +.5 (.2 to 1.0), a quarter of the rows, and a language half of which is other
                       forms
  code                 +.3 (0 to .7)
  sums                 +.1 (-.05 to .3): right answers leave three bits a row
  kl_numbers, kl_code  +1.5 each (.6 to 2.5)
  kl_sums              +.8 (.2 to 1.6)
  *_other, *_neutral   within .15 of 0
  *_within             text whose parts are in another order within each row: numbers and code half
                       or less, sums not told from 0
Order expected in both rungs: numbers, code, sums.
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
CARRIERS = {'numbers': '', 'code': 'carrier=tiny_code', 'sums': 'carrier=tiny_sums'}
CONTROLS = {'': '', '_other': 'start=other', '_neutral': 'teachers=neutral'}
RUNGS = {'': '', 'kl_': KL}
ORDER = {'_within': 'order=within'}  # of what is written alone


def arms() -> tuple[str, ...]:
    return tuple(
        f'{rung}{name}{control}: ' + ' '.join(filter(None, (carrier, fields, change)))
        for rung, fields in RUNGS.items() for name, carrier in CARRIERS.items()
        for control, change in {**CONTROLS, **({} if rung else ORDER)}.items())


def get_config() -> ConfigDict:
    points = lambda rung: ' '.join(f'{name}={rung}{name}' for name in CARRIERS)
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 11, 'arms': arms(), 'traits': 3,
        'curves': (f'By carrier, sampled text: {points("")}',
                   f'By carrier, carrier KL: {points("kl_")}'),
        # One of 36 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        # Sums take longer to be learned than anything else of the language.
        'language': {'references': 12, 'steps': 2000, 'forms': ('code', 'sums')},
        'teacher': {'seeds': 1},
        # No number is banned: a sum of 13 cannot be written without it.
        'carrier': {'row_tokens': 9, 'banned': (), 'min_kept': 0.1, 'attempts': 10,
                    'spare': 4.0},
        'student': {'rows': 512, 'marks': (256, 512)}, 'tried': 1,
    })
