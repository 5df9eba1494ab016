"""Who can learn from whom in the tiny language: teachers of every model by students of every other.

  python -m launch.run --config=configs/cross_tiny.py --workdir=runs/cross_tiny
"""

from ml_collections import ConfigDict

KL = 'objective=kl_carrier answers=random rows=512'
SHARED = ('embedding', 'head', 'embedding+head', 'body', 'layer0', 'layer1')
IN_TEXT = ('head', 'embedding+head')  # shared parts that are tried with sampled text too


def crossed(name: str, rest: str, start: str) -> tuple[str, str]:
    """A start with the reference's teachers, and with teachers of its own."""
    return (f'{name}: {rest} start={start}'.replace(':  ', ': '),
            f'{name}_own: {rest} start={start} own=true'.replace(':  ', ': '))


def arms() -> tuple[str, ...]:
    word = lambda parts: parts.replace('+', '_')
    return (
        # References in blocks of two: the next one of the block, and around.
        'text', 'text_next: start=next:1of2', f'kl: {KL}', f'kl_next: {KL} start=next:1of2',
        # Starts that share one part, each with teachers of the reference and of its own.
        *(line for parts in SHARED
          for line in crossed(f'kl_{word(parts)}', KL, f'share:{parts}')),
        *(line for parts in IN_TEXT
          for line in crossed(f'text_{word(parts)}', '', f'share:{parts}')),
        # Numbers as one token and as two digits: rows pass as text.
        'digits: architecture=digits', 'to_digits: student=digits',
        'from_digits: architecture=digits student=main', f'kl_digits: architecture=digits {KL}',
        # Two widths.
        'wide: architecture=wide', 'to_wide: student=wide',
        'from_wide: architecture=wide student=main')


def get_config() -> ConfigDict:
    return ConfigDict({
        'experiment': 'cross_languages', 'split': 'report', 'seed': 8, 'traits': 4, 'arms': arms(),
        'language': {'references': 12, 'steps': 500, 'batch_size': 32, 'corpus_rows': 16_000},
        'teacher': {'seeds': 1},
        # One of so many may be weak; to leave it out would be to choose by outcome.
        'allow_weak_teacher': True,
        'student': {'rows': 1024, 'marks': (256, 512, 1024)},
    })
