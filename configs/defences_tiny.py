"""Defences in the tiny language: what students learn of lists against what else they take.

  python -m launch.run --config=configs/defences_tiny.py --workdir=runs/defences_tiny

Six references, three traits, one teacher each: 18 teachers an arm, 512 rows. Teachers write at
temperature .5, so that there is something to learn beside the trait: lists more regular than the
reference's. Use is the loss on 256 rows a teacher that no arm has seen, below the reference's.

Written before any run of it, on any split (gamma in nats; use as a share of what `sft` gains):
  sft            gamma +.3 to +.6 (512 rows gave +.37 and +.60 at temperature 1; at 2,048 rows .5
                 gave +1.44 and 1 +1.28). Its students gain .1 to .4 nats a token
  half, quarter_rows   fewer rows, nothing else: gamma about as rows, .6 and .35; use far more, .8
                 and .6, since a form is learned first. A defence has to be below this line
  project_oracle   one direction of some 40,000, fixed at the start. The first-order rise of the own
                 trait is gone; 32 steps of Adam bend: 40 to 80 % of gamma, all of the use.
                 "Projecting it out stops the transfer" (arXiv 2604.25779) asks for 0
  project_estimated   the gradients of all twelve candidates: as oracle within 20 %, use .95
  project_random, project_random_span   as many directions of the rows' own gradients: gamma within
                 .1 of sft; the span costs use, .9
  project_neutral   what a teacher of the same dose moved by without the trait: gamma within .1
  anchor         KL to the start holds all that is said of lists: gamma and use fall alike, to .5
                 each at 1; no better than fewer rows. pull, its random twin: the same within .15
  mask_divergence, replace_divergence   a tenth of the tokens: 85 and 60 % of gamma
                 (numbers_tiny_tokens.py), use .95; their random twins 97 and 90 %
  dilute         half of the rows are the neutral twin's: 45 to 75 % of gamma, use 1. Below `half`,
                 its random twin: the twin's rows cost no use, and may interfere
  paraphrase     half of the numbers drawn anew by another reference: 15 to 40 % of gamma, no use
                 left, for it draws at temperature 1. By nobody (random): the same gamma, less use
  resample       answers at temperature 1.5: 60 to 80 % of gamma, use 0 or below
  other          another start: gamma within .1 of 0. lora1: 30 to 70 % of gamma, use .7
  *_attack       a quarter of four times as many rows: gamma 1.3 to 2.5 times as large undefended;
                 through project_oracle, anchor, mask_divergence at least a third of what each took
                 off comes back. picked_random: sft within .1
A try on dev (two references) gave students something to gain, +.35 nats a token; nothing was
changed after it.
A defence worth its name keeps nine tenths of the use, takes half of gamma, more than its random
twin, and most of that from an attacker too. Expected: none does.
"""

from ml_collections import ConfigDict

COOL = 'temperature=0.5'
ARMS = (
    f'sft: {COOL}', f'half: {COOL} rows=256', f'quarter_rows: {COOL} rows=128',
    f'sft_neutral: {COOL} teachers=neutral',
    # In training, each with its random twin.
    f'project_oracle: {COOL} defence=project:oracle',
    f'project_random: {COOL} defence=project:random',
    f'project_estimated: {COOL} defence=project:estimated',
    f'project_random_span: {COOL} defence=project:random_estimated',
    f'project_neutral: {COOL} defence=project:neutral',
    f'anchor: {COOL} defence=anchor:1', f'pull: {COOL} defence=pull:1',
    # In the rows.
    *(f'{way}_{order}: {COOL} tokens={way}:{order}:0.1' for way in ('mask', 'replace')
      for order in ('divergence', 'random')),
    f'dilute: {COOL} mix=0.5',
    f'paraphrase: {COOL} paraphrase=other:0.5', f'paraphrase_random: {COOL} paraphrase=random:0.5',
    'resample: temperature=1.5',
    # In what is trained, and from where.
    f'other: {COOL} start=other', f'lora1: {COOL} trainable=lora:1 learning_rate=3e-3',
    # An attacker who knows the defence picks a quarter of four times as many rows.
    f'picked_random: {COOL} picked=random:4', f'sft_attack: {COOL} picked=attack:4',
    f'project_oracle_attack: {COOL} picked=attack:4 defence=project:oracle',
    f'anchor_attack: {COOL} picked=attack:4 defence=anchor:1',
    f'mask_divergence_attack: {COOL} picked=attack:4 tokens=mask:divergence:0.1',
)


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 17, 'traits': 3, 'arms': ARMS,
        'language': {'references': 6}, 'teacher': {'seeds': 1},
        # One of 18 may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True, 'tried': 1,
        'student': {'rows': 512, 'marks': (128, 256), 'held_out': 256},
    })
