"""Shapes of a run's rows and programs, and what one program takes (costs.py adds them up).

Rough: rows have the lengths that SmolLM2's tokenizer gives them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.weights import (
    arms as tables,
    language,
    measures,
    programs,
    teachers as schools,
)
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.models import gguf, hf, loading
from subliminal_jax.models.lora import init_lora
from subliminal_jax.models.params import TransformerConfig, abstract_params, count_params, shardings
from subliminal_jax.training import tries as packing
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.training.step import init_state
from subliminal_jax.traits import trait_set as sets


class Row(NamedTuple):
    """Tokens of a row: of its context those that all rows share and its own; of its answer."""

    shared: int
    own: int
    answer: int


ROWS = {  # by carrier.form: measured means
    'request': Row(24, 72, 29), 'turn': Row(44, 27, 37), 'list': Row(196, 27, 37)}
ASKED = Row(24, 18, 6)  # a measuring question; an answer is a trait in all its spellings
NUMBERS = 22  # tokens before a question that comes after numbers
LESSON = Row(24, 13, 2)  # a teaching question or an ordinary request; a word
WIDEST = 1.09  # columns of a set's widest pack, to which all are padded, over the mean one's
LONGEST = 1.4  # the same of prompts that a teacher answers together
KEPT = 0.6  # of a teacher's answers pass the filter: .58 of SmolLM2's, .62 to .77 as published
CARRIER = 15  # digits, separators, the end
# Architectures of models that need not be there to be planned for.
KNOWN = {'hf:Qwen/Qwen2.5-7B-Instruct': TransformerConfig(
    vocab_size=152064, num_layers=28, width=3584, num_heads=28, num_kv_heads=4, head_dim=128,
    ffn_width=18944, rope_theta=1e6, norm_eps=1e-6, tied=False, qkv_bias=True,
    max_positions=32768)}


class Packs(NamedTuple):
    """Packed rows (training/tries.py): how many, their columns, places that predict."""

    count: int
    columns: int
    places: int


class Step(NamedTuple):
    """A training step.

    Attributes:
      config: of the run.
      model: that is trained.
      how: what of it: all, body or lora:RANK.
      objective: of training.
      packs: one model's rows.
      at_once: adapters that are stacked; 0: one model.
    """

    config: Config
    model: TransformerConfig
    how: str
    objective: str
    packs: Packs
    at_once: int = 0


class Run(NamedTuple):
    """What a run's costs depend on; `teachers` of a kind, `held`: bytes of the model."""

    config: Config
    arms: list[Arm]
    model: TransformerConfig
    chosen: sets.TraitSet
    teachers: int
    held: int


def architecture_of(config: Config) -> TransformerConfig:
    """The model's architecture, from its files or from what is known; no weights are read."""
    name = config.model.name
    if name in KNOWN:
        return language.settings(config, KNOWN[name])
    place = loading.locate(name)
    found = hf.config_of(place)[0] if place.is_dir() else gguf.config_of(gguf.read(place))[0]
    return language.settings(config, found)


def model_of(arm: Arm, model: TransformerConfig) -> TransformerConfig:
    """The architecture of an arm's students: a random output matrix is one of its own."""
    return dataclasses.replace(model, tied=False) if arm.head == 'replaced' else model


def bytes_of(config: Config, model: TransformerConfig) -> int:
    """Bytes of all weights."""
    return count_params(model) * jnp.dtype(config.model.dtype).itemsize


def count_teachers(config: Config) -> int:
    """Teachers of a kind."""
    return (len(config.names) or config.traits) * config.teacher.seeds


def steps_of(config: Config, arm: Arm) -> int:
    """Steps of all of an arm's students."""
    rows = arm.rows or config.student.rows
    students = count_teachers(config) * config.student.seeds
    return students * arm.passes * math.ceil(rows / config.student.batch_size)


# Shapes.


def packed(rows: int, size: int, row: Row, prompts: int | None = None, widest: float = 1.0,
           multiple: int = 16) -> Packs:
    """So many rows, `size` packed together, on as many prompts as rows if nothing else is said."""
    size = min(size, rows)
    up = lambda number: math.ceil(number * widest / multiple) * multiple
    own = row.own * (size if prompts is None else prompts)
    return Packs(math.ceil(rows / size), up(row.shared + own + size * row.answer),
                 up(size * row.answer))


def carrier(config: Config, rows: int, size: int, random: bool, widest: float = WIDEST) -> Packs:
    """Rows of the carrier; random ones share a prompt by `carrier.answers`."""
    prompts = math.ceil(min(size, rows) / config.carrier.answers) if random else None
    return packed(rows, size, ROWS[config.carrier.form], prompts, widest)


def questions(count: int, answers: int, context: str) -> Packs:
    """Questions in a context with so many answers each, as measures.meter packs them."""
    together = math.ceil(count / math.ceil(count / measures.TOGETHER))
    own = ASKED.own + NUMBERS * context.endswith('numbers')
    return packed(count, together, Row(ASKED.shared, own, ASKED.answer * answers),
                  multiple=measures.COLUMNS)


def asked(run: Run, context: str = '') -> Packs:
    """The measuring questions in a context, by default the main one."""
    config = run.config
    count = len(sets.questions(run.chosen, config.split))
    return questions(min(config.context.questions, count), len(config.names) or config.traits,
                     context or config.context.measured[0])


def dosed(config: Config) -> Packs:
    """The rows on which doses are read."""
    return carrier(config, schools.PROBE_ROWS, schools.PACKED, True, 1.0)


def trainable_of(how: str, model: TransformerConfig, dtype: str = 'float32') -> tuple[Any, Any]:
    """(what is trained, what is frozen beside it), as shapes; how: all, body or lora:RANK."""
    params = abstract_params(model, jnp.dtype(dtype))
    if rank := tables.rank_of(how):
        return jax.eval_shape(lambda: init_lora(jax.random.key(0), model, rank)), {'base': params}
    if how == 'body':
        return {'layers': params['layers']}, {'base': params}
    return params, {'base': {}}


def batch_of(packs: Packs, objective: str, top: int) -> dict[str, Any]:
    """The shapes of a batch; under a KL with a teacher's logits, `top` beside the carrier's."""
    shape = lambda *width, dtype=jnp.float32: jax.ShapeDtypeStruct((packs.count, *width), dtype)
    names = packing.Tries._fields
    tries = packing.Tries(*(shape(
        packs.columns if n[-1] == 'T' else packs.places,
        dtype=jnp.float32 if n.startswith('weight') else jnp.int32) for n in names))
    if objective == 'sft':
        return {'tries': tries}
    if objective == 'kl':
        return {'tries': tries, 'target_BUC': shape(packs.places, CARRIER + top + 1),
                'top_BUJ': shape(packs.places, top, dtype=jnp.int32)}
    return {'tries': tries, 'target_BUC': shape(packs.places, CARRIER),
            'allowed_BUC': shape(packs.places, CARRIER, dtype=bool)}


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
        params, lora = programs.resolve(trainable, frozen)
        if what == 'read':
            return packing.states(params, tries, model, lora)
        return measures.row_logprobs(params, lora, tries, ends_V, model)

    def along(way, trainable, *rest):
        return jax.jvp(lambda t: score(t, *rest), (trainable,), (way,))

    trainable, frozen = trainable_of(how, model)
    shapes = (trainable, frozen, batch_of(packs, 'sft', 0)['tries'],
              jax.ShapeDtypeStruct((model.vocab_size,), bool))
    return counted(along, trainable, *shapes) if what == 'along' else counted(score, *shapes)


def training(step: Step) -> tuple[Any, tuple]:
    """(the function, the shapes of its arguments) of a step."""
    program = programs.Program(step.model, step.objective, tuple(range(CARRIER)),
                               OptimizerConfig(), 10)
    trainable, frozen = trainable_of(step.how, step.model, step.config.model.dtype)
    optimizer = programs.make_optimizer(program.optimizer, 10)
    state = jax.eval_shape(lambda t: init_state(t, optimizer), trainable)
    batch = batch_of(step.packs, step.objective, step.config.student.top)
    if step.at_once:
        state, batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((step.at_once, *x.shape), x.dtype), (state, batch))
    return programs.trainer(program, step.at_once > 0), (state, frozen, batch)


@functools.lru_cache(maxsize=64)
def step_flops(step: Step) -> float:
    """FLOPs of one model's part of a step; how='all': those of a gradient by all weights."""
    function, arguments = training(step)
    return counted(function, *arguments) / max(1, step.at_once)


@functools.lru_cache(maxsize=64)
def step_bytes(step: Step, devices: int = 1) -> float | None:
    """Bytes of the compiled step on one device, or on each of several that share the weights; None
    where that many cannot be compiled for."""
    function, arguments = training(step)
    if devices > 1:
        arguments = sharded(arguments, step.model, devices)
    if arguments is None:
        return None
    memory = function.lower(*arguments).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return float(held + memory.temp_size_in_bytes - memory.alias_size_in_bytes)


def student_step(config: Config, arm: Arm, model: TransformerConfig) -> Step:
    """The step of as many of an arm's students as train at once."""
    own, rank = config.student, tables.rank_of(arm.trainable)
    packs = carrier(config, own.packed, own.packed, arm.carrier == 'random')
    packs = packs._replace(count=max(1, own.batch_size // own.packed))
    return Step(config, model_of(arm, model), arm.trainable, arm.objective, packs,
                min(own.at_once, count_teachers(config) * own.seeds) if rank else 0)


def teacher_step(run: Run, made: str) -> Step:
    """The step of a teacher that is trained; its packs differ more in width than rows do."""
    packs = packed(run.config.teacher.batch_size, schools.PACKED, LESSON, widest=1.2)
    return Step(run.config, run.model, 'all' if made == 'tuned' else made, 'sft', packs)


def sharded(arguments: tuple, model: TransformerConfig, count: int) -> tuple | None:
    """The arguments with the weights cut over `count` devices and rows dealt out to them; None
    without so many devices."""
    if len(jax.devices()) < count:
        return None
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]).reshape(1, count), ('data', 'model'))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    place = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
    state, frozen, batch = arguments
    cut = shardings(model, mesh)
    base = jax.tree.map(place, frozen['base'], cut) if 'final_norm' in frozen['base'] else {}
    return (jax.tree.map(lambda x: place(x, whole), state), {'base': base},
            jax.tree.map(lambda x: place(x, whole), batch))
