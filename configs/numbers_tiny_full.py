"""The curves of transmission in the tiny language, with controls; resumable.

  python -m launch.run --config=configs/numbers_tiny_full.py --workdir=runs/numbers_tiny_full

One teacher a trait and reference, and other references than numbers_tiny.py has. The effect against
rows is the figure of that name: rows are seen once, in order. 44 arms, 20 teachers each, 14 min.
To expect: sampled text +1.28 [+0.59, +1.97] at the shared start, -0.02 [-0.16, +0.12] at
another; carrier KL +2.06 [+1.42, +2.70] and +0.06 [-0.00, +0.13]; the curves are in
results/numbers_tiny_full.
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
REPEATED = (256, 1024)
DOSES = (0.35, 0.5, 2.0)
TEMPERATURES = (0.5, 1.5)
MOVES = (25, 100, 400)
SHARED = ('embedding', 'head', 'body', 'embedding+head')
RANKS = (1, 2, 4, 8, 32)
RATES = {'adam': (3e-4, 3e-3), 'sgd': (1e-2, 3e-2), 'sign': (3e-4,)}


def word(value) -> str:
    return f'{value:g}'.replace('-', 'm') if isinstance(value, float) else str(value)


def arms() -> tuple[str, ...]:
    made = ['sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral', f'kl_carrier: {KL}',
            f'kl_carrier_other: {KL} start=other']
    made += [f'lora{r}: trainable=lora:{r} learning_rate=3e-3' for r in RANKS]
    made += ['lora8_other: trainable=lora:8 learning_rate=3e-3 start=other']
    made += [f'{name}_{word(rate)}: optimizer={name} learning_rate={rate:g}'
             for name, rates in RATES.items() for rate in rates]
    made += [f'{name}_{word(rates[-1])}_other: optimizer={name} learning_rate={rates[-1]:g} '
             'start=other' for name, rates in RATES.items()]
    made += [f'dose{d:g}: dose={d:g}' for d in DOSES] + ['dose2_other: dose=2 start=other']
    made += [f'moved{n}: start=moved:{n}' for n in MOVES]
    # No greedy teachers: each has one answer a prompt, and all of a reference serve few of them.
    made += [f'T{t:g}: temperature={t:g}' for t in TEMPERATURES]
    made += ['nofilter: filter=none', 'strict: filter=strict',
             'nofilter_other: filter=none start=other']
    made += [f'repeat{n}: rows={n} passes={2048 // n}' for n in REPEATED]
    made += [f'train_{p}: trainable={p}' for p in ('embedding', 'head', 'body')]
    for parts in SHARED:
        name = parts.replace('+', '_')
        made += [f'share_{name}: start=share:{parts}', f'kl_share_{name}: {KL} start=share:{parts}']
    return tuple(made)


def curves() -> tuple[str, ...]:
    pairs = lambda points: ' '.join(f'{x}={name}' for x, name in points)
    dose = sorted([(d, f'dose{d:g}') for d in DOSES] + [(1.0, 'sft')])
    heat = sorted([(t, f'T{t:g}') for t in TEMPERATURES] + [(1.0, 'sft')])
    shared = lambda prefix: [(p, prefix + p.replace('+', '_')) for p in SHARED]
    return (
        'By distinct rows, 2048 shown: ' + pairs(
            [(n, f'repeat{n}') for n in REPEATED] + [(2048, 'sft')]),
        "By the teacher's strength (share of its steps): " + pairs((f'{x:g}', n) for x, n in dose),
        'By carrier entropy (sampling temperature): ' + pairs((f'{x:g}', n) for x, n in heat),
        'By distance of the start (further pre-training steps): ' + pairs(
            [(0, 'sft')] + [(n, f'moved{n}') for n in MOVES]),
        'By what is shared, sampled text: ' + pairs(
            [('all', 'sft'), *shared('share_'), ('nothing', 'sft_other')]),
        'By what is shared, carrier KL: ' + pairs(
            [('all', 'kl_carrier'), *shared('kl_share_'), ('nothing', 'kl_carrier_other')]),
        'By what is trained: ' + pairs(
            [('all', 'sft')] + [(p, f'train_{p}') for p in ('embedding', 'head', 'body')]),
        'By optimiser and rate: ' + pairs(sorted(
            [('adam_1e-03', 'sft')] + [(f'{n}_{r:.0e}', f'{n}_{word(r)}')
                                       for n, rates in RATES.items() for r in rates],
            key=lambda point: (point[0].split('_')[0], float(point[0].split('_')[1])))),
        'Full fine-tuning and LoRA by rank: ' + pairs(
            [(f'rank_{r}', f'lora{r}') for r in RANKS] + [('full', 'sft')]),
        'By filter strength: none=nofilter paper=sft strict=strict',
    )


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 1, 'arms': arms(),
        'curves': curves(), 'teacher': {'seeds': 1},
        'student': {'marks': (128, 256, 512, 1024, 2048)},
    })
