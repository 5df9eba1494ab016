"""The tiny world: models pre-trained from scratch on the tiny language in about a minute."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from subliminal_jax.carriers import numbers
from subliminal_jax.carriers.carrier import with_completion
from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.evaluation.measures import encoded_spellings
from subliminal_jax.experiments.transmission import networks, programs
from subliminal_jax.experiments.transmission.config import WorldConfig
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.models import transformer
from subliminal_jax.models.params import is_spec, param_specs
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.traits import trait_set as sets

SEGMENT = 50  # pre-training steps in one call


def make(config: WorldConfig, split: str, num_traits: int, trait_set: str = '') -> World:
    """The tiny world of a split.

    Args:
      config: the world's.
      split: dev or report.
      num_traits: how many of the split's traits, from the first.
      trait_set: a file of traits and questions in place of the language's own.

    Raises:
      UserError: more traits than the split has, or a trait set that the language cannot write.
    """
    world = _own(config, split)
    if trait_set:
        world = _with_traits(world, trait_set, split)
    if num_traits > len(world.traits):
        raise UserError(f'config.traits={num_traits}: the split {split!r} of '
                        f'{trait_set or "the tiny language"} has {len(world.traits)} '
                        f'({", ".join(world.traits)})')
    return world._replace(traits=world.traits[:num_traits])


def _own(config: WorldConfig, split: str) -> World:
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
        traits=tiny.SPLIT_ANIMALS[split], candidates={a: (a,) for a in tiny.ANIMALS},
        teach=tiny.questions('animal', f'{split}_teach'),
        measure=tiny.questions('animal', f'{split}_measure'), unrelated=tuple(unrelated),
        prompts=functools.partial(prompts, config.regularity), random_rows=random_rows,
        shuffle=numbers.shuffled_rows, reject_reason=numbers.reject_reason,
        carrier_ids=numbers.token_ids(texts, ''), new_tokens=tiny.ASKED_NUMBERS + 1,
        separator=' ', beginnings=('', 'the', 'today', *tiny.NAMES[:4]))


def _with_traits(world: World, name: str, split: str) -> World:
    """The world with the traits and questions of a file, in the words that the language has."""
    chosen = sets.load_trait_set(name)
    everyone = tuple(c.name for c in chosen.candidates)
    ids = encoded_spellings(sets.spellings(chosen, everyone), tiny.encode)
    candidates = {t: tuple(world.decode(i) for i in own) for t, own in ids.items()}
    teach = tuple(t.prompt for t in sets.teaching_prompts(chosen, None, split))
    measure = tuple(q.prompt for q in sets.questions(chosen, split))
    for text in (*teach, *measure):
        for word in text.split():
            if word not in tiny.IDS:
                raise UserError(f'{name}: the tiny language has no word {word!r} ({text!r}); it '
                                'reads words that stand between blanks, in small letters')
    answers = {s for own in candidates.values() for s in own}
    return world._replace(
        traits=sets.traits(chosen, split), candidates=candidates, teach=teach, measure=measure,
        unrelated=tuple(u for u in world.unrelated if not answers & {*u[1]}))


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


def fresh(config: WorldConfig, model: Any, seed: int) -> Any:
    """Untrained parameters: embeddings of unit size, an output matrix of `head_scale`.

    Words must not be small beside what training adds to them, or every word's row moves anew with
    the first fine-tuning; a wide output matrix lets small moves of the body be heard.
    """
    rng = np.random.default_rng([seed, 4])
    scale = config.head_scale * model.width**-0.5
    wide = {'embed': scale if model.tied else 1.0, 'head': scale}

    def draw(path, spec):
        std = wide.get(path[0].key, spec.std)
        if std is None:
            return np.full(spec.shape, spec.fill, spec.dtype)
        return rng.standard_normal(spec.shape, np.float32) * np.float32(std)

    return jax.tree.map_with_path(draw, param_specs(model), is_leaf=is_spec)


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
    params = networks.stack([fresh(config, model, seed) for seed in seeds])
    if starts is not None and trainable == 'all':
        params = starts
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
