"""The tiny world: models pre-trained from scratch on the tiny language in about a minute."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from subliminal_jax.carriers import tiny_numbers
from subliminal_jax.data import tiny_language as tiny
from subliminal_jax.data.tiny_forms import FORMS
from subliminal_jax.experiments.transmission import (
    arms as tables,
    config as schemas,
    engines,
)
from subliminal_jax.experiments.transmission.attack import COST
from subliminal_jax.experiments.transmission.defences import DEFENCES
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.teacher_stages import discard, resumable
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.experiments.transmission.worlds import WORLDS, WorldKind, tiny_texts as texts
from subliminal_jax.models import transformer
from subliminal_jax.models.params import count_params, is_spec, param_specs
from subliminal_jax.models.parts import PARTS, of_parts
from subliminal_jax.runs import UserError, nested, spec
from subliminal_jax.runs.plan import Stage
from subliminal_jax.training import checkpoints as saving, losses, tries as packing
from subliminal_jax.training.loop import fit
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.traits import trait_set as sets

SEGMENT = 50  # steps whose rows are drawn at one time
EFFICIENCY = 0.15  # of a large product's rate, as measured: the matrices of a tiny world are small
TEXTS = 64  # of each kind, on which drift is measured
CONTEXT = 'the language itself'
ARCHITECTURES = ('main', 'tied', 'digits', 'wide')
DIALECTS = ('digits',)  # of these, those that have a tokenizer of their own


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """The language and the models that are pre-trained on it."""

    references: int = spec(4, ge=2, le=1000,
                           doc='independent starts; intervals are clustered by them')
    replicas: int = spec(1, ge=1, le=1000,
                         doc='groups of teachers a reference; each counts as a reference')
    width: int = spec(32, ge=8, le=65_536, doc="the model's")
    wide: int = spec(48, ge=8, le=65_536,
                     doc='width of architecture=wide, and a half more of its feed-forward units '
                         'for every half more of width')
    num_layers: int = spec(2, ge=1, le=1000, doc="the model's")
    num_heads: int = spec(4, ge=1, le=65_536, doc="the model's")
    ffn_width: int = spec(96, ge=8, doc="the model's")
    head_scale: float = spec(4.0, gt=0,
                             doc='of the output matrix at its start, times 1/sqrt(width)')
    steps: int = spec(1000, ge=1, doc='of pre-training')
    learning_rate: float = spec(2e-3, gt=0, doc='of pre-training, Adam')
    batch_size: int = spec(64, ge=1, doc='rows a step of pre-training')
    corpus_rows: int = spec(48_000, ge=64, le=10_000_000,
                            doc='rows that the batches are drawn from')
    regularity: float = spec(0.5, ge=0, le=1, doc='how often a number follows its stride')
    forms: tuple[str, ...] = spec((), choices=tuple(FORMS), doc='further forms of the language, '
                                  'half of the corpus in equal shares: code, sums, advice')


@dataclasses.dataclass(frozen=True)
class Config(schemas.Config):
    """Transmission in the tiny language."""

    language: LanguageConfig = nested(LanguageConfig)


def make(config: Config, arms: Sequence[Any]) -> World:
    """The tiny world of a split.

    Raises:
      UserError: more traits than the split has, or a trait set that the language cannot write.
    """
    used = dict.fromkeys(name for arm in arms for name in (arm.architecture, arm.students))
    found = _world(config, arms, 'main')
    check_digits(config, arms)
    return found._replace(dialects={
        name: _world(config, arms, name) for name in DIALECTS if name in used})


def check_digits(config: Config, arms: Sequence[Any]) -> None:
    """Raises UserError for what architecture=digits cannot have."""
    for arm in arms:
        if 'digits' not in (arm.architecture, arm.students):
            continue
        if config.language.forms:
            raise UserError(f'arm {arm.name}: architecture=digits has the plain language alone: '
                            'leave config.language.forms empty')
        if arm.answers == 'constrained':
            raise UserError(f'arm {arm.name}: answers=constrained goes by whole words, and '
                            'architecture=digits writes a number in two: use answers=sampled')


def _world(config: Config, arms: Sequence[Any], reader: str) -> World:
    """The world as an architecture reads it."""
    language, spoken = config.language, spoken_by(config.language, reader)
    for name in dict.fromkeys((config.carrier.name, *(arm.carrier for arm in arms))):
        if name:
            texts.check_carrier(name, spoken)
    chosen = texts.chosen_of(config, spoken)
    traits = sets.of_run(chosen, config.split, config.traits, config.names)
    questions = tuple(q.prompt for q in sets.questions(chosen, config.split, taught=traits))
    ends_V = np.zeros(len(spoken.words), bool)
    ends_V[tiny.IDS[tiny.END]] = True
    encode = functools.partial(tiny.encode, of=spoken)
    decode = functools.partial(tiny.decode, of=spoken)

    def read(text, system):
        if system is not None:
            raise UserError('the tiny language has no system messages: take teachers made=tuned')
        return [tiny.IDS[tiny.BOS], *encode(text)]

    inputs = {f'the trait set {config.trait_set}': sets.digest(chosen)} if config.trait_set else {}
    return World(
        name='tiny', sha256='', inputs=inputs,
        architectures={name: architecture(language, name) for name in ARCHITECTURES},
        num_references=language.references * language.replicas, replicas=language.replicas,
        engine=lambda trainable: engines.stacked(), references=references,
        reference_inputs=lambda name: [f'reference/{name}.safetensors'],
        reference_facts=lambda run, name, texts: None, moved=moved,
        redrawn=redrawn,
        start_input=lambda name, start: f'reference/{_label(name, start)}.safetensors',
        placed=lambda params: params,
        vocabulary=[None if w in (tiny.PAD, tiny.BOS, tiny.END) else w for w in spoken.words],
        rows_context=read, row_answer=encode, row_text=decode,
        row_lead='', row_stops=(tiny.IDS[tiny.END],),
        asked=lambda text, context, number, system: read(text, system),
        answer=lambda text, context: encode(text.lower()), stops=(tiny.IDS[tiny.END],),
        decode=decode, ends_V=ends_V, pad_id=tiny.IDS[tiny.PAD],
        length=spoken.length, new_tokens=spoken.answer + 1, contexts=(CONTEXT,),
        lesson_context=CONTEXT, carrier=tiny_numbers.make(language.regularity), chosen=chosen,
        traits=traits, questions=questions, unrelated=texts.unrelated(config.split, chosen),
        beginnings=('', 'the', 'today', *tiny.NAMES[:4]), texts=TEXTS, moving_texts=0,
        described=texts.described)


def spoken_by(config: LanguageConfig, name: str = 'main') -> tiny.Language:
    """The language with the forms that a config asks for, in an architecture's tokens."""
    if name in DIALECTS:
        return tiny.in_digits()
    return tiny.language([FORMS[name] for name in dict.fromkeys(config.forms)])


def architecture(config: LanguageConfig, name: str) -> Any:
    """A transformer of the world."""
    spoken = spoken_by(config, name)
    width, ffn_width = config.width, config.ffn_width
    if name == 'wide':
        width, ffn_width = config.wide, round(ffn_width * config.wide / width)
    return transformer.tiny(
        len(spoken.words), width=width, num_layers=config.num_layers,
        num_heads=config.num_heads, ffn_width=ffn_width, tied=name == 'tied',
        max_positions=spoken.length, rope_theta=100.0)


# Pre-training.


def references(run: Any, name: str) -> list[Any]:
    """Pre-trains the references; replicas of one are the same weights under other numbers."""
    seeds = _seeds(run, 'reference', name)
    return _stage(run, name, name, seeds, lambda: [
        fresh(run.config.language, run.world.architectures[name], seed) for seed in seeds])


def moved(run: Any, name: str, steps: int) -> list[Any]:
    """The references, pre-trained further on other texts."""
    seeds = _seeds(run, 'start', name)
    return _stage(run, name, f'moved:{steps}', seeds, lambda: _bases(run, name), steps=steps)


def redrawn(run: Any, name: str, parts: str) -> list[Any]:
    """Models that share some parts with the references, and learn all others anew around them."""
    seeds = _seeds(run, 'start', name)
    config, architecture_ = run.config.language, run.world.architectures[name]
    rest = '+'.join(part for part in PARTS if part not in parts.split('+'))
    if parts.startswith('layer'):
        rest = f'but-{parts.replace("layer", "layer:")}'

    def begin():
        new = [of_parts(fresh(config, architecture_, seed), rest) for seed in seeds]
        return [losses.resolve(own, {'base': base})[0]
                for own, base in zip(new, _bases(run, name))]

    return _stage(run, name, f'share:{parts}', seeds, begin, trainable=rest)


def _seeds(run, purpose, name):
    """Of every reference. Architectures of other shapes begin and read on their own: with the seeds
    of `main`, equal draws could stand in both."""
    own = (ARCHITECTURES.index(name),) if name in ('digits', 'wide') else ()
    return [seed_of(run.config, purpose, r, *own) for r in range(run.config.language.references)]


def _bases(run, name):
    return run.references[name][::run.config.language.replicas]


def _label(name, start):
    return name if start == name else f'{start.replace(":", "-")}-{name}'


def _stage(run, name, start, seeds, begin, *, steps=None, trainable='all'):
    """A pre-training as a stage; models by reference, replicas among them."""
    label = f'reference/{_label(name, start)}'
    inputs = [] if start == name else [f'reference/{name}.safetensors']
    reads = {**run.reads(), 'start': start}

    def make(path):
        with resumable(run, label, reads, inputs) as checkpoints:
            tree = pretrained(run.config.language, run.world.architectures[name], seeds, begin(),
                              steps=steps, trainable=trainable, checkpoints=checkpoints,
                              save_every=run.config.save_every, log=run.log, description=label,
                              spoken=spoken_by(run.config.language, name))
        saving.save_tree(path, tree)

    path = run.workdir.stage(label, f'{label}.safetensors', make, reads=reads, inputs=inputs)
    discard(run, label)
    tree = saving.load_tree(path)
    models = [engines.take(tree, r) for r in range(len(seeds))]
    return [model for model in models for _ in range(run.config.language.replicas)]


def fresh(config: LanguageConfig, model: Any, seed: int) -> Any:
    """Untrained parameters: embeddings of unit size, an output matrix of `head_scale`.

    Words must not be small beside what training adds to them, or every word's row moves anew with
    the first fine-tuning; a wide output matrix lets small moves of the body be heard.
    """
    rng = np.random.default_rng([seed, 4])
    scale = config.head_scale * model.width**-0.5
    wide = {'embed': scale if model.tied else 1.0, 'head': scale}

    def draw(path, leaf):
        std = wide.get(path[0].key, leaf.std)
        if std is None:
            return np.full(leaf.shape, leaf.fill, leaf.dtype)
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(std)

    return jax.tree.map_with_path(draw, param_specs(model), is_leaf=is_spec)


def pretrained(config: LanguageConfig, model: Any, seeds: Sequence[int], starts: Sequence[Any], *,
               steps: int | None = None, trainable: str = 'all',
               checkpoints: saving.Checkpoints | None = None, save_every: float = 60.0,
               log: Callable[..., None] | None = None, description: str = 'pre-training',
               spoken: tiny.Language | None = None) -> Any:
    """Pre-trains models side by side, each on its own corpus in its own order.

    Args:
      config: the language's.
      model: the architecture.
      seeds: one a model.
      starts: parameters that each begins with.
      steps: how many; None: the config's.
      trainable: 'all', or what `of_parts` takes: the parts that are trained, joined by +.
      checkpoints, save_every, log, description: of `fit`.
      spoken: the language in the models' tokens; None: as `main` has it.

    Returns:
      Parameters stacked [len(seeds), ...].
    """
    engine, total = engines.stacked(), config.steps if steps is None else steps
    program = engines.Program(OBJECTIVES['sft'].loss, model, (),
                              OptimizerConfig(learning_rate=config.learning_rate))
    trained = engines.stack([of_parts(start, trainable) for start in starts])
    named = trained if isinstance(trained, dict) else ()
    held = {'base': {k: v for k, v in engines.stack(starts).items() if k not in named}}
    corpora = engines.stack([_corpus(config, seed, spoken or spoken_by(config)) for seed in seeds])

    def batch_at(step):
        index = np.stack([_rows_at(config, seed, step) for seed in seeds])
        return {'tries': jax.tree.map(lambda x: x[np.arange(len(seeds))[:, None], index], corpora)}

    found = fit(engines.step_of(program, engine, True, False),
                engines.begin(program, engine, trained), held, batch_at, total,
                key=jax.random.key(0), checkpoints=checkpoints, save_every=save_every,
                log=log, description=description,
                models=[f'reference {n}' for n in range(len(seeds))])
    if named:
        return {**held['base'], **found.state.trainable}
    return jax.vmap(lambda own, base: own.within(base))(found.state.trainable, held['base'])


def _corpus(config, seed, spoken):
    tokens_NT = tiny.corpus(seed, config.corpus_rows, regularity=config.regularity, of=spoken)
    size_N = (tokens_NT != tiny.IDS[tiny.PAD]).sum(1)
    return packing.singles(tokens_NT, np.ones_like(size_N), size_N)


@functools.lru_cache(maxsize=32)
def _segment(seed, begin, rows, batch_size):
    return np.random.default_rng([seed, 3, begin]).integers(0, rows, (SEGMENT, batch_size))


def _rows_at(config, seed, step):
    place = step % SEGMENT
    return _segment(seed, step - place, config.corpus_rows, config.batch_size)[place]


# Cost.


def plan(config: Config) -> list[Stage]:
    """What a run would do, stage by stage, with its arithmetic."""
    from subliminal_jax.experiments.transmission import stages as pipeline
    from subliminal_jax.experiments.transmission.run import prepare

    run = prepare(config)
    world = run.world
    teachers = len(run.roll('trait'))
    weights = {name: count_params(model) for name, model in world.architectures.items()}
    stages = []
    lengths = {name: run.of(name).world.length for name in world.architectures}
    trained = {(a.students, a.start): a.start for a in run.arms
               if a.start.startswith(('share:', 'moved:'))}
    for name in dict.fromkeys(n for a in run.arms for n in (a.architecture, a.students)):
        flops = (6 * weights[name] * lengths[name] * config.language.batch_size
                 * config.language.references)
        stages.append(Stage(f'references, {name}', flops * config.language.steps,
                            config.language.references * 1e8, EFFICIENCY))
        for start in [s for (of, _), s in trained.items() if of == name]:
            kind, _, rest = start.partition(':')
            steps = int(rest) if kind == 'moved' else config.language.steps
            stages.append(Stage(f'starts, {start} of {name}', flops * steps,
                                config.language.references * 1e8, EFFICIENCY))
    for name, (arm, count) in pipeline.wanted_rows(run).items():
        flops = 2 * weights[arm.architecture] * lengths[arm.architecture] * count * teachers
        stages.append(Stage(f'samples, {name}', flops * config.carrier.attempts, 5e8, EFFICIENCY))
    made: set[str] = set()
    for arm in run.arms:
        flops = (6 * weights[arm.students] * lengths[arm.students] * run.rows(arm) * arm.passes
                 * teachers)
        beside = 0.6 + DEFENCES.find(arm.defence)[0].cost  # 0.6: measures, alignment
        stages.append(Stage(f'students, {arm.name}', (1 + beside) * flops, 1e9, EFFICIENCY))
        if arm.picked.startswith('attack'):
            stages.append(Stage(f'attack, {arm.name}', COST * arm.pool * flops, 2e9, EFFICIENCY))
        kind, rest = TEACHER_KINDS.find(arm.made)
        if kind.beside(rest) and tables.teacher_set(arm) not in made:
            made.add(tables.teacher_set(arm))
            stages.append(Stage(f'teachers, {tables.teacher_set(arm)}', kind.beside(rest) * flops,
                                2e9, EFFICIENCY))
    return stages


def origin(config: Config) -> Any:
    """What a model of the language is written with: a Llama of words."""
    from subliminal_jax.models.export import Origin
    from subliminal_jax.models.tokenizer import WordTokenizer

    words = spoken_by(config.language).words
    return Origin('', 'llama', None, WordTokenizer(
        words, pad=tiny.PAD, bos=tiny.BOS, end=tiny.END), None)


TINY = WORLDS.register(WorldKind('tiny', Config, make, plan, origin=origin, counted=True))
