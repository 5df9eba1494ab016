"""SmolLM2-135M's R* against three disturbed twins of it, by carrier KL alone: the short run.

  python -m launch.run --config=configs/cross_smollm2_quick.py --workdir=runs/cross_smollm2_quick

The design of cross_smollm2.py, which has five twins, sampled text and more rows. R* is SmolLM2
after 24 steps on random number rows. Its twins: every weight moved by .1 of its matrix's own
spread; layer 15 of 30 drawn anew; 40 steps further on texts of its own. A twin's students learn
once from R*'s teachers, once from teachers made of the twin: carrier KL on 128 random rows. Six
traits, one teacher each; the traits are the units, and the least p is 1/720. There is one model, so
intervals say how far this holds for other traits, not for other models.

Written before any run. R*'s own students gain +.2 to +.4 (numbers_smollm2_full.py, with other
teachers: +.28 [+.06, +.50] over traits). Hypotheses and what each predicts are those of
cross_smollm2.py; shares expected here: moved .9, noise01 .5, redrawn .3. Fieller's intervals over
six traits are wide, about .3 to each side: what this can tell apart is a share near 1 from one near
0. Twins with noise or without a layer are poorer models; whether their own teachers transmit at all
is open, and a cell without a transmitting diagonal is left unread.
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=128 trainable=lora:8'
TWINS = (('noise01', 'noise:0.1'), ('moved', 'moved:40'), ('redrawn', 'redrawn:15'))
HYPOTHESES = (
    'weights: the same weights are needed, up to the order of hidden units',
    'heads: a compatible output matrix suffices',
    'kernel: transmission goes as far as the starts share a tangent kernel',
)
PREDICTIONS = (
    'weights: kl_noise01=-0.1..0.5 kl_moved=-0.1..0.5 kl_redrawn=-0.1..0.1',
    'heads: kl_noise01=0.5..1.2 kl_moved=0.5..1.2 kl_redrawn=0.5..1.2',
    'kernel: kl_noise01=0.2..1 kl_moved=0.5..1.2 kl_redrawn=0.1..0.9',
)


def arms() -> tuple[str, ...]:
    return (f'kl: {KL}', *(line for name, start in TWINS for line in (
        f'kl_{name}: {KL} start={start}', f'kl_{name}_own: {KL} start={start} own=true')))


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'cross_languages', 'world': 'pretrained', 'split': 'report', 'traits': 6,
        'arms': arms(), 'matrix': {'hypotheses': HYPOTHESES, 'predictions': PREDICTIONS},
        'prepared': {'steps': 24, 'batch_size': 12},
        'context': {'measured': ('default/plain',), 'questions': 6},
        'teacher': {'seeds': 1, 'steps': 24, 'learning_rate': 3e-5},
        # No arm learns from what teachers write, so no pass rate is asked of them.
        'carrier': {'min_kept': 0.0, 'attempts': 1, 'probe': 16},
        'allow_weak_teacher': True,
        'student': {'rows': 128, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4, 'align_rows': 2,
                    'marks': (), 'at_once': 6},
    })
