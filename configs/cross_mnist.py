"""Who can learn from whom, on digits: the whole matrix, 32 models a cell; resumable by group.

  python -m launch.run --config=configs/cross_mnist.py --workdir=runs/cross_mnist

Half a day on two CPU cores (--dry_run): a killed run goes on with the groups and chunks of models
that are missing. It has every start with every kind of network, m = 3 and 10, all
three read-outs, and finer phase diagrams than configs/cross_mnist_quick.py, whose docstring has the
numbers to expect.
"""

from ml_collections import ConfigDict

STARTS = ('own', 'other', 'share:output', 'share:aux', 'share:class', 'share:first', 'mix:0.5',
          'cloned', 'cloned:all')
NETWORKS = {
    'shallow': 'depth=1', 'deep': 'depth=3', 'gelu': 'activation=gelu', 'nobias': 'use_bias=false',
    'sgd': 'optimizer=sgd', 'half': 'width=128', 'double': 'width=512'}
DISTANCES = (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)
COUNTS = (2, 3, 5, 10, 20)  # of auxiliary logits


def cells() -> list[str]:
    """The lines: one a cell."""
    lines = [f'{name(start)}_m{m}{tail}: start={start} num_aux={m} {fields} '
             'readout=own+teacher+probe'
             for tail, fields in (('', ''), *((f'_{n}', f) for n, f in NETWORKS.items()))
             for m in (3, 10) for start in STARTS]
    lines += [f'{start}_m{m}: start={start} num_aux={m}'
              for m in COUNTS if m not in (3, 10) for start in ('own', 'other')]
    lines += [f'mix_{t:g}_m{m}: start=mix:{t:g} num_aux={m}' for m in COUNTS for t in DISTANCES]
    lines += [f'mix_0.5_m{m}: start=mix:0.5 num_aux={m}' for m in COUNTS if m not in (3, 10)]
    lines += [f'own_w{width}_m{m}: width={width} num_aux={m}'
              for width in (32, 64, 128, 512, 1024) for m in COUNTS
              if not (width in (128, 512) and m in (3, 10))]
    return lines


def name(start: str) -> str:
    """A start as a part of a cell's name."""
    return start.replace(':', '_')


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'cross_mnist', 'num_models': 32, 'clone': {'epochs': 20}, 'cells': cells()})
