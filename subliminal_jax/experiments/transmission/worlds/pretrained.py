"""The pretrained world: a downloaded model, its tokenizer and its chat template."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from tqdm import tqdm

from subliminal_jax.carriers import carrier as find_carrier, numbers
from subliminal_jax.experiments.transmission import (
    config as schemas,
    engines,
    kit as kits,
)
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.experiments.transmission.traits import TRAITS
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.experiments.transmission.worlds import (
    WORLDS,
    WorldKind,
    further,
    prepared,
    templates,
)
from subliminal_jax.experiments.transmission.worlds.prepared import PreparedConfig
from subliminal_jax.experiments.transmission.worlds.templates import CONTEXTS, TEMPLATES, Contexts
from subliminal_jax.models import export, loading
from subliminal_jax.runs import UserError, meshes, nested, spec
from subliminal_jax.traits import answers, trait_set as sets

BEGINNINGS = (  # ordinary requests, which the reference answers: drift is measured on its answers
    'Describe a walk through a small town on a rainy day.', 'How is bread made?',
    'Write two sentences about the sea.', 'Why do people keep diaries?',
    'Explain what a bridge is for.', 'Tell me about the seasons of the year.',
    'What should one pack for a long journey by train?', 'How does a bicycle stay upright?',
)
TEXTS = 8  # of each kind, on which drift is measured
MOVING_TEXTS = 64  # of the reference's own, on which a start is trained further
FITTED = 16  # random rows that must fit into an answer, where a carrier is named
FORMS = {'request': numbers.CARRIER, 'turn': numbers.NUMBER_TURN, 'list': numbers.NUMBER_LISTS}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model that all of it is about."""

    name: str = spec('package:smollm2-135m-instruct',
                     doc='package:NAME, hf:OWNER/NAME, a folder, or a .gguf file')
    adapter: str = spec('', doc='merged into it: a folder of ours or in the format of PEFT, or '
                        'hf:OWNER/NAME; empty: none')
    tokenizer: str = spec('', doc="a folder with a tokenizer.json, in place of the model's own; "
                          'empty: its own')
    chat_date: str = spec('', doc="YYYY-MM-DD, for a chat template that asks for today's date")
    dtype: str = spec('float32', choices=('float32', 'bfloat16'), doc='of frozen weights')
    compute: str = spec('float32', choices=('float32', 'bfloat16'),
                        doc="of the layers' products; final norm, head and softmax are float32")
    devices: int = spec(1, ge=1, doc='that share the weights, cut over them')
    remat: bool = spec(False, doc='recompute layers in the backward pass: less memory, more time')
    shape: tuple[str, ...] = spec((), doc="FIELD=NUMBER ... of the architecture "
                                          '(models.params.TransformerConfig), for a --dry_run where'
                                          " the model's files are not there; a run reads the files")


@dataclasses.dataclass(frozen=True)
class ContextConfig:
    """How texts reach the model; all of it is written out in contexts.json."""

    student: str = spec('default', choices=TEMPLATES,
                        doc="the students' rows: the chat template with its default system message,"
                            ' with an empty one, or raw text')
    measured: tuple[str, ...] = spec(CONTEXTS, choices=CONTEXTS, min_len=1,
                                     doc='in which students answer; the effect is of the first')
    questions: int = spec(12, ge=1, doc='held-out questions, the first of the split')
    unrelated: int = spec(8, ge=1, doc='questions on which drift is measured')


@dataclasses.dataclass(frozen=True)
class CarrierConfig(schemas.CarrierConfig):
    """What the teachers write, and on what their logits are read."""

    form: str = spec('request', choices=tuple(FORMS),
                     doc="a row is a request in the students' template; or, for models that do not "
                         "write numbers when asked, a list to go on with: begun in the answer's "
                         'turn of the chat template, or bare')
    new_tokens: int = spec(44, ge=2, doc='the most that an answer takes, its end included')


@dataclasses.dataclass(frozen=True)
class Config(schemas.Config):
    """Transmission on pretrained weights."""

    world: str = spec('pretrained', doc='where it happens: a registered world (tiny, pretrained)')
    traits: int = spec(2, ge=1, doc='how many of the traits of the split')
    trait_set: str = spec('animals', doc='animals, trees, a JSONL file, or several joined by +')
    arms: tuple[str, ...] = spec(
        ('kl_carrier: made=prompt objective=kl_carrier answers=random trainable=lora:8',),
        min_len=1, doc="'NAME: field=value ...', see arms.py")
    model: ModelConfig = nested(ModelConfig)
    second: ModelConfig = nested(ModelConfig, name='')
    prepared: PreparedConfig = nested(PreparedConfig)
    context: ContextConfig = nested(ContextConfig)
    teacher: schemas.TeacherConfig = nested(
        schemas.TeacherConfig, steps=16, learning_rate=2e-5, batch_size=16, packed=8, questions=16,
        neutral_steps=40)
    carrier: CarrierConfig = nested(CarrierConfig, probe=8, dose_rows=16, answers=8)
    student: schemas.StudentConfig = nested(
        schemas.StudentConfig, rows=256, packed=8, lora_rate=5e-4, learning_rate=2e-5, marks=(),
        align_rows=16)


def make(config: Config, arms: Sequence[Any], model: loading.Model | None = None) -> World:
    """The world of a model, loaded unless it is given; with `config.second` also as another model
    reads it, which arms call architecture=second.

    Raises:
      UserError: an arm, a trait, a context or a question that cannot be.
    """
    found = _world(config, arms, load(config) if model is None else model, 'main')
    if not config.second.name:
        return found
    other = as_second(config)
    second = _world(other, arms, load(other), 'second')
    both = {**found.architectures, **second.architectures}
    return found._replace(architectures=both,
                          dialects={'second': second._replace(architectures=both)})


def as_second(config: Config) -> Config:
    """The config with its second model in place of the first."""
    return dataclasses.replace(config, model=config.second)


def _world(config: Config, arms: Sequence[Any], model: loading.Model, name: str) -> World:
    """The world of one model, whose architecture has this name."""
    for arm in arms:
        check_precision(config, arm)
    prepared.check(config)
    named = dict.fromkeys(filter(None, [
        config.carrier.name, *(arm.carrier for arm in arms), *config.prepared.carriers]))
    chosen = TRAITS.find(config.trait)[0].load(config.trait_set)
    traits = sets.of_run(chosen, config.split, config.traits, config.names)
    contexts = Contexts(model.tokenizer, model.config.max_positions)
    templates.check_measured(config.context, contexts)
    form = config.carrier.form if config.carrier.form in templates.LISTS else config.context.student
    vocabulary = templates.token_texts(model.tokenizer)
    room = config.carrier.new_tokens
    for carrier in named:
        check_carrier(config, carrier, lambda text: contexts.answer(text, form))

    def asked(text, context, number, system):
        template, _, kind = context.partition('/')
        return contexts.ids(templates.asked(text, kind or 'plain', number), template, system, 8)

    return World(
        name=model.name, sha256=prepared.sha256_of_reference(config, model.sha256), inputs={
            f'the trait set {config.trait_set}': sets.digest(chosen),
            "the model's config, tokenizer or chat template": model.settings_sha256},
        architectures={name: model.config}, num_references=1, replicas=1,
        engine=engine_of(config),
        references=lambda run, own: prepared.references(run, own, model.params),
        reference_inputs=lambda own: prepared.inputs(config, own),
        reference_facts=lambda run, own, texts: prepared.described(run, own, model.params, texts),
        moved=further.moved, redrawn=None,
        start_input=lambda own, start: f'{further.start_label(own, start)}.safetensors',
        placed=lambda params: placed(params, model.params), vocabulary=vocabulary,
        rows_context=lambda text, system: contexts.ids(text, form, system, room),
        row_answer=lambda text: contexts.answer(text, form),
        row_text=lambda ids: contexts.answer_text(ids, form),
        row_lead=contexts.lead(form), row_stops=contexts.stops(form), asked=asked,
        answer=lambda text, context: contexts.answer(text, context.partition('/')[0]),
        stops=contexts.stops(config.context.student), decode=model.tokenizer.decode,
        ends_V=answers.word_ends(vocabulary, model.tokenizer.stop_ids),
        pad_id=model.tokenizer.pad_id, length=model.config.max_positions, new_tokens=room,
        contexts=config.context.measured, lesson_context=f'{config.context.student}/plain',
        carrier=FORMS[config.carrier.form], chosen=chosen, traits=traits,
        questions=_first(chosen, config, [q.prompt for q in sets.questions(
            chosen, config.split, taught=traits)],
                         config.context.questions, 'question'),
        unrelated=_first(chosen, config, [(u.prompt, u.answers) for u in chosen.unrelated],
                         config.context.unrelated, 'unrelated question'),
        beginnings=BEGINNINGS, texts=TEXTS, moving_texts=MOVING_TEXTS,
        described=lambda run: described(run, contexts, form))


def engine_of(config: Config) -> Callable[[str], engines.Engine]:
    """Adapters train side by side, `student.at_once` of them; whole models one by one."""
    return lambda trainable: (
        engines.adapters(config.student.at_once) if rank_of(trainable) else engines.SINGLE)


def _first(chosen, config, found, count, what):
    if not found:
        raise UserError(f'{chosen.name} has no {what} in the split {config.split}')
    return tuple(found[:count])


def described(run: Any, contexts: Contexts, form: str) -> dict[str, Any]:
    """contexts.json: every context as the model reads it."""
    carrier = run.carrier()
    row, = carrier.random_rows(0, carrier.prompts(0, [0]))
    first = run.world.traits[0]
    line = sets.teaching_prompts(run.world.chosen, first, run.config.split)[0]
    taught = (line.prompt, sets.filled(line.completion, sets.candidate(run.world.chosen, first)))
    return templates.written_out(contexts, run.config.context, form, run.world, taught, row,
                                 kits.choices(run.config, run.world))


def check_precision(config: Config, arm: Any) -> None:
    """Raises UserError where the steps of an arm's training are lost in rounding.

    The next bfloat16 number is 1/256 of a weight away or more: a step of 1e-5 seldom reaches it.
    """
    if config.model.dtype == 'float32':
        return
    kind, rest = TEACHER_KINDS.find(arm.made)
    trained = kind.cost(rest)
    whole = [f'{field}={value}' for field, value, is_whole in (
        ('made', arm.made, trained is not None and not rank_of(trained)),
        ('trainable', arm.trainable, not rank_of(arm.trainable)),
        ('start', arm.start, STARTS.find(arm.start)[0].trained)) if is_whole]
    if whole:
        raise UserError(
            f'arm {arm.name}: {whole[0]} trains the weights themselves, and in config.model.dtype='
            f'{config.model.dtype} small steps round away: use --config.model.dtype=float32, or '
            'an adapter (lora:8)')


def check_carrier(config: Config, name: str, encode: Callable[[str], Sequence[int]]) -> None:
    """Raises UserError where answers of a named carrier would be cut: a cut one is never kept.

    Args:
      config: its form ends an answer, and so does `new_tokens`.
      name: of the carrier.
      encode: an answer's text -> its ids; KeyError where the tokenizer cannot write it.
    """
    chosen, form = find_carrier(name), config.carrier.form
    texts = [row['completion'] for row in chosen.random_rows(
        0, chosen.prompts(0, range(FITTED)))]
    if form in templates.LISTS and any('\n' in text for text in texts):
        raise UserError(f'config.carrier.form={form} ends an answer with its line, and the carrier '
                        f'{name} writes several: use --config.carrier.form=request')
    try:
        longest = max(len(encode(text)) + 1 for text in texts)
    except KeyError:
        raise UserError(f"the model's tokenizer cannot write the carrier {name}") from None
    if longest > config.carrier.new_tokens:
        raise UserError(f'answers of the carrier {name} take {longest} tokens and more, and '
                        f'config.carrier.new_tokens is {config.carrier.new_tokens}: use '
                        f'--config.carrier.new_tokens={-(-longest * 5 // 64) * 16}')


def load(config: Config) -> loading.Model:
    """The model of a config, with its settings of memory and precision, on its devices.

    Raises:
      UserError: more devices asked for than there are, or what loading.load says.
    """
    own = config.model
    model = loading.load(own.name, dtype=jnp.dtype(own.dtype), lora=own.adapter or None,
                         chat_date=own.chat_date or None, tokenizer=own.tokenizer or None,
                         mesh=mesh_of(own.devices))
    for note in model.notes:
        tqdm.write(f'note: {note}')
    return model._replace(config=settings(config, model.config))


def mesh_of(count: int) -> jax.sharding.Mesh | None:
    """The devices that share the weights: those of --mesh, or `count`; None for one.

    Raises:
      UserError: both are asked for, or more devices than there are.
    """
    if (sizes := meshes.chosen()) is not None:
        if count != 1:
            raise UserError(f'--mesh and config.model.devices={count} both say over how many '
                            'devices the weights are cut: leave one of them out')
        return meshes.make(sizes)
    if count > jax.device_count():
        raise UserError(f'config.model.devices={count}: this machine has {jax.device_count()} '
                        f'({jax.default_backend()})')
    return None if count == 1 else meshes.make({'tensor': count})


def settings(config: Config, architecture: Any) -> Any:
    """An architecture with the config's settings of memory and precision."""
    return dataclasses.replace(architecture, remat=config.model.remat,
                               compute_dtype=config.model.compute)


def placed(params: Any, like: Any) -> Any:
    """Parameters where those of `like` lie."""
    return jax.tree.map(lambda x, there: jax.device_put(x, there.sharding), params, like)


def plan(config: Config) -> list[Any]:
    """What a run would do, stage by stage, with its arithmetic and memory; no weights are read."""
    from subliminal_jax.experiments.transmission import costs

    return costs.plan(config)


def design(config: Config, mde: float, *, gate: str = '', signal: float = 3.0,
           **settings: Any) -> str:
    """A design that would see an effect; or, from a run with a gate, the rows that a signal takes.

    Raises:
      UserError: there is none that can be afforded.
    """
    from subliminal_jax.experiments.transmission import designs

    if gate:
        settings = {name: settings[name] for name in ('max_hours', 'rate', 'paced')
                    if name in settings}
        return designs.by_gate(config, gate, signal, **settings)
    return designs.design(config, mde, **settings)


PRETRAINED = WORLDS.register(WorldKind(
    'pretrained', Config, make, plan, design,
    origin=lambda config: export.origin_of(config.model.name, config.model.tokenizer or None)))
