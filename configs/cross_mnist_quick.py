"""Who can learn from whom, on digits: starts, read-outs, networks, optimisers; 6 models a cell.

  python -m launch.run --config=configs/cross_mnist_quick.py --workdir=runs/cross_mnist_quick

To expect (published means at m = 3): own .537, other .100; own at m = 2 .348, at m = 10 .835; own
of width 128 .528. A clone of the teacher's initial logits was said to reach about .37; its epochs
and read-out are not known. Exactly .1 in the mean, whatever is learned: the own class head of
other, share:aux, share:first and cloned. What three hypotheses say of every cell stands in
subliminal_jax/experiments/cross_model/digits/hypotheses.py, written before any run.
"""

from ml_collections import ConfigDict

STARTS = ('own', 'other', 'share:output', 'share:aux', 'share:class', 'share:first', 'cloned',
          'cloned:all')
PROBED = ('own', 'other', 'share:output', 'cloned')  # each needs a placebo's student
DISTANCES = (0.25, 0.5, 0.75)
NETWORKS = {
    'shallow': 'depth=1', 'deep': 'depth=3', 'gelu': 'activation=gelu', 'nobias': 'use_bias=false',
    'sgd': 'optimizer=sgd'}


def cells() -> list[str]:
    """The lines: one a cell."""
    lines = [f'{name(start)}: start={start} readout=own+teacher' + '+probe' * (start in PROBED)
             for start in STARTS]
    lines += [f'{name(start)}_m10: start={start} num_aux=10'
              for start in ('own', 'other', 'share:output', 'share:aux')]
    lines += ['own_m2: num_aux=2', 'other_m2: start=other num_aux=2']
    lines += [f'mix{t:g}_m{m}: start=mix:{t:g} num_aux={m}' for m in (2, 3, 10) for t in DISTANCES]
    lines += [f'own_w{width}_m{m}: width={width} num_aux={m}'
              for width in (32, 64, 128) for m in (2, 3, 10)]
    for network, fields in NETWORKS.items():
        lines += [f'{name(start)}_{network}: start={start} {fields}'
                  for start in ('own', 'other', 'share:output')]
    return lines


def name(start: str) -> str:
    """A start as a part of a cell's name."""
    return start.replace(':', '_')


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'cross_mnist', 'num_models': 6, 'chunk_size': 3, 'cells': cells()})
