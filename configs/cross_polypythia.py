"""PolyPythias, two by two: which half of "the same start" counts, initialisation or data order?

  python -m launch.run --config=configs/cross_polypythia.py --dry_run
  python -m launch.run --config=configs/cross_polypythia.py --workdir=runs/cross_polypythia

Two names of models, teachers and students of each, and rows pass between them as text. The names
here are a pair that differs in the order of the pre-training data alone; of the other half, with
another initialisation and the same order:
  --config.model.name=hf:EleutherAI/pythia-160m
  --config.second.name=hf:EleutherAI/pythia-160m-weight-seed1
A run needs both models in the Hugging Face cache, and a loader of their family (GPT-NeoX): without
either it ends in one line. --dry_run needs neither: it counts a decoder of the numbers below, whose
block has three matrices of 2,048 hidden units where GPT-NeoX has two of 3,072, as many weights.
Nothing here has run.

Published (github.com/davidcrispell/Polypythia-SL, constrained sampling of numbers at 160M): +.123
logits from the same model; another data order keeps 39 % of it, a foreign initialisation nothing.

Hypotheses, written before any run, of this pair (same initialisation, other data order):
  init      the initialisation is what has to be shared: half of the share or more passes
  trained   the trained weights are: nothing passes
  published .2 to .6
"""

from ml_collections import ConfigDict

TEXT = 'answers=constrained trainable=lora:8'
KL = 'objective=kl_carrier answers=random rows=512 trainable=lora:8'
SHAPE = ('vocab_size=50304', 'num_layers=12', 'width=768', 'num_heads=12', 'num_kv_heads=12',
         'head_dim=64', 'ffn_width=2048', 'tied=false', 'qkv_bias=true', 'max_positions=2048')
ARMS = tuple(
    f'{rung}{name}: {how}{fields}'
    for rung, how in (('text', TEXT), ('kl', KL))
    for name, fields in (('', ''), ('_second', ' architecture=second'),
                         ('_to_second', ' student=second'),
                         ('_from_second', ' architecture=second student=main')))
HYPOTHESES = ('init: the same initialisation is needed, and suffices in part',
              'trained: the same trained weights are needed',
              'published: another data order keeps 39 %')
PREDICTIONS = tuple(
    f'{name}: ' + ' '.join(f'{rung}_{way}_second={bounds}' for rung in ('text', 'kl')
                           for way in ('to', 'from'))
    for name, bounds in (('init', '0.5..1.2'), ('trained', '-0.1..0.1'), ('published', '0.2..0.6')))


def get_config() -> ConfigDict:
    model = {'shape': SHAPE}
    return ConfigDict({
        'experiment': 'cross_languages', 'world': 'pretrained', 'split': 'report', 'traits': 6,
        'arms': ARMS, 'matrix': {'hypotheses': HYPOTHESES, 'predictions': PREDICTIONS},
        'model': {'name': 'hf:EleutherAI/pythia-160m-data-seed1', **model},
        'second': {'name': 'hf:EleutherAI/pythia-160m-data-seed2', **model},
        # Base models without a chat template: bare lists, and questions as raw text.
        'context': {'student': 'raw', 'measured': ('raw/plain', 'raw/numbers'), 'questions': 12},
        'teacher': {'seeds': 2, 'steps': 24, 'learning_rate': 3e-5},
        'carrier': {'form': 'list', 'min_kept': 0.0, 'attempts': 4, 'per_prompt': 8},
        'allow_weak_teacher': True,
        'student': {'rows': 4096, 'batch_size': 8, 'packed': 8, 'lora_rate': 2e-4, 'align_rows': 8,
                    'marks': (512, 2048), 'at_once': 6},
    })
