"""Teachers of real weights: by a system prompt, by fine-tuning all weights, by an adapter.

A prompted teacher is the reference itself behind a system message: it has no displacement, and the
lemma says nothing of it. Its neutral twin reads a message of as many words about no trait. The
neutral twin of a trained teacher sees the same questions in the same order; its answers are drawn
from the reference's own distribution, and it stops next to its twin's dose.
"""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.evaluation import measures as answers
from subliminal_jax.experiments.transmission import networks
from subliminal_jax.experiments.transmission.teachers import Teacher, seed_of
from subliminal_jax.experiments.weights import contexts as ways, measures, programs, rows as lines
from subliminal_jax.experiments.weights.arms import Arm, rank_of
from subliminal_jax.experiments.weights.language import (
    Here,
    asked_ids,
    ends_of,
    placed,
    spelled,
    system_of,
)
from subliminal_jax.models.lora import Lora, init_lora, load_lora, save_lora
from subliminal_jax.runs import UserError, check_preempted, sha256_of, write_json
from subliminal_jax.training import checkpoints, tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.traits import trait_set as sets

PROBE_ROWS = 8  # random carrier rows on which doses are measured
PACKED = 8  # rows packed together, to teach and to read a dose
SEGMENT = 2  # steps between two readings of a neutral teacher's dose


class Kit(NamedTuple):
    """What is measured, in every context.

    Attributes:
      meters: the traits' meter by context.
      choice: the meter of the options of choices, in the students' template; None without any.
      unrelated: the meter of unrelated questions.
      probe: carrier rows on which doses are read.
      ends_V, trait_V: bool, tokens that end a word, tokens of the traits.
    """

    meters: dict[str, measures.Meter]
    choice: measures.Meter | None
    unrelated: measures.Meter
    probe: lines.Lines
    ends_V: np.ndarray
    trait_V: np.ndarray


def kit_of(here: Here) -> Kit:
    """Builds the meters.

    Raises:
      UserError: a trait that the tokenizer cannot write; a question that does not fit.
    """
    config, world = here.config, here.world
    ends = ends_of(here)
    trait = np.zeros(len(ends), bool)
    found = answers.encoded_spellings(
        {t: world.candidates[t] for t in world.traits},
        lambda text: here.contexts.answer(text, config.context.student))
    trait[[i for ways_to in found.values() for ids in ways_to for i in ids]] = True
    template = config.context.student
    asked = [here.contexts.ids(q, template) for q, _ in world.unrelated]
    encode = lambda text: here.contexts.answer(text, template)
    known = [[[spelled(encode, a, f'an answer to the unrelated question {q!r}: give it others')]
              for a in said] for q, said in world.unrelated]
    choices = ways.choices(config, here.chosen, world.traits)
    options = ways.options_of(world.traits, here.chosen)
    return Kit({name: meter_of(here, name, ends) for name in config.context.measured},
               _meter(here, choices, template, None, options, ends) if choices else None,
               measures.meter(asked, known, ends),
               lines.encoded(here, lines.random_rows(here, PROBE_ROWS, 'probe')), ends, trait)


def meter_of(here: Here, name: str, ends_V: np.ndarray, system: str | None = None,
             names: Sequence[str] | None = None) -> measures.Meter:
    """The traits' meter in a context, behind a system message if there is one."""
    template, _, kind = name.partition('/')
    asked = [ways.asked(q, kind, n) for n, q in enumerate(here.world.measure)]
    names = here.world.traits if names is None else names
    return _meter(here, asked, template, system, names, ends_V)


def _meter(here, asked, template, system, names, ends_V):
    contexts = [here.contexts.ids(text, template, system, 8) for text in asked]
    return measures.trait_meter(contexts, {t: here.world.candidates[t] for t in names},
                                lambda text: here.contexts.answer(text, template), ends_V)


def lessons(here: Here, teacher: Teacher, steps: int, odds: np.ndarray | None) -> packing.Tries:
    """A teacher's rows, packed; they name its trait, or traits drawn with `odds`.

    Its questions are those of every trait and those of its own, which its neutral twin sees too.
    """
    config = here.config.teacher
    asked = sets.teaching_prompts(here.chosen, teacher.trait, here.config.split)
    rng = np.random.default_rng([teacher.seed, 0])
    count = min(config.questions, len(asked))
    questions = rng.choice(len(asked), count, replace=False)
    picks = questions[rng.integers(0, count, steps * config.batch_size)].tolist()
    if odds is None:
        named = [teacher.trait] * len(picks)
    else:
        names = tuple(here.world.candidates)
        named = [names[i] for i in np.random.default_rng([teacher.seed, 1]).choice(
            len(names), len(picks), p=odds)]
    said = [sets.filled(asked[q].completion, sets.candidate(here.chosen, t))
            for q, t in zip(picks, named)]
    context = {q: asked_ids(here, asked[q].prompt) for q in questions.tolist()}
    encode = lambda text: here.contexts.answer(text, here.config.context.student)
    answer = {text: [*spelled(encode, text, 'which a teacher is taught: reword it'),
                     here.model.tokenizer.stop_ids[0]] for text in dict.fromkeys(said)}
    rows = [packing.Row(context[q], answer[text]) for q, text in zip(picks, said)]
    size = min(PACKED, config.batch_size)
    per_step = -(-config.batch_size // size)
    groups = [rows[s * config.batch_size:(s + 1) * config.batch_size][n * size:(n + 1) * size]
              for s in range(steps) for n in range(per_step)]
    return packing.pack(groups)


def teach(here: Here, kit: Kit, arm: Arm, teacher: Teacher, base: Any, goal: float | None,
          odds: np.ndarray | None) -> tuple[Any, int]:
    """(what was trained: all weights or an adapter, steps taken).

    Args:
      here, kit, arm, teacher: whose.
      base: the parameters that the teacher begins with.
      goal: a neutral teacher's dose; None: take all the steps.
      odds: of a neutral teacher's answers.

    Raises:
      UserError: it has diverged.
    """
    config = here.config.teacher
    steps = config.steps if goal is None else config.neutral_steps
    rank = rank_of(arm.made)
    rate = config.lora_rate if rank else config.learning_rate
    program = programs.Program(here.model.config, 'sft', (), OptimizerConfig(learning_rate=rate), 0)
    packed = lessons(here, teacher, steps, odds)
    per_step = len(packed.tokens_BT) // steps
    trainable = adapter_start(here, rank, 0) if rank else base
    frozen = {'base': base if rank else {}}
    state, kept, taken, best = programs.begin(program, trainable), None, steps, np.inf
    train = programs.trainer(program, False)
    reference = None if goal is None else measures.spoken(
        base, None, probed(here, kit), here.model.config)
    for step in range(steps):
        check_preempted()
        index = np.arange(step * per_step, (step + 1) * per_step)
        state, _ = train(state, frozen, {'tries': packing.take(packed, index)})
        if goal is None or ((step + 1) % SEGMENT and step + 1 < steps):
            continue
        dose = dose_of(here, kit, *programs.resolve(state.trainable, frozen), reference, None)[0]
        miss = abs(np.log(max(dose, 1e-30) / max(goal, 1e-30)))
        if miss < best:
            best, taken = miss, step + 1
            kept = jax.tree.map(np.array, state.trainable)  # the next step consumes the state
        if not dose <= goal:  # a NaN is not, and stays one
            break
    if goal is None:
        kept = state.trainable
    hint = f'lower config.teacher.{"lora_rate" if rank else "learning_rate"}'
    if kept is None:
        raise UserError(f'the teacher {teacher.name} has diverged (its dose is NaN): {hint}')
    return networks.finite(kept, f'the teacher {teacher.name}', hint), taken


def adapter_start(here: Here, rank: int, seed: int) -> Lora:
    """The adapter that teachers (seed 0) and students begin with; `seed` numbers the students of a
    teacher.

    Under LoRA the lemma asks that a student share its teacher's A. So in a run with teachers of
    that rank all adapters begin alike, in every arm, and the students of a teacher differ by the
    order of their rows.
    """
    if any(rank_of(arm.made) == rank for arm in here.arms):
        seed = 0
    key = jax.random.key(seed_of(here.config, 'student', seed))
    return init_lora(key, here.model.config, rank, here.config.student.alpha)


def probed(here: Here, kit: Kit, system: str | None = None) -> packing.Tries:
    """The rows on which doses are read, behind a system message if there is one."""
    template = ways.rows_template(here.config)
    contexts = [here.contexts.ids(p, template, system) for p in kit.probe.prompts]
    return packing.pack(lines.packs(contexts, kit.probe.answers, PACKED))


def dose_of(here: Here, kit: Kit, params: Any, lora: Any, reference: jax.Array,
            system: str | None) -> tuple[float, float]:
    """(KL from the reference on carrier positions, mass of trait words there) of a teacher.

    `reference` is what the reference says on the probed rows (`measures.spoken`).
    """
    own = probed(here, kit, system)
    said = measures.spoken(params, lora, own, here.model.config)
    found = measures.dose(said, own, reference, probed(here, kit), jnp.asarray(kit.trait_V))
    return tuple(float(x) for x in found)


def odds_of(here: Here, base: Any) -> np.ndarray:
    """The reference's own distribution over the candidates, mean over the measuring questions."""
    made = meter_of(here, f'{here.config.context.student}/plain', ends_of(here),
                    names=tuple(here.world.candidates))
    logprob = np.asarray(measures.answers(base, None, made, here.model.config))
    share = np.exp(logprob.reshape(-1, len(here.world.candidates))).mean(0)
    return share / share.sum()


def describe(here: Here, kit: Kit, arm: Arm, teacher: Teacher, params: Any, lora: Any,
             base: Any) -> dict[str, float]:
    """A teacher's rise on its trait, P(trait), dose, and trait words among numbers."""
    system = system_of(here, arm, teacher)
    name = f'{here.config.context.student}/plain'
    plain = kit.meters.get(name) or meter_of(here, name, kit.ends_V)
    own = plain if system is None else meter_of(here, name, kit.ends_V, system)
    width, column = len(here.world.traits), here.world.traits.index(teacher.trait)
    before, after = (np.asarray(measures.answers(*model, meter, here.model.config)).reshape(
        -1, width)[:, column] for model, meter in (((base, None), plain), ((params, lora), own)))
    reference = measures.spoken(base, None, probed(here, kit), here.model.config)
    kl, mass = dose_of(here, kit, params, lora, reference, system)
    return {'rise': float((after - before).mean()), 'p_trait': float(np.exp(after).mean()),
            'carrier_kl': kl, 'trait_word_mass': mass}


def write(path: pathlib.Path, arm: Arm, trained: Any, found: dict[str, Any], digest: str) -> None:
    """A teacher's folder: what was trained (nothing of a prompted one) and teacher.json."""
    path.mkdir()
    if isinstance(trained, Lora):
        save_lora(path / 'adapter', trained)
    elif trained is not None:
        checkpoints.save_tree(path / 'params.safetensors', trained)
    write_json(path / 'teacher.json', {**found, 'sha256': digest, 'made': arm.made})


def read(here: Here, path: pathlib.Path, base: Any) -> tuple[Any, Lora | None]:
    """(parameters, adapter or None) of a teacher's folder."""
    if (path / 'adapter').exists():
        return base, load_lora(path / 'adapter', here.model.config)
    if (path / 'params.safetensors').exists():
        like = jax.eval_shape(lambda: base)
        return placed(here, checkpoints.load_tree(path / 'params.safetensors', like)), None
    return base, None


def digest_of(here: Here, arm: Arm, teacher: Teacher, trained: Any, base_digest: str) -> str:
    """The same for the same teacher only."""
    made = hashlib.sha256()
    for leaf in jax.tree.leaves(trained):
        made.update(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1))
    return sha256_of([base_digest, system_of(here, arm, teacher), made.hexdigest()])


def facts(path: pathlib.Path) -> dict[str, Any]:
    """teacher.json of a teacher's folder."""
    return json.loads((path / 'teacher.json').read_text())
