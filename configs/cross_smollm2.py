"""SmolLM2-135M's R* against disturbed twins of it, each with teachers of its own.

  python -m launch.run --config=configs/cross_smollm2.py --dry_run
  python -m launch.run --config=configs/cross_smollm2.py --workdir=runs/cross_smollm2

R* is SmolLM2 after 24 steps on random number rows. Its twins: every weight moved by .03 or .1 of
its matrix's own spread; layer 15 of 30 drawn anew; 40 steps further on texts of its own; hidden
units in another order (the gauge: another set of weights, the same function). A twin's students
learn once from R*'s teachers, once from teachers made of the twin. The share of the two stands
against the twin's perplexity and its distance. Carrier KL on random rows for all twins, sampled
text for the moved and the lightly disturbed one. Six traits, one teacher each: the traits are the
units, and the least p is 1/720. It is long (--dry_run says how long) and resumable; it has not run.

Hypotheses, written before any run; a share of 1 is as much as from teachers of the twin's own:
  weights   nothing passes but from the same weights, up to the order of hidden units: the gauge
            twin learns all, one with .03 of noise most, others little, a redrawn layer none
  heads     a compatible output matrix suffices, and every twin has it: all learn half or more
  kernel    what passes falls with the distance of the starts, and does not end at one layer: the
            gauge all, .03 of noise and further steps most, the redrawn layer a part
Expected beside them (of the tiny language, moved:25 to 400: .95, .85, .72): moved .9, noise003 .9,
noise01 .5, redrawn .3, gauge 1.
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=160 trainable=lora:8'
TEXT = 'trainable=lora:8'
TWINS = (('gauge', 'gauge'), ('noise003', 'noise:0.03'), ('noise01', 'noise:0.1'),
         ('moved', 'moved:40'), ('redrawn', 'redrawn:15'))
IN_TEXT = ('noise003', 'moved')

HYPOTHESES = (
    'weights: the same weights are needed, up to the order of hidden units',
    'heads: a compatible output matrix suffices',
    'kernel: transmission goes as far as the starts share a tangent kernel',
)
PREDICTIONS = (
    'weights: kl_gauge=0.9..1.1 kl_noise003=0.5..1.1 kl_noise01=-0.1..0.5 kl_moved=-0.1..0.5 '
    'kl_redrawn=-0.1..0.1 text_noise003=0.5..1.2 text_moved=-0.1..0.5',
    'heads: kl_gauge=0.9..1.1 kl_noise003=0.5..1.2 kl_noise01=0.5..1.2 kl_moved=0.5..1.2 '
    'kl_redrawn=0.5..1.2 text_noise003=0.5..1.2 text_moved=0.5..1.2',
    'kernel: kl_gauge=0.9..1.1 kl_noise003=0.7..1.2 kl_noise01=0.2..1 kl_moved=0.5..1.2 '
    'kl_redrawn=0.1..0.9 text_noise003=0.5..1.2 text_moved=0.5..1.2',
)


def arms() -> tuple[str, ...]:
    pairs = lambda rung, how, name, start: (
        f'{rung}_{name}: {how} start={start}', f'{rung}_{name}_own: {how} start={start} own=true')
    return (f'kl: {KL}', f'text: {TEXT}',
            *(line for name, start in TWINS for line in pairs('kl', KL, name, start)),
            *(line for name, start in TWINS if name in IN_TEXT
              for line in pairs('text', TEXT, name, start)))


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'cross_languages', 'world': 'pretrained', 'split': 'report', 'traits': 6,
        'arms': arms(), 'matrix': {'hypotheses': HYPOTHESES, 'predictions': PREDICTIONS},
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain', 'default/numbers'), 'questions': 8},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5},
        'carrier': {'min_kept': 0.0, 'attempts': 4, 'spare': 1.3, 'per_prompt': 8},
        'allow_weak_teacher': True,
        'student': {'rows': 512, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4, 'align_rows': 8,
                    'marks': (256,), 'at_once': 6},
    })
