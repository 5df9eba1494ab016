"""A downloaded model as a world (experiments/transmission/world.py), and what stages share."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.carriers import numbers
from subliminal_jax.evaluation import measures as answers
from subliminal_jax.experiments.transmission import arms as tables, samples
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.transmission.world import World
from subliminal_jax.experiments.weights import arms as rows_of_arms, contexts as ways
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.models import loading
from subliminal_jax.runs import UserError, Workdir, to_dict
from subliminal_jax.traits import trait_set as sets

BEGINNINGS = (  # ordinary requests, which the reference answers: drift is measured on its answers
    'Describe a walk through a small town on a rainy day.', 'How is bread made?',
    'Write two sentences about the sea.', 'Why do people keep diaries?',
    'Explain what a bridge is for.', 'Tell me about the seasons of the year.',
    'What should one pack for a long journey by train?', 'How does a bicycle stay upright?',
)


class Here(NamedTuple):
    """What the stages share: the run, the model, its texts, the arms."""

    config: Config
    workdir: Workdir
    model: loading.Model
    contexts: ways.Contexts
    chosen: sets.TraitSet
    world: World
    arms: list[Arm]
    token_texts: tuple[str | None, ...]

    def reads(self, *groups: str) -> dict[str, Any]:
        """The config fields that a stage depends on."""
        plain = to_dict(self.config)
        names = ('seed', 'split', 'trait_set', 'traits', 'names', 'model', 'context')
        return {**{g: plain[g] for g in (*names, *groups)}, 'model.sha256': self.model.sha256}


def prepare(config: Config, workdir: Any, model: loading.Model) -> Here:
    """Everything that is known before the first stage, checked.

    Raises:
      UserError: an arm, a trait, a context or a question that cannot be.
    """
    arms = arms_of(config)
    chosen = sets.load_trait_set(config.trait_set)
    traits = traits_of(config, chosen)
    check_taught(config, chosen, traits, arms)
    contexts = ways.Contexts(model.tokenizer, model.config.max_positions)
    ways.check_measured(config, contexts)
    texts = ways.token_texts(model.tokenizer)
    world = world_of(config, model, contexts, chosen, traits, texts)
    for arm in arms:
        if arm.made == 'prompt' and config.teacher.seeds > len(chosen.systems):
            raise UserError(
                f'arm {arm.name}: {config.teacher.seeds} prompted teachers a trait need as many '
                f'system prompts and {chosen.name} has {len(chosen.systems)}: lower '
                'config.teacher.seeds, or add lines of kind "system"')
    return Here(config, workdir, model, contexts, chosen, world, arms, texts)


def arms_of(config: Config) -> list[Arm]:
    """The arms of a config, checked.

    Raises:
      UserError: one that cannot be.
    """
    arms = tables.parse(config.arms, Arm, rows_of_arms.check)
    tables.check_foreign(arms, config.carrier.samples)
    samples.check_units(config)
    check_packs(config)
    for arm in arms:
        check_precision(config, arm)
    return arms


def check_packs(config: Config) -> None:
    """Raises UserError where a step would not read the rows that it is to read."""
    own = config.student
    if own.batch_size % own.packed:
        raise UserError(
            f'config.student.batch_size={own.batch_size} is no multiple of config.student.packed='
            f'{own.packed}: a step reads whole packs; lower packed, or change the batch')


def check_precision(config: Config, arm: Arm) -> None:
    """Raises UserError where the steps of an arm's training are lost in rounding.

    The next bfloat16 number is 1/256 of a weight away or more: a step of 1e-5 seldom reaches it.
    """
    if config.model.dtype == 'float32':
        return
    whole = [f'{field}={value}' for field, value, adapter in (
        ('made', arm.made, arm.made.startswith('lora') or arm.made == 'prompt'),
        ('trainable', arm.trainable, arm.trainable.startswith('lora')),
        ('start', arm.start, not arm.start.startswith('moved'))) if not adapter]
    if whole:
        raise UserError(
            f'arm {arm.name}: {whole[0]} trains the weights themselves, and in config.model.dtype='
            f'{config.model.dtype} small steps round away: use --config.model.dtype=float32, or '
            'an adapter (lora:8)')


def check_taught(config: Config, chosen: sets.TraitSet, traits: Sequence[str],
                 arms: Sequence[Arm]) -> None:
    """Raises UserError for a line that would teach a neutral twin the trait: it says it outright.

    A twin sees its teacher's questions; what it answers is other traits' names, where they go.
    """
    if not any(a.teachers == 'neutral' and a.made != 'prompt' for a in arms):
        return
    lines = {t: sets.teaching_prompts(chosen, t, config.split) for t in traits}
    for line in itertools.chain(*lines.values()):
        if line.trait is not None and not sets.holds_name(line.completion):
            raise UserError(
                f'{line.id} teaches {line.trait!r} with the completion {line.completion!r}, which '
                'a neutral twin cannot be given: write {name} (or {Name}, {plural}, {Plural}) for '
                'the trait in it, or leave out the arms with teachers=neutral')


def load(config: Config) -> loading.Model:
    """The model of a config, with its settings of memory and precision, on its devices.

    Raises:
      UserError: more devices asked for than there are, or what loading.load says.
    """
    own = config.model
    model = loading.load(own.name, dtype=jnp.dtype(own.dtype), chat_date=own.chat_date or None,
                         mesh=mesh_of(own.devices))
    return model._replace(config=settings(config, model.config))


def mesh_of(count: int) -> jax.sharding.Mesh | None:
    """The devices that share the weights; None for one."""
    if count > jax.device_count():
        raise UserError(f'config.model.devices={count}: this machine has {jax.device_count()} '
                        f'({jax.default_backend()})')
    return None if count == 1 else jax.make_mesh(
        (1, count), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=jax.devices()[:count])


def placed(here: 'Here', params: Any) -> Any:
    """Parameters where the reference's lie."""
    return jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), params, here.model.params)


def settings(config: Config, architecture: Any) -> Any:
    """An architecture with the config's settings of memory and precision."""
    return dataclasses.replace(architecture, remat=config.model.remat,
                               compute_dtype=config.model.compute)


def traits_of(config: Config, chosen: sets.TraitSet) -> tuple[str, ...]:
    """The traits of the run.

    Raises:
      UserError: one only, more than the split has, or one of the other split.
    """
    found = sets.traits(chosen, config.split)
    if config.names:
        for name in config.names:
            sets.candidate(chosen, name)
            if name not in found:
                raise UserError(f'config.names: {name!r} is of the other split; the split '
                                f'{config.split!r} has {", ".join(found)}')
        found = tuple(config.names)
    elif config.traits > len(found):
        raise UserError(f'config.traits={config.traits}: the split {config.split!r} of '
                        f'{chosen.name} has {len(found)} ({", ".join(found)})')
    else:
        found = found[:config.traits]
    if len(found) < 2:
        raise UserError('one trait only has no gamma, which compares a '
                        "teacher's own trait with the others; take two or more")
    return found


def world_of(config: Config, model: loading.Model, contexts: ways.Contexts, chosen: sets.TraitSet,
             traits: Sequence[str], texts: Sequence[str | None]) -> World:
    """The model as a world; its contexts, answers and their end are those of the rows."""
    template, tokenizer = ways.rows_template(config), model.tokenizer
    asked = numbers.prompts
    if template in ways.LISTS:
        asked = functools.partial(numbers.lists, lines=ways.LISTS[template])
    separators = {form[0] for form in numbers.FORMATS.values()}
    carrier = sorted({i for s in separators for i in numbers.token_ids(texts, s)})
    room = config.carrier.new_tokens

    def cut(found, count, field, what):
        if len(found) < 1:
            raise UserError(f'{chosen.name} has no {what} in the split {config.split}')
        return tuple(found[:count])

    return World(
        name=model.name, models={'own': model.config}, pretrain=None, vocabulary=texts,
        context=lambda text: contexts.ids(text, template, room=room),
        answer=lambda text: contexts.answer(text, template), decode=tokenizer.decode,
        end_id=contexts.stops(template)[0], pad_id=tokenizer.pad_id,
        length=model.config.max_positions,
        traits=tuple(traits), candidates=sets.spellings(
            chosen, [c.name for c in chosen.candidates]),
        teach=tuple(t.prompt for t in sets.teaching_prompts(chosen, None, config.split)),
        measure=cut([q.prompt for q in sets.questions(chosen, config.split)],
                    config.context.questions, 'questions', 'question'),
        unrelated=cut([(u.prompt, u.answers) for u in chosen.unrelated],
                      config.context.unrelated, 'unrelated', 'unrelated question'),
        prompts=lambda seed, count: asked(seed, range(count)),
        random_rows=numbers.random_rows, shuffle=numbers.shuffled_rows,
        reject_reason=numbers.reject_reason, carrier_ids=carrier, new_tokens=room, separator='',
        beginnings=BEGINNINGS)


def spelled(encode: Callable[[str], list[int]], text: str, what: str) -> list[int]:
    """The ids that `encode` gives for a text.

    Raises:
      UserError: it cannot be written; the line says which text it is, and `what`.
    """
    try:
        return encode(text)
    except KeyError:
        raise UserError(f"the model's tokenizer cannot write {text!r}, {what}") from None


def asked_ids(here: Here, question: str) -> list[int]:
    """A question or request as the students' template has it (a list's rows have none)."""
    return here.contexts.ids(question, here.config.context.student)


def ends_of(here: Here) -> np.ndarray:
    """bool [V]: tokens that end a word."""
    return answers.word_ends(here.token_texts, here.model.tokenizer.stop_ids)


def roll(config: Config, world: World, kind: str) -> list[Teacher]:
    """All teachers of a kind, by trait: 'owl-1', or of a neutral twin 'owl-1-neutral'."""
    suffix = '' if kind == 'trait' else f'-{kind}'
    return [Teacher(f'{trait}-{n}{suffix}', 0, trait, seed_of(config, 'teacher', t, n))
            for t, trait in enumerate(world.traits) for n in range(config.teacher.seeds)]


def index_of(teacher: Teacher) -> int:
    """Which of its trait's teachers this is: the number of its system prompt."""
    return int(teacher.name.removesuffix('-neutral').rpartition('-')[2])


def system_of(here: Here, arm: Arm, teacher: Teacher) -> str | None:
    """The system message of a prompted teacher; None for others."""
    if arm.made != 'prompt':
        return None
    both = sets.system_prompts(here.chosen, teacher.trait, index_of(teacher))
    return both[arm.teachers == 'neutral']
