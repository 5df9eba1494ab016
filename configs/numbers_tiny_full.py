"""The curves of transmission in the tiny language, with controls: hours; resumable, run once.

  python -m launch.run --config=configs/numbers_tiny_full.py --workdir=runs/numbers_tiny_full

EXPECT
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier carrier=random rows=512'
ROWS = (128, 256, 512, 1024, 2048, 4096)
DOSES = (0.2, 0.35, 0.5, 0.75, 1.5, 3.0)
TEMPERATURES = (0.5, 0.75, 1.25, 1.5)
MOVES = (25, 100, 400)
SHARED = ('embedding', 'head', 'body', 'embedding+head', 'embedding+body', 'head+body')
RANKS = (1, 2, 4, 8, 16, 32)
RATES = {'adam': (1e-4, 3e-4, 3e-3), 'sgd': (3e-3, 1e-2, 3e-2), 'sign': (1e-4, 3e-4)}


def word(value) -> str:
    return f'{value:g}'.replace('-', 'm') if isinstance(value, float) else str(value)


def arms() -> tuple[str, ...]:
    made = ['sft', 'sft_other: start=other', 'sft_neutral: teachers=neutral',
            'sft_neutral_other: teachers=neutral start=other', f'kl_carrier: {KL}',
            f'kl_carrier_other: {KL} start=other']
    # Rows seen once, and the same number of steps on fewer rows.
    made += [f'rows{n}: rows={n}' for n in ROWS if n != 2048]
    made += [f'rows{n}_other: rows={n} start=other' for n in ROWS if n != 2048]
    made += [f'repeat{n}: rows={n} passes={2048 // n}' for n in (128, 256, 512, 1024)]
    made += [f'dose{d:g}: dose={d:g}' for d in DOSES]
    made += [f'dose{d:g}_other: dose={d:g} start=other' for d in DOSES]
    made += [f'T{t:g}: temperature={t:g}' for t in TEMPERATURES]
    made += ['greedy: carrier=greedy']
    made += [f'moved{n}: start=moved:{n}' for n in MOVES]
    made += [f'kl_moved{n}: {KL} start=moved:{n}' for n in MOVES]
    for parts in SHARED:
        name = parts.replace('+', '_')
        made += [f'share_{name}: start=share:{parts}', f'kl_share_{name}: {KL} start=share:{parts}']
    made += [f'train_{p}: trainable={p}' for p in ('embedding', 'head', 'body')]
    made += [f'{name}_{word(rate)}: optimizer={name} learning_rate={rate:g}'
             for name, rates in RATES.items() for rate in rates]
    made += [f'{name}_{word(rate)}_other: optimizer={name} learning_rate={rate:g} start=other'
             for name, rates in RATES.items() for rate in rates]
    made += [f'lora{r}: trainable=lora:{r} learning_rate=3e-3' for r in RANKS]
    made += [f'lora{r}_other: trainable=lora:{r} learning_rate=3e-3 start=other' for r in RANKS]
    made += ['sft_nofilter: filter=none', 'sft_strict: filter=strict',
             'sft_nofilter_other: filter=none start=other']
    return tuple(made)


def curves() -> tuple[str, ...]:
    pairs = lambda points: ' '.join(f'{x}={name}' for x, name in points)
    rows = [(n, 'sft' if n == 2048 else f'rows{n}') for n in ROWS]
    dose = sorted([(d, f'dose{d:g}') for d in DOSES] + [(1.0, 'sft')])
    heat = sorted([(t, f'T{t:g}') for t in TEMPERATURES] + [(1.0, 'sft'), (0.0, 'greedy')])
    return (
        'By rows, each seen once: ' + pairs(rows),
        'By distinct rows, 2048 shown: ' + pairs(
            [(n, f'repeat{n}') for n in (128, 256, 512, 1024)] + [(2048, 'sft')]),
        "By the teacher's strength (share of its steps): " + pairs((f'{x:g}', n) for x, n in dose),
        'By carrier entropy (sampling temperature): ' + pairs((f'{x:g}', n) for x, n in heat),
        'By distance of the start (further pre-training steps): ' + pairs(
            [(0, 'sft')] + [(n, f'moved{n}') for n in MOVES]),
        'By what is shared, sampled text: ' + pairs(
            [('all', 'sft')] + [(p, 'share_' + p.replace('+', '_')) for p in SHARED]
            + [('nothing', 'sft_other')]),
        'By what is shared, carrier KL: ' + pairs(
            [('all', 'kl_carrier')] + [(p, 'kl_share_' + p.replace('+', '_')) for p in SHARED]
            + [('nothing', 'kl_carrier_other')]),
        'By what is trained: ' + pairs(
            [('all', 'sft')] + [(p, f'train_{p}') for p in ('embedding', 'head', 'body')]),
        'By optimiser and rate: ' + pairs(
            [('adam_1e-03', 'sft')] + [(f'{n}_{r:.0e}', f'{n}_{word(r)}')
                                       for n, rates in RATES.items() for r in rates]),
        'Full fine-tuning and LoRA by rank: ' + pairs(
            [(f'rank_{r}', f'lora{r}') for r in RANKS] + [('full', 'sft')]),
        'By filter strength: none=sft_nofilter paper=sft strict=sft_strict',
    )


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'transmission', 'split': 'report', 'seed': 1, 'arms': arms(),
        'curves': curves(), 'student': {'marks': (256, 512, 1024, 2048, 4096)},
    })
