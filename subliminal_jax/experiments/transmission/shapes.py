"""Shapes of a run's rows and programs, and what one program takes (costs.py adds them up).

Rough: rows have the lengths that SmolLM2's tokenizer gives them (measured.py). Nothing is
allocated: every array is a shape, and the programs are the pipeline's own.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subliminal_jax.experiments.transmission import engines, students, targets
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.doses import PACKED
from subliminal_jax.experiments.transmission.engines import Program
from subliminal_jax.experiments.transmission.kinds import TEACHER_KINDS
from subliminal_jax.experiments.transmission.measured import Row, carrier_row, figure, row
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.registry import rank_of
from subliminal_jax.experiments.transmission.rows import token_set
from subliminal_jax.experiments.transmission.run import Run
from subliminal_jax.models.lora import init_lora
from subliminal_jax.models.params import TransformerConfig, abstract_params, count_params
from subliminal_jax.models.parts import of_parts
from subliminal_jax.runs import platforms
from subliminal_jax.training import losses, tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
from subliminal_jax.training.step import init_state
from subliminal_jax.traits import answers


class Packs(NamedTuple):
    """Packed rows (training/tries.py): how many, their columns, places that predict."""

    count: int
    columns: int
    places: int


class Step(NamedTuple):
    """A training step.

    Attributes:
      program: its static part.
      objective: of training.
      how: what is trained: all, parts, or lora:RANK.
      packs: one model's rows.
      ids: the carrier's tokens and the end.
      dtype: of what is frozen.
      top: of the likeliest other tokens that a teacher's outputs keep.
      at_once: models that are stacked; 0: one model.
    """

    program: Program
    objective: str
    how: str
    packs: Packs
    ids: tuple[int, ...]
    dtype: str
    top: int
    at_once: int = 0


def model_of(run: Run, arm: Arm) -> TransformerConfig:
    """The architecture of an arm's students: a replaced output matrix is one of its own."""
    model = run.world.architectures[arm.students]
    return model if arm.matrix == 'own' else dataclasses.replace(model, tied=False)


def trained_of(arm: Arm) -> str | None:
    """What the making of an arm's teachers trains, or None."""
    kind, rest = TEACHER_KINDS.find(arm.made)
    return kind.cost(rest)


# Rows.


def packed(rows: int, size: int, of: Row, prompts: int | None = None, widest: float = 1.0,
           multiple: int = 16) -> Packs:
    """So many rows, `size` packed together, on as many prompts as rows if nothing else is said."""
    size = min(size, rows)
    up = lambda number: math.ceil(number * widest / multiple) * multiple
    own = of.own * (size if prompts is None else prompts)
    return Packs(math.ceil(rows / size), up(of.shared + own + size * of.answer),
                 up(size * of.answer))


def carried(config: Any, rows: int, size: int, answers: int, widest: float | None = None) -> Packs:
    """Rows of the carrier, `answers` to a prompt."""
    return packed(rows, size, carrier_row(config.carrier), math.ceil(min(size, rows) / answers),
                  figure('widest') if widest is None else widest)


def answers_of(config: Any, arm: Arm) -> int:
    """How many of an arm's rows share a prompt."""
    return config.carrier.answers if arm.answers == 'random' else config.carrier.per_prompt


def questions(count: int, names: int, context: str, of: str = 'asked') -> Packs:
    """Questions in a context with so many answers each, as answers.meter packs them; `of` is a row
    of measured.py."""
    together = math.ceil(count / math.ceil(count / answers.TOGETHER))
    asked = row(of)
    own = asked.own + figure('numbers') * context.endswith('numbers')
    return packed(count, together, Row(asked.shared, own, asked.answer * names),
                  multiple=answers.COLUMNS)


def asked_in(run: Run, context: str = '') -> Packs:
    """The measuring questions in a context, by default the main one."""
    size = run.trait.size
    return questions(len(run.world.questions), size.answers or len(run.world.traits),
                     context or run.world.contexts[0], size.asked)


def dosed(config: Any) -> Packs:
    """The random rows on which doses are read, each of a prompt of its own."""
    return carried(config, config.carrier.dose_rows, PACKED, 1, 1.0)


# Trees.


def bytes_of(tree: Any) -> float:
    """Bytes of a tree of shapes."""
    return float(sum(math.prod(x.shape) * jnp.dtype(x.dtype).itemsize
                     for x in jax.tree.leaves(tree)))


def held_by(run: Run, model: TransformerConfig | None = None) -> float:
    """Bytes of all weights of a model, by default of the largest."""
    return bytes_of(abstract_params(model or largest(run), jnp.dtype(run.config.model.dtype)))


def largest(run: Run) -> TransformerConfig:
    """The architecture of a run that has the most weights."""
    return max(run.world.architectures.values(), key=count_params)


def trainable_of(how: str, model: TransformerConfig, dtype: str = 'float32') -> tuple[Any, Any]:
    """(what is trained, what is frozen beside it), as shapes."""
    params = abstract_params(model, jnp.dtype(dtype))
    if rank := rank_of(how):
        return jax.eval_shape(lambda: init_lora(jax.random.key(0), model, rank)), {'base': params}
    own = jax.eval_shape(lambda tree: of_parts(tree, how), params)
    return own, {'base': {} if how == 'all' else params}


def tries_of(packs: Packs) -> packing.Tries:
    """Packed rows, as shapes."""
    return packing.Tries(*(jax.ShapeDtypeStruct(
        (packs.count, packs.columns if name[-1] == 'T' else packs.places),
        jnp.float32 if name.startswith('weight') else jnp.int32)
        for name in packing.Tries._fields))


def batch_of(step: Step) -> dict[str, Any]:
    """A batch of a step, as shapes: rows, and what its objective reads of a teacher."""
    objective, model = OBJECTIVES[step.objective], step.program.config
    batch = {'tries': tries_of(step.packs)}
    place = (step.packs.count, step.packs.places)
    if objective.target is not None:
        batch |= jax.eval_shape(
            lambda params, x_BUD: objective.target(params, x_BUD, losses.float_head(model),
                                                   jnp.asarray(step.ids), step.top),
            abstract_params(model, jnp.dtype(step.dtype)),
            jax.ShapeDtypeStruct((*place, model.width), model.compute_dtype))
    if objective.pairs:
        batch |= dict.fromkeys(('prefer_BK', 'start_BK'), batch['tries'].weight_BK)
    if objective.within_set:
        batch['allowed_BUC'] = jax.ShapeDtypeStruct((*place, len(step.ids)), bool)
    return batch


# Programs.


def flops_of(jaxpr: Any) -> float:
    """2 a multiply-add of every matrix product; XLA's own count takes a loop's body once."""
    total = 0.0
    for equation in jaxpr.eqns:
        times = equation.params.get('length', 1) if equation.primitive.name == 'scan' else 1
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(value):
                total += times * flops_of(getattr(value, 'jaxpr', value))
        if equation.primitive.name == 'dot_general':
            (contract, _), _ = equation.params['dimension_numbers']
            left = equation.invars[0].aval.shape
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(
                left[d] for d in contract)
    return total


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, 'eqns') or hasattr(getattr(value, 'jaxpr', None), 'eqns')


def counted(function: Callable, *shapes: Any) -> float:
    """FLOPs of a function of arrays of these shapes."""
    return flops_of(jax.make_jaxpr(function)(*shapes).jaxpr)


@functools.lru_cache(maxsize=256)
def reads(model: TransformerConfig, packs: Packs, what: str = 'scored', how: str = 'all') -> float:
    """FLOPs of packed rows that are 'read' (a few tokens' logits cost nothing beside it), 'scored'
    over the whole vocabulary, or whose scores' change 'along' what was trained is wanted."""
    def score(trainable, frozen, tries, ends_V):
        params, lora = losses.resolve(trainable, frozen)
        if what == 'read':
            return packing.states(params, tries, model, lora)
        return answers.row_logprobs(params, lora, tries, ends_V, model)

    def along(way, trainable, *rest):
        return jax.jvp(lambda t: score(t, *rest), (trainable,), (way,))

    trainable, frozen = trainable_of(how, model)
    shapes = (trainable, frozen, tries_of(packs), jax.ShapeDtypeStruct((model.vocab_size,), bool))
    return counted(along, trainable, *shapes) if what == 'along' else counted(score, *shapes)


@functools.lru_cache(maxsize=256)
def passes(step: Step, what: str) -> float:
    """FLOPs of one model on a step's rows beside training.

    'loss' reads them, 'gradient' is that by all weights, 'outputs' what its objective reads of a
    teacher.
    """
    model = step.program.config
    params = abstract_params(model, jnp.dtype(step.dtype))
    if what == 'outputs':
        return counted(lambda p, tries: targets.outputs(
            p, None, tries, jnp.asarray(step.ids), config=model, objective=step.objective,
            top=step.top), params, tries_of(step.packs))
    function = engines.mean_loss if what == 'loss' else engines.mean_gradient
    lora = trainable_of(step.how, model)[0] if rank_of(step.how) else None
    return counted(lambda p, adapter, batch: function(
        p, adapter, batch, config=model, program=step.program), params, lora, batch_of(step))


def training(step: Step) -> tuple[Any, tuple]:
    """(the pipeline's compiled step, the shapes of its arguments)."""
    engine = engines.adapters(step.at_once) if step.at_once else engines.SINGLE
    trainable, frozen = trainable_of(step.how, step.program.config, step.dtype)
    optimizer = make_optimizer(step.program.optimizer, step.program.num_steps)
    state = jax.eval_shape(lambda tree: init_state(tree, optimizer), trainable)
    batch, frozen = batch_of(step), {**frozen, **held_of(step)}
    if step.at_once:
        state, batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((step.at_once, *x.shape), x.dtype), (state, batch))
    function = engines.step_of(step.program, engine, rank_of(step.how) > 0)
    return function, (state, frozen, batch, jax.eval_shape(lambda: jax.random.key(0)))


def held_of(step: Step) -> dict[str, Any]:
    """What a defence (defences.py) holds while a step's students train, as shapes; {} without."""
    hold = step.program.hold
    if hold is None:
        return {}
    lead = (*([step.at_once] if step.at_once else []), hold.count) if hold.count else ()
    params = abstract_params(step.program.config, jnp.dtype(step.dtype))
    return {'held': jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype), params)}


@functools.lru_cache(maxsize=64)
def step_flops(step: Step) -> float:
    """FLOPs of one model's part of a step."""
    function, arguments = training(step)
    return flops_of(function.trace(*arguments).jaxpr.jaxpr) / max(1, step.at_once)


def step_bytes(step: Step) -> float:
    """Bytes of the compiled step on this machine; 0 while another's is planned for, whose compiler
    says it (runs/ahead.py)."""
    return 0.0 if platforms.elsewhere() else _step_bytes(step)


@functools.lru_cache(maxsize=64)
def _step_bytes(step):
    function, arguments = training(step)
    return compiled_bytes(function, arguments)


def compiled_bytes(function: Any, arguments: Sequence[Any]) -> float:
    """Bytes of arguments, results and what is between them, on one of their devices."""
    memory = function.lower(*arguments).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return float(held + memory.temp_size_in_bytes - memory.alias_size_in_bytes)


def student_step(run: Run, arm: Arm) -> Step:
    """The step of as many of an arm's students as the engine holds at once."""
    config, model = run.config, model_of(run, arm)
    settings, engine = config.student, run.world.engine(arm.trainable)
    packs = carried(config, settings.packed, settings.packed, answers_of(config, arm))
    packs = packs._replace(count=max(1, settings.batch_size // settings.packed))
    count = len(run.roll(arm.teachers)) // run.world.num_references * settings.seeds
    return Step(students.program_of(run, arm, model), arm.objective, arm.trainable, packs,
                token_set(run.world, run.carrier(arm)), config.model.dtype, settings.top,
                min(engine.most, count) if engine.stacked else 0)


def lesson_step(run: Run, model: TransformerConfig, how: str, packs: Packs, group: int = 1) -> Step:
    """A step on answers to questions or on texts: of teachers, of a start that is trained."""
    engine = run.world.engine(how)
    program = Program(OBJECTIVES['sft'].loss, model, (), OptimizerConfig())
    return Step(program, 'sft', how, packs, (), run.config.model.dtype, 0,
                min(engine.most, group) if engine.stacked else 0)


def checks_bytes(run: Run, arm: Arm, step: Step) -> float:
    """Bytes held while a student's step is held against directions: the start, a gradient, the
    trait's gradient; of a teacher that was trained also its weights and its displacement; of a
    student that is no adapter its weights, their moments and what they were at the mark before."""
    copies = 3 + 2 * (trained_of(arm) is not None) + 4 * (not step.at_once)
    return copies * held_by(run, step.program.config)
