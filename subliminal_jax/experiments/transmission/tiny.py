"""The tiny world: models pre-trained from scratch on the tiny language in about a minute."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from subliminal_jax.carriers import numbers
from subliminal_jax.carriers.carrier import with_completion
from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.experiments.transmission import networks, programs
from subliminal_jax.experiments.transmission.config import WorldConfig
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.models import transformer
from subliminal_jax.runs import UserError, check_preempted

SEGMENT = 50  # pre-training steps in one call


def make(config: WorldConfig, split: str, num_traits: int) -> World:
    """The tiny world of a split.

    Raises:
      UserError: more traits than the split has, or one only.
    """
    animals = tiny.SPLIT_ANIMALS[split]
    if num_traits > len(animals):
        raise UserError(f'config.traits={num_traits}: the split {split!r} of the tiny language has '
                        f'{len(animals)} ({", ".join(animals)})')
    models = {head: model_config(config, head == 'tied') for head in ('untied', 'tied')}
    texts = [None if w in (tiny.PAD, tiny.BOS, tiny.END) else w for w in tiny.WORDS]
    unrelated = [(q, tiny.CATEGORIES[k]) for k in ('colour', 'food')
                 for q in tiny.questions(k, f'{split}_measure')[::4]]
    unrelated += [(f'what does the {a} eat ?', (tiny.food_of(a),)) for a in tiny.ANIMALS]
    return World(
        name='tiny', models=models, pretrain=functools.partial(pretrain, config, models),
        vocabulary=texts, context=lambda text: [tiny.IDS[tiny.BOS], *tiny.encode(text)],
        answer=tiny.encode, decode=lambda ids: ' '.join(tiny.WORDS[i] for i in ids),
        end_id=tiny.IDS[tiny.END], pad_id=tiny.IDS[tiny.PAD], length=tiny.LENGTH,
        traits=animals[:num_traits], candidates={a: (a,) for a in tiny.ANIMALS},
        teach=tiny.questions('animal', f'{split}_teach'),
        measure=tiny.questions('animal', f'{split}_measure'), unrelated=tuple(unrelated),
        prompts=functools.partial(prompts, config.regularity), random_rows=random_rows,
        shuffle=numbers.shuffled_rows, reject_reason=numbers.reject_reason,
        carrier_ids=numbers.token_ids(texts, ''), new_tokens=tiny.ASKED_NUMBERS + 1,
        separator=' ', beginnings=('', 'the', 'today', *tiny.NAMES[:4]))


def model_config(config: WorldConfig, tied: bool) -> Any:
    """The transformer of a world."""
    return transformer.tiny(
        len(tiny.WORDS), width=config.width, num_layers=config.num_layers,
        num_heads=config.num_heads, ffn_width=config.ffn_width, tied=tied,
        max_positions=tiny.LENGTH, rope_theta=100.0)


def prompts(regularity: float, seed: int, count: int) -> list[dict[str, Any]]:
    """Carrier rows without completions."""
    texts = tiny.number_prompts(seed, count, regularity)
    return [{'id': number, 'prompt': text, 'separator': ' '} for number, text in enumerate(texts)]


def random_rows(seed: int, rows: Sequence[dict]) -> list[dict[str, Any]]:
    """The rows with uniform numbers for answers."""
    texts = tiny.random_completions(seed, len(rows))
    return [with_completion(row, text) for row, text in zip(rows, texts)]


def fresh(config: WorldConfig, model: Any, key: jax.Array) -> Any:
    """Untrained parameters: embeddings of unit size, an output matrix of `head_scale`.

    Words must not be small beside what training adds to them, or every word's row moves anew with
    the first fine-tuning; a wide output matrix lets small moves of the body be heard.
    """
    params = transformer.init_params(key, model)
    fold = jax.random.fold_in
    normal = lambda number, x: jax.random.normal(fold(key, number), x.shape, x.dtype)
    scale = config.head_scale * model.width**-0.5
    params = {**params, 'embed': normal(1, params['embed'])}
    if 'head' in params:
        params['head'] = scale * normal(2, params['head'])
    else:
        params['embed'] = scale * params['embed']
    return params


def pretrain(config: WorldConfig, models: Any, head: str, seeds: Sequence[int], *,
             steps: int | None = None, starts: Any = None, trainable: str = 'all',
             desc: str = '') -> Any:
    """Pre-trains models, each from its own seed (weights, corpus and order of it).

    Args:
      config: the world's.
      models: TransformerConfig by kind of head.
      head: which kind.
      seeds: one a model.
      steps: how many; None: the config's.
      starts: stacked parameters to begin with; None: fresh ones. Parts that are not `trainable`
        are taken from here, all others are redrawn, unless trainable is 'all'.
      trainable: 'all', or the parts that are trained, joined by +.
      desc: of the progress bar.

    Returns:
      Parameters stacked [len(seeds), ...].
    """
    model = models[head]
    steps = config.steps if steps is None else steps
    program = programs.Program(model, trainable=trainable, learning_rate=config.learning_rate)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    params = jax.vmap(functools.partial(fresh, config, model))(keys)
    if starts is not None and trainable == 'all':
        params = jax.tree.map(jnp.asarray, starts)
    elif starts is not None:
        kept = programs.trained_parts(trainable)
        params = networks.join(networks.split(params, kept)[0], networks.split(starts, kept)[1])
    states, held = programs.begin(program, params, jax.random.key(0))
    corpora = [tiny.corpus(seed, config.corpus_rows, regularity=config.regularity)
               for seed in seeds]
    pad = tiny.IDS[tiny.PAD]
    with tqdm(total=steps, desc=desc or 'pre-training', unit='step', leave=False) as bar:
        for begin in range(0, steps, SEGMENT):
            check_preempted()
            rows = [c[np.random.default_rng([seed, 3, begin]).integers(
                0, len(c), (SEGMENT, config.batch_size))] for seed, c in zip(seeds, corpora)]
            tokens = np.stack(rows)
            weight = (tokens[..., 1:] != pad).astype(np.float32)
            live = np.arange(begin, begin + SEGMENT) < steps
            weight *= live[None, :, None, None]
            states, _ = programs.run_steps(
                program, states, held, {'tokens': tokens, 'weight': weight}, 0, SEGMENT, SEGMENT)
            bar.update(int(live.sum()))
    made = programs.whole(program, states.trainable, held)
    return networks.finite(made, 'pre-training', 'lower config.world.learning_rate')
