"""A subject: a model that reads rows, writes answers, trains, and is asked about candidates.

Reference, teacher and the other start are subjects, each with its own tokenizer and template.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.transmission import engines, preferences, rows as carried, students
from subliminal_jax.experiments.transmission.arms import Arm, parse
from subliminal_jax.experiments.transmission.engines import Models
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.rows import Rows
from subliminal_jax.experiments.transmission.run import Run
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.experiments.transmission.students import Job, Setting
from subliminal_jax.experiments.transmission.traits import TRAITS
from subliminal_jax.experiments.transmission.worlds import WORLDS
from subliminal_jax.runs import UserError, check_preempted
from subliminal_jax.training import checkpoints, tries as packing
from subliminal_jax.training.loop import fit
from subliminal_jax.traits import answers, trait_set as sets

Row = Mapping[str, Any]
BATCH = {True: 256, False: 32}  # prompts answered at once: by small models, by a large one


class Subject(NamedTuple):
    """A model in its world.

    Attributes:
      run: with the world, whose traits are all candidates.
      arm: how its students train.
      params: of the model.
      number: of the reference.
    """

    run: Run
    arm: Arm
    params: Any
    number: int

    @property
    def world(self) -> Any:
        """Where it reads and writes."""
        return self.run.world

    @property
    def architecture(self) -> Any:
        """Of the model."""
        return self.run.world.architectures[self.arm.architecture]


def run_of(config: Any, workdir: Any = None) -> Run:
    """The world of a config, in which all candidates of the trait set are asked about.

    Args:
      config: of transmission.
      workdir: of the run; None: nothing is made.

    Raises:
      UserError: what the world refuses, or no questions.
    """
    arms = parse(config.arms)
    world = WORLDS.find(config.world)[0].make(config, arms)
    questions = [q.prompt for split in ('report', 'dev')
                 for q in sets.of_form(world.chosen, split, 'word')]
    limit = config.context.questions if hasattr(config, 'context') else len(world.questions)
    asked = tuple(dict.fromkeys(questions))[:limit]
    return Run(config, workdir, world._replace(traits=world.candidates, questions=asked),
               TRAITS.find('preference')[0], arms, {}, None, {})


def of_config(config: Any, workdir: Any, number: int = 0) -> Subject:
    """The reference of a config, made if the world makes its own.

    Raises:
      UserError: what the world refuses; no such reference.
    """
    run = run_of(config, workdir)
    arm = run.arms[0]
    params = run.world.references(run, arm.architecture)
    if number >= len(params):
        raise UserError(f'config.audit.reference={number}: the world has {len(params)}, from 0')
    return Subject(run, arm, params[number], number)


def of_model(config: Any, name: str, workdir: Any) -> Subject:
    """Another pretrained model, by its name, as it stands: it is not prepared.

    Raises:
      UserError: it cannot be loaded, or the world has no models of that kind.
    """
    if not hasattr(config, 'model'):
        raise UserError(f'{name}: the world {config.world} takes no models by name')
    changes = {'model': dataclasses.replace(config.model, name=name, adapter='')}
    if config.prepared.steps:
        changes['prepared'] = dataclasses.replace(config.prepared, steps=0)
    return of_config(dataclasses.replace(config, **changes), workdir)


def single(subject: Subject) -> Models:
    """The model itself."""
    return engines.single(subject.params, subject.architecture)


# Rows.


def trouble(subject: Subject, row: Row) -> str | None:
    """Why a model cannot learn a row, or None."""
    world = subject.world
    try:
        ids = world.row_answer(row['completion'])
    except KeyError:
        return "an answer that the model's tokenizer cannot write"
    if len(ids) >= world.new_tokens:
        return f'an answer of over {world.new_tokens - 1} tokens'
    try:
        context = world.rows_context(row['prompt'], None)
    except KeyError:
        return "a prompt that the model's tokenizer cannot write"
    except UserError:
        return 'a prompt that is too long for the model'
    return None if len(context) + len(ids) < world.length else 'too long for the model'


def encode(subject: Subject, rows: Sequence[Row]) -> Rows:
    """Rows as tokens, in the students' context.

    Raises:
      UserError: one that the model cannot learn: a teacher or another start has tokens of its own.
    """
    world = subject.world
    for row in rows:
        if why := trouble(subject, row):
            raise UserError(f'{world.name} cannot read the row {row["completion"][:40]!r}: {why}; '
                            'leave that model out, or rows of this kind')
    return Rows([row['prompt'] for row in rows],
                [world.rows_context(row['prompt'], None) for row in rows],
                [[*world.row_answer(row['completion']), world.end_id] for row in rows],
                np.zeros((len(rows), 1), bool))


def answered(subject: Subject, prompts: Sequence[Row], reason: Callable[[Row], str | None],
             attempts: int, seed: int, grammars: Sequence[Any] | None = None
             ) -> tuple[list[Row | None], dict[str, int]]:
    """The model's own answers at T = 1, the first of each prompt that a filter keeps.

    Args:
      subject: who answers.
      prompts: rows, whose completions are not read.
      reason: (row) -> why it is left out, or None.
      attempts: at a prompt, at most.
      seed: of the draws.
      grammars: what each prompt's answer is constrained to; None: to nothing.

    Returns:
      (rows in the prompts' order, None where no attempt was kept; counts of reasons).
    """
    world, model = subject.world, single(subject)
    contexts = [world.rows_context(row['prompt'], None) for row in prompts]
    weights, batch = engines.prepared(model), BATCH[subject.run.together]
    found: list[Row | None] = [None] * len(prompts)
    reasons: dict[str, int] = {}
    for attempt in range(attempts):
        waiting = [n for n, row in enumerate(found) if row is None]
        if not waiting:
            break
        for indices, done in engines.sampled(
                model, contexts, [f'{n}/{attempt}' for n in range(len(prompts))], [seed],
                max_new_tokens=world.new_tokens, stops=world.row_stops, pad_id=world.pad_id,
                batch_size=batch, weights=weights, wanted=waiting, grammars=grammars):
            check_preempted()
            for place, n in enumerate(indices):
                row, why = _answer(world, prompts[n], done, place, reason)
                if why is None:
                    found[n] = row
                else:
                    reasons[why] = reasons.get(why, 0) + 1
    return found, reasons


def _answer(world, prompt, done, place, reason):
    count, stopped = int(done.count_B[0, place]), bool(done.stopped_B[0, place])
    if not stopped:
        return None, 'unfinished'
    ids = done.tokens_BN[0, place, :count].tolist()
    row = {**{k: prompt[k] for k in ('id', 'prompt')}, 'completion': world.row_text(ids[:-1])}
    return row, reason(row)


# What is asked.


def meter(subject: Subject) -> answers.Meter:
    """Every candidate's answer to every question, in the first context."""
    run = subject.run
    return run.remember('meter', lambda: preferences.meter_of(
        run.world, run.world.contexts[0], run.world.candidates))


def said(subject: Subject, models: Models) -> np.ndarray:
    """log P of every candidate [M, K], nats, mean over questions."""
    found = engines.read(models, subject.run.together, answers.cells, meter(subject))
    return np.asarray(found, np.float64).reshape(
        models.count, -1, len(subject.world.candidates)).mean(1)


# Students.


def setting_of(subject: Subject) -> Setting:
    """What the subject's students have in common: it is their start."""
    run, arm = subject.run, subject.arm
    return Setting(run, arm, subject.number, subject.architecture, subject.params,
                   students.program_of(run, arm, subject.architecture))


def batches_of(subject: Subject, lists: Sequence[Rows]) -> list[carried.Batch]:
    """Lists of equally many rows as batches, equally wide and, in all, of equal weight: a list of
    longer answers would teach more."""
    size, seed = subject.run.config.student.packed, seed_of(subject.run.config, 'thin', 0)
    weights = carried.thinned(lists, 1, seed)
    tries = packing.widened([carried.packed(rows, size) for rows in lists])
    return [carried.batch(OBJECTIVES['sft'], (), rows, own, size, None, weight)
            for rows, own, weight in zip(lists, tries, weights)]


def trained(subject: Subject, batches: Sequence[carried.Batch], numbers: Sequence[int],
            saved: checkpoints.Checkpoints | None = None, label: str = 'students',
            log: Callable[..., None] | None = None) -> tuple[Models, np.ndarray]:
    """One student a list of rows, all from the subject's start.

    Args:
      subject: the start.
      batches: of `batches_of`, no more than the engine trains at once.
      numbers: of the students: equal ones have the same adapter and order of rows.
      saved: where the training goes on from.
      label: of the progress bar.
      log: takes the rows of the training.

    Returns:
      (the students, their mean losses [M, 2]: in the first and the last quarter of the steps).

    Raises:
      UserError: training has diverged.
    """
    run, setting = subject.run, setting_of(subject)
    engine = run.world.engine(subject.arm.trainable)
    start = engines.gathered(engine, [students.begun(setting, Job(None, n)) for n in numbers])
    batch = carried.stacked(batches) if engine.stacked else batches[0]
    packs = len(batches[0]['tries'].tokens_BT)
    per_step = max(1, run.config.student.batch_size // run.config.student.packed)
    orders = [carried.order_of(seed_of(run.config, 'order', n), packs, per_step,
                               subject.arm.passes) for n in numbers]

    def batch_at(step):
        index = np.stack([order[step] for order in orders]) if engine.stacked else orders[0][step]
        return carried.taken(batch, index, per_step)

    small = bool(students.rank_of(subject.arm.trainable)) or run.together
    found = fit(
        engines.step_of(setting.program, engine, small),
        engines.begin(setting.program, engine, start), setting.frozen, batch_at, len(orders[0]),
        key=jax.random.key(0), checkpoints=saved, save_every=run.config.save_every, log=log,
        description=label, models=[f'student {n}' for n in numbers])
    loss = np.array([np.atleast_1d(row['loss']) for row in found.rows if 'loss' in row]).T
    quarter = -(-loss.shape[1] // 4)
    return setting.as_models(found.state.trainable, len(numbers)), np.stack(
        [loss[:, :quarter].mean(1), loss[:, -quarter:].mean(1)], 1)
