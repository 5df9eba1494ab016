"""What a run would cost before anything is loaded: arithmetic from the traced programs, memory from
the compiled step. Nothing is allocated: every array is a shape.

Rough: rows have the lengths that SmolLM2's tokenizer gives them. Left out are compiling (up to half
a minute a program, the first time), reading the model, and the system messages of prompted
teachers' rows. Memory is that of arrays: a process holds compiled programs and freed pages besides.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from subliminal_jax.experiments.weights import (
    arm_stages,
    arms as tables,
    contexts as ways,
    drift,
    language,
    measures,
    rows as lines,
    stages,
    teachers as schools,
)
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.experiments.weights.shapes import (
    ASKED,
    KEPT,
    LESSON,
    LONGEST,
    ROWS,
    Row,
    Run,
    Step,
    architecture_of,
    asked,
    bytes_of,
    carrier,
    count_teachers,
    dosed,
    packed,
    questions,
    reads,
    step_bytes,
    step_flops,
    steps_of,
    student_step,
    teacher_step,
)
from subliminal_jax.models.params import TransformerConfig, count_params
from subliminal_jax.runs.plan import Stage
from subliminal_jax.sampling import buckets
from subliminal_jax.traits import trait_set as sets

# Of the rate of one large product (plan.measured_rate). Measured on two cores with SmolLM2 at 190
# GFLOP/s: .54 to .7 in steps of adapters and of all weights and in gradients by rows, .8 where a
# teacher reads long rows, .4 to .55 where a few short questions are scored or differentiated; the
# rest goes into attention's many small products, norms and softmax.
REACHED = 0.6
# FLOP that such a product does while a byte passes through memory: 190 GFLOP/s beside 9.5 GB/s on
# two cores. (Accelerators: about 150, but there these passes hardly count.)
BALANCE = 20.0
# How often all weights pass through memory beside the products, from the same measurements:
ADAM = 7  # a step reads weights, gradient, two moments and writes three of them
SUMMED = 5  # a gradient that is added up over groups of questions
LOADED = 8  # a teacher from its file, as a displacement
DOTTED = 5  # an inner product of two such trees, and their lengths
DRAWN = 8  # a random direction
WRITTEN = 20  # a teacher hashed and written
PREPARED = 4  # the sampler's copy of the weights
COPIES = 3  # of all weights in a check of alignment: the start, a gradient, the trait's gradient


@dataclasses.dataclass(frozen=True)
class Work:
    """FLOPs of matrix products, and bytes that pass through memory beside them."""

    flops: float = 0.0
    moved: float = 0.0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(self.flops + other.flops, self.moved + other.moved)

    def __mul__(self, times: float) -> 'Work':
        return Work(self.flops * times, self.moved * times)

    def stage(self, name: str, peak_bytes: float) -> Stage:
        """It as a stage: first the products, then the bytes."""
        whole = self.flops / REACHED + self.moved * BALANCE
        return Stage(name, self.flops, peak_bytes, self.flops / whole if self.flops else 1.0)


class Device(NamedTuple):
    """Hardware to plan for; times assume `share` of the bfloat16 peak that its makers state."""

    name: str
    count: int
    gigabytes: float
    peak: float
    share: float = 0.4


DEVICES = (Device('one 80 GB GPU (A100)', 1, 80, 312e12), Device('TPU v5e-8', 8, 16, 197e12))


# Pieces of stages.


def sampled(run: Run, rows: int, row: Row, new: int) -> Work:
    """A batch of answers of `new` tokens; each token reads all weights, as far as they have not
    come while the products went on."""
    head = run.model.vocab_size * run.model.width
    body = count_params(run.model) - head * (1 if run.model.tied else 2)
    meanwhile = 2.0 * (body + head) * rows / (REACHED * BALANCE)
    tokens = row.shared + rows * (LONGEST * row.own + new)
    return Work(2.0 * (body * tokens + head * rows * new), max(0.0, run.held - meanwhile) * new)


def written(run: Run, prompts: int, attempts: int) -> Work:
    """What one teacher writes to so many prompts, asked again until the filter keeps an answer
    (rows.draw)."""
    waiting, begun, batches = float(prompts), 0, 0
    while waiting >= 0.5 and begun < attempts:
        now = math.ceil(waiting)
        ahead = min(max(1, lines.BATCH // now), attempts - begun)
        batches += math.ceil(now * ahead / lines.BATCH)
        begun += ahead
        waiting *= (1 - KEPT)**ahead
    own = run.config.carrier
    batch = sampled(run, buckets.batch_rows(lines.BATCH, prompts * attempts), ROWS[own.form],
                    own.new_tokens)
    return batch * batches + Work(moved=run.held * (LOADED + PREPARED))


def reading(run: Run, model: TransformerConfig) -> Work:
    """All that is measured of one model (drift.read): every context, unrelated questions, choices
    (their options are listed before the answer), two kinds of texts, the length of answers."""
    config, chosen = run.config, run.chosen
    choices = len(sets.of_form(chosen, config.split, 'choice')[:config.context.questions])
    unrelated = min(config.context.unrelated, len(chosen.unrelated))
    packs = [*(asked(run, name) for name in config.context.measured),
             questions(unrelated, 1, 'plain'),
             *([questions(choices, ways.OPTIONS, 'numbers')] if choices else []),
             carrier(config, drift.TEXTS, measures.TOGETHER, False, 1.0),
             packed(drift.TEXTS, measures.TOGETHER,
                    LESSON._replace(answer=config.carrier.new_tokens))]
    said = sampled(run, drift.ASKED, ASKED, drift.ANSWER_TOKENS)
    return said + Work(sum(reads(model, p) for p in packs), run.held * PREPARED)


def taught(run: Run, made: str, kind: str) -> Work:
    """One teacher, with what is read of it and of the reference in the end; a neutral one reads its
    dose every other step and stops beyond its twin's.

    SmolLM2's got there within four steps more than their twins' on bare lists; in the chat template
    nine of ten did not, and took all that they may.
    """
    dose = Work(reads(run.model, dosed(run.config)))
    described = (Work(reads(run.model, asked(run))) + dose) * 2
    if made == 'prompt':
        return described
    config, whole = run.config.teacher, run.held * (made == 'tuned')
    steps, doses = config.steps, 0
    if kind == 'neutral':
        bare = run.config.carrier.form == 'list'
        steps = min(config.neutral_steps, steps + 2 * schools.SEGMENT if bare else np.inf)
        doses = 2 + steps / schools.SEGMENT  # before: the reference's own words, and its odds
    step = Work(step_flops(teacher_step(run, made)), whole * ADAM)
    kept = Work(moved=2 * whole)  # the best so far
    return step * steps + (dose + kept) * doses + described + Work(moved=whole * WRITTEN)


def aligned(run: Run, arm: Arm, step: Step) -> Work:
    """One student's gradient step, by all weights, beside its directions (students.aligned)."""
    own, twin = run.config.student, 'neutral' if arm.teachers == 'trait' else 'trait'
    packs = step.packs._replace(count=max(1, own.align_rows // own.packed))
    loaded = 0  # displacements: the teacher's, a placebo's, the twin's if there is one
    if arm.made != 'prompt':
        loaded = 2 + (tables.teacher_set(dataclasses.replace(arm, teachers=twin))
                      in made_sets(run.arms))
    passes = LOADED * loaded + DOTTED * (loaded + 1) + DRAWN  # one: the trait's gradient
    return Work(step_flops(step._replace(how='all', packs=packs, at_once=0)), run.held * passes)


def measured(run: Run, arm: Arm, step: Step) -> Work:
    """All that is read of an arm's students: at marks (students._mark), at the end, and their KLs.

    At the start students are the start: those that train side by side are asked once and, those of
    a trait, share its gradient.
    """
    config, model, packs = run.config, step.model, asked(run)
    students, size = run.teachers * config.student.seeds, max(1, step.at_once)
    trait = np.arange(students) // (config.teacher.seeds * config.student.seeds)
    groups = [len(set(trait[n:n + size])) for n in range(0, students, size)]
    total = steps_of(config, arm) // students
    inside = len({m // config.student.batch_size for m in config.student.marks}
                 & set(range(1, total)))
    ask, way = Work(reads(model, packs)), Work(reads(model, packs, 'along', arm.trainable))
    bend = Work(step_flops(Step(config, model, 'all', 'sft', packs)), run.held * SUMMED)
    check = aligned(run, arm, step)
    marks = (ask * len(groups) + bend * sum(groups) + check * students
             + (ask + way + bend + check) * (students * inside) + (ask + way) * students)
    if arm.objective == 'sft':
        return marks + reading(run, model) * students
    rows = min(arm_stages.KL_ROWS, arm.rows or config.student.rows)
    kl = logits(run, arm, model, rows) * (2 * students + 2)  # start, end; the floor, its targets
    return marks + reading(run, model) * students + kl


def logits(run: Run, arm: Arm, model: TransformerConfig, rows: int) -> Work:
    """What an arm's objective reads of one model on its rows."""
    packs = carrier(run.config, rows, run.config.student.packed, arm.carrier == 'random')
    return Work(reads(model, packs, 'scored' if arm.objective == 'kl' else 'read'))


def checks_bytes(arm: Arm, step: Step) -> float:
    """Bytes held while a student's step is held against directions: `COPIES`; of a teacher that was
    trained also its weights and its displacement; of a student that is no adapter its weights,
    their moments and what they were at the mark before."""
    copies = COPIES + 2 * (arm.made != 'prompt') + 4 * (not step.at_once)
    return float(copies * bytes_of(step.config, step.model))


# Stages.


def plan(config: Config) -> list[Stage]:
    """What a run would do, stage by stage, with its arithmetic and memory."""
    if config.model.compute == 'bfloat16':
        virtual_devices()
    chosen, model = sets.load_trait_set(config.trait_set), architecture_of(config)
    language.traits_of(config, chosen)
    run = Run(config, language.arms_of(config), model, chosen, count_teachers(config),
              bytes_of(config, model))
    return [*start_stages(run), *teacher_stages(run), *row_stages(run), *student_stages(run)]


def start_stages(run: Run) -> Iterator[Stage]:
    """Texts of the reference's own, and starts that are trained on them."""
    new, form = run.config.carrier.new_tokens, ROWS[run.config.carrier.form]
    moved = dict.fromkeys(a.start for a in run.arms if a.start.startswith('moved'))
    texts = drift.TEXTS + (stages.MOVING_ROWS if moved else 0)
    work = (sampled(run, min(texts, lines.BATCH), LESSON, new) * math.ceil(texts / lines.BATCH)
            + sampled(run, drift.TEXTS, form, new))
    yield work.stage('ordinary texts', 2.0 * run.held)
    packs = packed(2 * stages.MOVING_PACK, stages.MOVING_PACK, LESSON._replace(answer=new))
    for start in moved:
        step = Work(step_flops(Step(run.config, run.model, 'all', 'sft', packs)), run.held * ADAM)
        yield (step * int(start.partition(':')[2])).stage(f'start, {start}', 6.0 * run.held)


def made_sets(arms: Sequence[Arm]) -> dict[str, tuple[Arm, str]]:
    """(an arm, trait or neutral) by set of teachers; a neutral set has its twins made too."""
    found: dict[str, tuple[Arm, str]] = {}
    for arm in arms:
        for kind in ('trait', 'neutral')[:1 + (arm.teachers == 'neutral')]:
            name = tables.teacher_set(dataclasses.replace(arm, teachers=kind))
            found.setdefault(name, (arm, kind))
    return found


def teacher_bytes(config: Config) -> float:
    """Disk that fine-tuned teachers take; adapters and prompts take next to nothing."""
    tuned = sum(arm.made == 'tuned' for arm, _ in made_sets(language.arms_of(config)).values())
    return float(tuned * count_teachers(config) * bytes_of(config, architecture_of(config)))


def teacher_stages(run: Run) -> Iterator[Stage]:
    """Teachers, set by set; beside a step lies what they are made of."""
    for name, (arm, kind) in made_sets(run.arms).items():
        peak = 2.0 * run.held if arm.made == 'prompt' else run.held + step_bytes(
            teacher_step(run, arm.made))
        yield (taught(run, arm.made, kind) * run.teachers).stage(f'teachers, {name}', peak)


def row_stages(run: Run) -> Iterator[Stage]:
    """What teachers write: rows to learn from, or a few to see whether they can."""
    own, wanted = run.config.carrier, {}
    for arm in [] if own.samples else run.arms:
        name, prompts, attempts = tables.row_set(stages.written(arm)), own.probe, 1
        if arm.carrier != 'random':
            most = max(a.rows or run.config.student.rows for a in run.arms
                       if (a.carrier, a.made, a.own) == (arm.carrier, arm.made, arm.own))
            prompts = math.ceil(most * own.spare)
            attempts = own.attempts if arm.carrier == 'sampled' else 1
        copies = 2.0 + (arm.made != 'prompt')  # the base, the sampler's own, the teacher
        wanted[name] = max(wanted.get(name, (0, 0, 0.0)), (prompts, attempts, copies))
    for name, (prompts, attempts, copies) in wanted.items():
        yield (written(run, prompts, attempts) * run.teachers).stage(
            f'samples, {name}', copies * run.held)


def student_stages(run: Run) -> Iterator[Stage]:
    """Each arm's logits, students and measures; a start and the matrix's prediction once.

    Where students train all weights, the start lies beside them; else a step reads it.
    """
    config, seen = run.config, set()
    for arm in run.arms:
        rows, step = arm.rows or config.student.rows, student_step(config, arm, run.model)
        target = (tables.row_set(arm), arm.order, rows, arm.objective == 'kl', arm.head)
        if arm.objective != 'sft' and target not in seen and not config.carrier.targets:
            seen.add(target)
            one = logits(run, arm, step.model, rows) + Work(moved=run.held * LOADED)
            yield (one * run.teachers).stage(f'logits, {arm.name}', 2.5 * run.held)
        whole = 0 if step.at_once else run.held  # of students that are no adapters
        one = Work(step_flops(step), whole * ADAM)
        yield (one * steps_of(config, arm)).stage(
            f'students, {arm.name}', step_bytes(step) + run.held * (step.how == 'all'))
        work = measured(run, arm, step)
        if (arm.start, arm.head) not in seen:
            seen.add((arm.start, arm.head))
            work += reading(run, step.model)
        yield work.stage(f'measures, {arm.name}', checks_bytes(arm, step))
    for name, (arm, kind) in made_sets(run.arms).items():
        if kind == 'trait' and not arm.own:
            both = reads(run.model, dosed(config), 'read') + reads(run.model, asked(run))
            one = Work(2 * both, run.held * LOADED)
            yield (one * run.teachers).stage(f'geometry, {name}', 2.5 * run.held)


# Accelerators.


def virtual_devices() -> None:
    """Asks for eight devices to compile for, if nothing has been computed yet."""
    with contextlib.suppress(RuntimeError):  # a backend is up: its devices will do
        jax.config.update('jax_num_cpu_devices', max(d.count for d in DEVICES))


def calculated(config: Config) -> str:
    """Memory and time of each arm's students on accelerators, as lines of text; nothing where
    layers compute in float32, which is not what one runs there."""
    if config.model.compute != 'bfloat16':
        return ''
    model = architecture_of(config)
    told = ['On accelerators (calculated from the compiled step, not measured; time of training '
            f'alone, at {DEVICES[0].share:.0%} of the stated bfloat16 peak; checks of alignment '
            'hold several copies of the weights):']
    for arm in language.arms_of(config):
        step, steps = student_step(config, arm, model), steps_of(config, arm)
        for device in DEVICES:
            if device.count > 1 and arm.trainable == 'all':
                continue
            needed = step_bytes(step, device.count)
            if needed is None:
                continue
            hours = step_flops(step) * steps / (device.peak * device.count * device.share) / 3600
            checks = checks_bytes(arm, step) / device.count
            fits = max(needed, checks) < device.gigabytes * 1e9
            told.append(f'  {arm.name}, {device.name}: {needed / 1e9:.1f} GB a device in steps, '
                        f'{checks / 1e9:.1f} in checks ({"fits" if fits else "DOES NOT FIT"} '
                        f'{device.gigabytes:g}), {hours:.1f} h for {steps} steps')
    return '\n'.join(told)
