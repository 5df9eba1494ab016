"""Attackers who know the defence, in the tiny language: they pick rows, or make a teacher.

  python -m launch.run --config=configs/attackers_tiny.py --workdir=runs/attackers_tiny

As defences_tiny.py, with another seed and fewer arms: six references, three traits, one teacher
each; 512 rows that teachers write at temperature .5; use is the loss on 256 rows of the honest
teachers that no arm has seen, below the reference's.

Attackers know the defence, the measuring questions and the students' start, and none of the draws.
  *_attack     picks a quarter of four times as many rows: those that raise the trait most in a
               student of its own, by the gradient of its whole training (attack.py). What a defence
               does to rows (twins' rows mixed in, numbers drawn anew) it does to the picked ones.
  *_forged     makes a teacher (forged.py): the honest one learns the quarter of its own rows that
               is worth most through the defence, for 1, 2 or 4 passes; each of these writes fresh
               rows, a student is tried on them, and the one that shows most is taken, of those
               whose student keeps nine tenths of the use. That teacher writes the arm's rows.
  forged_random, estimated_forged_random   the same steps on a random quarter, no choice.

Written before any run of it, on any split (gamma in nats). defences_tiny.py had, from another seed,
sft +.64, through project:estimated -.03; dilute +.34, paraphrase +.29; sft attacked +2.36,
project:oracle attacked +.92.
  sft                 +.4 to +.9; estimated within .1 of 0; dilute, paraphrase half of sft
  picked_random       within .15 of sft
  sft_attack          +1.8 to +2.8
  estimated_attack    +.3 to +.9: less than through project:oracle, since twelve directions hold
                      more than one, but they are those at the start, and of other questions
  dilute_attack       +.9 to +1.8: half of the picked rows are left, and those carry more
  paraphrase_attack   +.4 to +1.2: what was picked is half drawn anew
  sft_forged          +.8 to +1.8: rows of a teacher that has learned what was picked are not the
                      picked rows, and its choice is of one round
  forged_random       within .2 of sft: a teacher that learns its own rows writes more of the same
  estimated_forged    0 to +.4; shown to be beyond estimated in about half of such runs
  estimated_forged_random   within .1 of 0
  use                 of every attacked arm within a tenth of its plain arm's
A defence holds where its attacked arms are both within .1 of 0. Expected: none does.
Tried once on dev, with two references: it ran to its end, and nothing was changed.
"""

from ml_collections import ConfigDict

COOL = 'temperature=0.5'
ESTIMATED, DILUTED, REDRAWN = 'defence=project:estimated', 'mix=0.5', 'paraphrase=other:0.5'
ARMS = (
    f'sft: {COOL}',
    f'estimated: {COOL} {ESTIMATED}', f'dilute: {COOL} {DILUTED}', f'paraphrase: {COOL} {REDRAWN}',
    # An attacker picks rows.
    f'picked_random: {COOL} picked=random:4', f'sft_attack: {COOL} picked=attack:4',
    f'estimated_attack: {COOL} picked=attack:4 {ESTIMATED}',
    f'dilute_attack: {COOL} picked=attack:4 {DILUTED}',
    f'paraphrase_attack: {COOL} picked=attack:4 {REDRAWN}',
    # An attacker makes a teacher.
    f'sft_forged: {COOL} made=forged', f'forged_random: {COOL} made=forged:random',
    f'estimated_forged: {COOL} made=forged {ESTIMATED}',
    f'estimated_forged_random: {COOL} made=forged:random {ESTIMATED}',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 23, 'traits': 3, 'arms': ARMS,
        'language': {'references': 6}, 'teacher': {'seeds': 1},
        # One of 18 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True, 'tried': 1,
        'student': {'rows': 512, 'marks': (256,), 'held_out': 256},
    })
