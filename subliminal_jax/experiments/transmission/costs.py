"""What a run on pretrained weights would cost before anything is loaded: arithmetic from the traced
programs, memory from the compiled step.

Rough (measured.py). Left out are what is said of every token where arms choose among tokens or
between rows, compiling (up to half a minute a program, the first time), reading
the model, and the system messages of prompted teachers' rows; every trait is taken to be measured
by answers to questions. Memory is that of arrays: a process holds compiled programs and freed pages
besides.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from subliminal_jax.experiments.transmission import (
    arm_stages,
    arms as tables,
    first_link,
    kinds,
    readings,
    samples,
    shapes,
    stages,
    students,
    targets,
    teachers as schooled,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.kit import OPTIONS
from subliminal_jax.experiments.transmission.measured import Row, carrier_row, figure, row
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.outlines import run_of
from subliminal_jax.experiments.transmission.registry import whole_number
from subliminal_jax.experiments.transmission.run import Run
from subliminal_jax.experiments.transmission.shapes import Step, asked_in, reads
from subliminal_jax.experiments.transmission.starts import STARTS
from subliminal_jax.experiments.transmission.worlds import prepared
from subliminal_jax.experiments.transmission.worlds.further import MOVING_PACK
from subliminal_jax.models.params import TransformerConfig, count_params
from subliminal_jax.runs.plan import Stage
from subliminal_jax.sampling import buckets
from subliminal_jax.traits import answers, trait_set as sets


@dataclasses.dataclass(frozen=True)
class Work:
    """FLOPs of matrix products, and bytes that pass through memory beside them."""

    flops: float = 0.0
    moved: float = 0.0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(self.flops + other.flops, self.moved + other.moved)

    def __mul__(self, times: float) -> 'Work':
        return Work(self.flops * times, self.moved * times)

    def stage(self, name: str, peak_bytes: float, program: str = '') -> Stage:
        """It as a stage: first the products, then the bytes; mostly in a program of ahead.py."""
        whole = self.flops / figure('reached') + self.moved * figure('balance')
        return Stage(name, self.flops, peak_bytes, self.flops / whole if self.flops else 1.0,
                     program)


# Pieces of stages.


def sampled(run: Run, rows: int, of: Row, new: int, prompts: int | None = None) -> Work:
    """A batch of answers of `new` tokens, to so many prompts (None: one each).

    Each token reads all weights, as far as they have not come while the products went on.
    """
    model = shapes.largest(run)
    head = model.vocab_size * model.width
    body = count_params(model) - head * (1 if model.tied else 2)
    meanwhile = 2.0 * (body + head) * rows / (figure('reached') * figure('balance'))
    own = figure('longest') * of.own * (rows if prompts is None else prompts)
    tokens = of.shared + own + rows * new
    return Work(2.0 * (body * tokens + head * rows * new),
                max(0.0, shapes.held_by(run) - meanwhile) * new)


def written(run: Run, places: int, attempts: int) -> Work:
    """What one teacher writes at so many places, asked again until the filter keeps an answer
    (samples.drawn)."""
    most, config = samples.BATCH[run.together], run.config.carrier
    rows, each = buckets.batch_rows(most, places * attempts), config.per_prompt
    waiting, begun, total = float(places), 0, Work()
    while waiting >= 0.5 and begun < attempts:
        asked = math.ceil(waiting)
        ahead = min(max(1, most // asked), attempts - begun)
        left = asked / places  # of a prompt's places, each by itself
        prompts = min(rows / ahead, asked) * (1 - (1 - left)**each) / (each * left)
        batch = sampled(run, rows, carrier_row(config), config.new_tokens,
                        buckets.prompts_held(math.ceil(prompts), rows, each))
        total += batch * math.ceil(asked * ahead / most)
        begun += ahead
        waiting *= (1 - figure('kept'))**ahead
    return total + Work(moved=shapes.held_by(run) * (figure('loaded') + figure('prepared')))


def reading(run: Run, model: TransformerConfig) -> Work:
    """All that is measured of one model (readings.read): every context, unrelated questions,
    choices (options are listed before the answer), two kinds of texts, the length of answers."""
    config, world = run.config, run.world
    choices = len(sets.of_form(world.chosen, config.split, 'choice')[:len(world.questions)])
    options = min(OPTIONS, len({*world.traits, *world.candidates}))
    texts = shapes.carried(config, world.texts, answers.TOGETHER, 1, 1.0)
    said = row('lesson')._replace(answer=world.new_tokens)
    packs = [*(asked_in(run, name) for name in world.contexts),
             shapes.questions(len(world.unrelated), 1, 'plain'),
             *([shapes.questions(choices, options, 'numbers')] if choices else []),
             texts, shapes.packed(world.texts, answers.TOGETHER, said)]
    asked = sampled(run, readings.ASKED, row('asked'), readings.ANSWER_TOKENS)
    if free := config.student.free_answers * len(world.questions):
        batch = sampled(run, readings.BATCH, row('asked'), config.student.free_tokens)
        asked += batch * math.ceil(free / readings.BATCH)
    beside = run.trait.size.beside * reads(model, asked_in(run))
    return asked + Work(beside + sum(reads(model, p) for p in packs),
                        shapes.held_by(run) * figure('prepared'))


def taught(run: Run, arm: Arm) -> Work:
    """A set of teachers, with what is read of each and of its reference at the end.

    A neutral one reads its dose after every step, and stops beyond its twin's.
    """
    model, config, trained = (run.world.architectures[arm.architecture], run.config.teacher,
                              shapes.trained_of(arm))
    count, groups = len(run.roll(arm.teachers)), len(schooled.groups_of(run, arm))
    rows = shapes.dosed(run.config)
    dose = Work(reads(model, rows, 'read'))
    asked = reads(model, asked_in(run)) * (1 + run.trait.size.beside)
    described = (Work(asked + reads(model, rows)) + dose) * (count + groups)
    if trained is None:
        return described
    whole = shapes.bytes_of(shapes.trainable_of(trained, model, run.config.model.dtype)[0])
    step = teacher_step(run, arm)
    steps = max(1, round(config.steps * arm.dose))
    watched = Work()
    if arm.teachers == 'neutral':
        bare = run.config.carrier.form == 'list'  # the form that the figure was measured on
        steps = min(config.neutral_steps, steps + figure('neutral_more') if bare else math.inf)
        kept = Work(moved=2 * whole)  # the closest so far
        odds = shapes.questions(len(run.world.questions), len(run.world.candidates), '')
        watched = ((dose + kept) * (count * steps) + dose * groups
                   + Work(reads(model, odds)) * run.world.num_references)
    one = Work(shapes.step_flops(step), whole * figure('adam'))
    return (one * (count * steps) + watched + described
            + Work(moved=whole * figure('written') * count))


def teacher_step(run: Run, arm: Arm) -> Step:
    """The step of as many of a set's teachers as train at once."""
    size = min(run.config.teacher.packed, run.config.teacher.batch_size)
    packs = shapes.packed(run.config.teacher.batch_size, size, row(run.trait.size.lesson),
                          widest=figure('widest_lesson'))
    group = max(map(len, kinds.groups(run.roll(arm.teachers), 1_000)))
    return shapes.lesson_step(run, run.world.architectures[arm.architecture],
                              shapes.trained_of(arm), packs, group)


def slope(run: Run, model: TransformerConfig) -> Work:
    """The gradient of the trait's loss by all weights; nothing of a trait without one."""
    if run.trait.gradient is None:
        return Work()
    step = shapes.lesson_step(run, model, 'all', asked_in(run))
    return Work(shapes.passes(step, 'gradient'), shapes.held_by(run, model) * figure('summed'))


def aligned(run: Run, arm: Arm, step: Step) -> Work:
    """One student's gradient step, by all weights, beside its directions (alignment.py)."""
    settings = run.config.student
    packs = step.packs._replace(count=max(1, settings.align_rows // settings.packed))
    loaded = 0  # displacements: the teacher's, a placebo's, the twin's if there is one
    if shapes.trained_of(arm):
        twin = tables.twin_arm(arm)
        loaded = 2 + (tables.teacher_set(twin) in students.made_sets(run.arms))
    dots = loaded + (run.trait.gradient is not None)
    return Work(shapes.passes(step._replace(packs=packs), 'gradient'), shapes.held_by(run) * (
        figure('loaded') * loaded + figure('dotted') * dots + figure('drawn')))


def measured(run: Run, arm: Arm, step: Step) -> Work:
    """All that is read of an arm's students: at marks (students.train), at the end, and their KLs.

    At the start students are the start: those that train side by side are asked once and, those of
    a trait, share its gradient.
    """
    model, engine = step.program.config, run.world.engine(arm.trainable)
    roll = [t for t in run.roll(arm.teachers) for _ in range(run.config.student.seeds)]
    groups = kinds.groups(roll, engine.most)
    inside = len(students.marks_of(run, students.steps_of(run, arm))) - 2
    ask, check, bend = Work(reads(model, asked_in(run))), aligned(run, arm, step), slope(run, model)
    way = Work(reads(model, asked_in(run), 'along', arm.trainable)) \
        if run.trait.loss is not None else Work()
    begun = ask * len(groups) + bend * sum(len({t.trait for t in g}) for g in groups)
    total = (begun + check * len(roll) + (ask + way + bend + check) * (len(roll) * inside)
             + (ask + way + reading(run, model)) * len(roll))
    if OBJECTIVES[arm.objective].target is None:
        return total
    packed = run.config.student.packed
    rows = min(-(-arm_stages.KL_ROWS // packed) * packed, run.rows(arm))
    some = step._replace(packs=packs_of(run, arm, rows))
    loss = Work(shapes.passes(some, 'loss'))
    floors = len(groups) * (1 if arm.answers == 'random' else len(run.roll(arm.teachers)))
    return total + loss * (2 * len(roll)) + (
        loss + Work(shapes.passes(some, 'outputs'))) * floors


def packs_of(run: Run, arm: Arm, rows: int, multiple: int = 1) -> shapes.Packs:
    """So many of an arm's rows, padded to a multiple of packs."""
    packs = shapes.carried(run.config, rows, run.config.student.packed,
                           shapes.answers_of(run.config, arm))
    return packs._replace(count=-(-packs.count // multiple) * multiple)


def outputs_bytes(run: Run, arm: Arm) -> float:
    """Bytes of what an arm's objective reads of one teacher, at every place of every answer."""
    step = shapes.student_step(run, arm)
    place = shapes.batch_of(step._replace(packs=shapes.Packs(1, 1, 1)))
    read = {name: x for name, x in place.items() if name not in ('tries', 'allowed_BUC')}
    return shapes.bytes_of(read) * run.rows(arm) * run.world.new_tokens


# Stages.


def plan(config: Any) -> list[Stage]:
    """What a run would do, stage by stage, with its arithmetic and memory."""
    run = run_of(config)
    return [*reference_stages(run), *start_stages(run), *teacher_stages(run), *row_stages(run),
            *link_stages(run), *student_stages(run), *geometry_stages(run)]


def reference_stages(run: Run) -> Iterator[Stage]:
    """R*: a few steps on random rows."""
    config = run.config
    if not config.prepared.steps:
        return
    packs = shapes.carried(config, -(-config.prepared.batch_size // prepared.PACKED)
                           * prepared.PACKED, prepared.PACKED, 1)
    for name, model in run.world.architectures.items():
        held = shapes.held_by(run, model)
        one = Work(shapes.step_flops(shapes.lesson_step(run, model, 'all', packs)),
                   held * figure('adam'))
        yield (one * config.prepared.steps).stage(
            'reference, R*' + ('' if name == 'main' else f' of {name}'), 6.0 * held,
            'reference step')


def link_stages(run: Run) -> Iterator[Stage]:
    """The first link: rows of every trait teacher, read by every one, and their gradients."""
    rows = run.config.carrier.link_rows
    for name, arm in (first_link.arms_of(run) if rows else {}).items():
        model, teachers = run.world.architectures[arm.architecture], len(run.roll('trait'))
        held, size = shapes.held_by(run), run.config.student.packed
        packs = shapes.carried(run.config, rows, size, shapes.answers_of(run.config, arm))
        step = shapes.lesson_step(run, model, 'all', packs)
        one = Work(reads(model, packs) * teachers + shapes.passes(step, 'gradient'),
                   held * (figure('loaded') + figure('dotted')) * teachers)
        yield (one * teachers).stage(f'first link, {name}', 3.5 * held, 'alignment')


def start_stages(run: Run) -> Iterator[Stage]:
    """Texts of the reference's own, and starts that are trained on them."""
    world, held = run.world, shapes.held_by(run)
    trained = dict.fromkeys(a.start for a in run.arms if STARTS.find(a.start)[0].trained)
    texts, most = world.texts + (world.moving_texts if trained else 0), samples.BATCH[run.together]
    batch = sampled(run, min(texts, most), row('lesson'), world.new_tokens)
    work = (batch * math.ceil(texts / most)
            + sampled(run, world.texts, carrier_row(run.config.carrier), world.new_tokens))
    yield work.stage('ordinary texts', 2.0 * held, 'sampler')
    packs = shapes.packed(2 * MOVING_PACK, MOVING_PACK,
                          row('lesson')._replace(answer=world.new_tokens))
    for start in trained:
        step = shapes.lesson_step(run, shapes.largest(run), 'all', packs)
        steps = max(1, whole_number(STARTS.find(start)[1]))
        yield (Work(shapes.step_flops(step), held * figure('adam')) * steps).stage(
            f'start, {start}', 6.0 * held)


def teacher_stages(run: Run) -> Iterator[Stage]:
    """Teachers, set by set; beside a step lies what they are made of."""
    held = shapes.held_by(run)
    for name, arm in students.made_sets(run.arms).items():
        trained = shapes.trained_of(arm)
        peak = 2.0 * held if trained is None else held + shapes.step_bytes(teacher_step(run, arm))
        yield taught(run, arm).stage(f'teachers, {name}', peak,
                                     'scoring' if trained is None else 'teacher step')


def row_stages(run: Run) -> Iterator[Stage]:
    """What teachers write: rows to learn from, or a few to see whether they can."""
    if run.config.carrier.samples:
        return
    for name, (arm, prompts) in stages.wanted_rows(run).items():
        again = arm.answers == 'sampled' and stages.is_learned(run, arm)
        copies = 2.0 + (shapes.trained_of(arm) is not None)  # the base, the sampler's, the teacher
        one = written(run, prompts, run.config.carrier.attempts if again else 1)
        if arm.answers == 'selected':
            several = prompts * run.config.carrier.candidates
            yield (written(run, several, 1) * run.world.num_references).stage(
                f'candidates, {name}', copies * shapes.held_by(run))
            one = Work(reads(run.world.architectures[arm.architecture], shapes.carried(
                run.config, several, run.config.student.packed,
                run.config.carrier.per_prompt * run.config.carrier.candidates)))
        yield (one * len(run.roll(arm.teachers))).stage(
            f'samples, {name}', copies * shapes.held_by(run), 'sampler')


def student_stages(run: Run) -> Iterator[Stage]:
    """Each arm's logits, students and measures; a start once.

    Where students train all weights, the start lies beside them; else a step reads it. The outputs
    of all teachers are held while they are read, and again, as batches, while students train.
    """
    seen = set()
    for arm in run.arms:
        step, held, teachers = (shapes.student_step(run, arm), shapes.held_by(run),
                                len(run.roll(arm.teachers)))
        outputs, target = 0.0, tables.target_set(arm, run.rows(arm))
        if OBJECTIVES[arm.objective].target is not None:
            outputs = outputs_bytes(run, arm) * teachers
            if target not in seen and not run.config.carrier.targets:
                seen.add(target)
                packs = packs_of(run, arm, run.rows(arm), targets.CHUNK[run.together])
                one = Work(shapes.passes(step._replace(packs=packs), 'outputs'),
                           held * figure('loaded'))
                yield (one * teachers).stage(f'logits, {arm.name}', 2.5 * held + outputs,
                                             'targets')
        whole = 0.0 if step.at_once else shapes.bytes_of(
            shapes.trainable_of(arm.trainable, step.program.config, step.dtype)[0])
        count = teachers * run.config.student.seeds * students.steps_of(run, arm)
        yield (Work(shapes.step_flops(step), whole * figure('adam')) * count).stage(
            f'students, {arm.name}',
            shapes.step_bytes(step) + held * (arm.trainable == 'all') + 2 * outputs,
            f'student step ({arm.name})')
        work, start = measured(run, arm, step), (arm.students, arm.start, arm.matrix)
        if start not in seen:
            seen.add(start)
            work += reading(run, step.program.config)
        yield work.stage(f'measures, {arm.name}', shapes.checks_bytes(run, arm, step) + 2 * outputs,
                         'alignment')


def geometry_stages(run: Run) -> Iterator[Stage]:
    """What the output matrix predicts of each set of trait teachers."""
    if run.trait.estimator != 'gamma' or run.trait.items is None:
        return
    for name, arm in students.made_sets(run.arms).items():
        if arm.teachers == 'trait' and not arm.own:
            model, held = run.world.architectures[arm.architecture], shapes.held_by(run)
            both = reads(model, shapes.dosed(run.config), 'read') + reads(model, asked_in(run))
            one = Work(2 * both, held * figure('loaded'))
            yield (one * len(run.roll('trait'))).stage(f'geometry, {name}', 2.5 * held,
                                                       'scoring')


def disk_bytes(config: Any) -> float:
    """Disk that teachers and their outputs take."""
    run, total, seen = run_of(config), 0.0, set()
    for arm in students.made_sets(run.arms).values():
        if trained := shapes.trained_of(arm):
            model = run.world.architectures[arm.architecture]
            total += len(run.roll(arm.teachers)) * shapes.bytes_of(
                shapes.trainable_of(trained, model, config.model.dtype)[0])
    for arm in run.arms:
        name = tables.target_set(arm, run.rows(arm))
        if OBJECTIVES[arm.objective].target is not None and name not in seen:
            seen.add(name)
            total += len(run.roll(arm.teachers)) * outputs_bytes(run, arm)
    return total
