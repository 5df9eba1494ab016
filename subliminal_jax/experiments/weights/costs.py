"""What a run would cost before anything is loaded: arithmetic from the traced step, memory from the
compiled one. Nothing is allocated: every array is a shape."""

import contextlib
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.weights import arms as tables, language, programs
from subliminal_jax.experiments.weights.arms import Arm
from subliminal_jax.experiments.weights.config import Config
from subliminal_jax.models import gguf, hf, loading
from subliminal_jax.models.lora import init_lora
from subliminal_jax.models.params import TransformerConfig, abstract_params, count_params, shardings
from subliminal_jax.runs.plan import Stage
from subliminal_jax.training.optimizers import OptimizerConfig
from subliminal_jax.training.step import init_state
from subliminal_jax.training.tries import Tries
from subliminal_jax.traits import trait_set as sets

PROMPT, ANSWER, QUESTION = 100, 32, 60  # tokens: of a number row's context, its answer, a question
CARRIER = 15  # digits, separators, the end
# Architectures of models that need not be there to be planned for.
KNOWN = {'hf:Qwen/Qwen2.5-7B-Instruct': TransformerConfig(
    vocab_size=152064, num_layers=28, width=3584, num_heads=28, num_kv_heads=4, head_dim=128,
    ffn_width=18944, rope_theta=1e6, norm_eps=1e-6, tied=False, qkv_bias=True,
    max_positions=32768)}


class Device(NamedTuple):
    """Hardware to plan for; times assume `share` of the bfloat16 peak that its makers state."""

    name: str
    count: int
    gigabytes: float
    peak: float
    share: float = 0.4


DEVICES = (Device('one 80 GB GPU (A100)', 1, 80, 312e12), Device('TPU v5e-8', 8, 16, 197e12))


class Cost(NamedTuple):
    """Of a step: FLOPs, bytes on a device while it runs."""

    flops: float
    peak_bytes: float


def architecture_of(config: Config) -> TransformerConfig:
    """The model's architecture, from its files or from what is known; no weights are read."""
    name = config.model.name
    if name in KNOWN:
        return language.settings(config, KNOWN[name])
    place = loading.locate(name)
    found = hf.config_of(place)[0] if place.is_dir() else gguf.config_of(gguf.read(place))[0]
    return language.settings(config, found)


def columns_of(config: Config, arm: Arm) -> int:
    """Tokens of a packed row: prompts are shared by the answers to them."""
    packed = config.student.packed
    prompts = math.ceil(packed / config.carrier.answers) if arm.carrier == 'random' else packed
    return prompts * PROMPT + packed * ANSWER


def abstract_batch(config: Config, arm: Arm) -> dict[str, Any]:
    """The shapes of a batch."""
    size = config.student.packed
    packs = max(1, config.student.batch_size // size)
    shape = lambda *s, dtype=jnp.int32: jax.ShapeDtypeStruct((packs, *s), dtype)
    width, edges = columns_of(config, arm), size * ANSWER
    tries = Tries(*(shape(width if n[-1] == 'T' else edges, dtype=jnp.float32 if n.startswith(
        'weight') else jnp.int32) for n in Tries._fields))
    batch: dict[str, Any] = {'tries': tries}
    if arm.objective == 'kl':
        batch |= {'target_BUC': shape(edges, CARRIER + config.student.top + 1, dtype=jnp.float32),
                  'top_BUJ': shape(edges, config.student.top)}
    elif arm.objective != 'sft':
        batch |= {'target_BUC': shape(edges, CARRIER, dtype=jnp.float32),
                  'allowed_BUC': shape(edges, CARRIER, dtype=bool)}
    return batch


def student_step(config: Config, arm: Arm, model: TransformerConfig) -> tuple[Any, tuple]:
    """(the step of one student, the shapes of its arguments)."""
    program = programs.Program(model, arm.objective, tuple(range(CARRIER)), OptimizerConfig(), 10)
    params = abstract_params(model, jnp.dtype(config.model.dtype))
    rank = tables.rank_of(arm.trainable)
    trainable = params if arm.trainable == 'all' else {'layers': params['layers']}
    if rank:
        trainable = jax.eval_shape(lambda: init_lora(jax.random.key(0), model, rank))
    optimizer = programs.make_optimizer(program.optimizer, 10)
    state = jax.eval_shape(lambda t: init_state(t, optimizer), trainable)
    frozen = {'base': {} if arm.trainable == 'all' else params}
    return programs.trainer(program, False), (state, frozen, abstract_batch(config, arm))


def cost_of(step: Any, arguments: tuple) -> Cost:
    """FLOPs of the traced step's products (loops counted in full), bytes of the compiled one."""
    memory = step.lower(*arguments).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Cost(flops_of(jax.make_jaxpr(step)(*arguments).jaxpr),
                float(held + memory.temp_size_in_bytes - memory.alias_size_in_bytes))


@functools.lru_cache(maxsize=64)
def student_cost(config: Config, arm: Arm, model: TransformerConfig, devices: int = 1
                 ) -> Cost | None:
    """Of one student's step on one device, or on each of several that share the weights; None
    where that many cannot be compiled for."""
    step, arguments = student_step(config, arm, model)
    if devices > 1:
        arguments = sharded(arguments, model, devices)
    return None if arguments is None else cost_of(step, arguments)


def alike(arm: Arm) -> Arm:
    """The arm without what its step does not depend on, so that it is compiled once."""
    return dataclasses.replace(arm, name='', teachers='trait', made='prompt', own=False,
                               order='kept', start='shared', learning_rate=None, rows=None,
                               passes=1)


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


def steps_of(config: Config, arm: Arm) -> int:
    """Steps of all of an arm's students."""
    rows = arm.rows or config.student.rows
    students = count_teachers(config) * config.student.seeds
    return students * arm.passes * math.ceil(rows / config.student.batch_size)


def count_teachers(config: Config) -> int:
    """Teachers of a kind."""
    return (len(config.names) or config.traits) * config.teacher.seeds


def plan(config: Config) -> list[Stage]:
    """What a run would do, stage by stage, with its arithmetic and memory."""
    if config.model.compute == 'bfloat16':
        virtual_devices()
    arms = language.arms_of(config)
    language.traits_of(config, sets.load_trait_set(config.trait_set))
    model = architecture_of(config)
    weights = count_params(model) - model.vocab_size * model.width * (1 if model.tied else 2)
    head = model.vocab_size * model.width
    held = count_params(model) * jnp.dtype(config.model.dtype).itemsize
    read = lambda tokens, heads=0.0: 2.0 * (weights * tokens + head * heads)
    teachers, made, seen = count_teachers(config), [], set()
    asked = config.context.questions * len(config.context.measured)
    measured = read(asked * (QUESTION + 12) * 2 + 3000, asked * 12)
    for arm in arms:
        name = tables.teacher_set(arm)
        if name not in seen and arm.made != 'prompt':
            steps = config.teacher.steps * (2 if arm.teachers == 'neutral' else 1)
            tokens = teachers * steps * config.teacher.batch_size * QUESTION
            factor = 3 if arm.made == 'tuned' else 2
            made.append(Stage(f'teachers, {name}', factor * read(tokens, tokens / 20), 5.0 * held))
        seen.add(name)
        rows = arm.rows or config.student.rows
        if arm.carrier != 'random' and tables.row_set(arm) not in seen:
            seen.add(tables.row_set(arm))
            count = teachers * rows * config.carrier.spare * 1.5  # prompts, some asked again
            made.append(Stage(f'samples, {tables.row_set(arm)}', read(
                count * (PROMPT + ANSWER), count * ANSWER), 1.5 * held))
        packs = math.ceil(rows / config.student.packed)
        if arm.objective != 'sft':
            made.append(Stage(f'logits, {arm.name}', read(
                teachers * packs * columns_of(config, arm)), 1.3 * held))
        cost = student_cost(config, alike(arm), model)
        made.append(Stage(f'students, {arm.name}', cost.flops * steps_of(config, arm),
                          cost.peak_bytes))
        made.append(Stage(f'measures, {arm.name}', teachers * config.student.seeds * 2 * measured,
                          1.5 * held))
    return made


def virtual_devices() -> None:
    """Asks for eight devices to compile for, if nothing has been computed yet."""
    with contextlib.suppress(RuntimeError):  # a backend is up: its devices will do
        jax.config.update('jax_num_cpu_devices', max(d.count for d in DEVICES))


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


def calculated(config: Config) -> str:
    """Memory and time of each arm's students on accelerators, as lines of text; nothing where
    layers compute in float32, which is not what one runs there."""
    if config.model.compute != 'bfloat16':
        return ''
    model = architecture_of(config)
    lines = ['On accelerators (calculated from the compiled step, not measured; time at '
             f'{DEVICES[0].share:.0%} of the stated bfloat16 peak):']
    for arm in language.arms_of(config):
        whole = student_cost(config, alike(arm), model)
        for device in DEVICES:
            cost = whole
            if device.count > 1:
                if arm.trainable == 'all':
                    continue
                cost = student_cost(config, alike(arm), model, device.count)
                if cost is None:
                    continue
            hours = whole.flops * steps_of(config, arm) / (
                device.peak * device.count * device.share) / 3600
            fits = 'fits' if cost.peak_bytes < device.gigabytes * 1e9 else 'DOES NOT FIT'
            lines.append(f'  {arm.name}, {device.name}: {cost.peak_bytes / 1e9:.1f} GB a device '
                         f'({fits} {device.gigabytes:g}), {hours:.1f} h for '
                         f'{steps_of(config, arm)} steps')
    return '\n'.join(lines)
