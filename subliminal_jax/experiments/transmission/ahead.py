"""The programs of a transmission run, to be compiled ahead of time: the pipeline's own functions on
shapes, nothing read, nothing allocated.

On pretrained weights rows have the lengths that measured.py has of them (shapes.py); in the tiny
language they are those of the carrier's random rows. placement.py says where arrays lie.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission import (
    costs,
    engines,
    outlines,
    rows as carried,
    samples,
    shapes,
    students,
    targets,
)
from subliminal_jax.experiments.transmission.arms import Arm
from subliminal_jax.experiments.transmission.measured import carrier_row, figure
from subliminal_jax.experiments.transmission.objectives import OBJECTIVES
from subliminal_jax.experiments.transmission.placement import Places, mesh_of
from subliminal_jax.experiments.transmission.run import Run, prepare
from subliminal_jax.experiments.transmission.shapes import Packs, Step
from subliminal_jax.models.params import abstract_params
from subliminal_jax.runs.ahead import Program
from subliminal_jax.runs.topologies import Topology
from subliminal_jax.sampling import buckets, choice as choices, generate, network
from subliminal_jax.traits import answers

SMALLER = ('config.model.remat=true', 'config.student.micro_batches (more of them)')
DTYPE = 'config.model.dtype=bfloat16'


class Sizes(NamedTuple):
    """What the shapes of a run's programs follow from.

    Attributes:
      run: as far as it is known without weights.
      rows: (arm, rows, packed together) -> the arm's rows.
      asked: the measuring questions, as the trait's meter packs them.
      prompt: (tokens that all prompts share, the longest prompt's own).
      models: of the weights: those of a reference that are read side by side, 0 for one by one.
    """

    run: Run
    rows: Callable[[Arm, int, int], Packs]
    asked: Packs
    prompt: tuple[int, int]
    models: int


def sizes_of(config: Any) -> Sizes:
    """The sizes of a run, in whichever world.

    Raises:
      UserError: a config that cannot be run.
    """
    return _pretrained(config) if config.world == 'pretrained' else _tiny(config)


def _pretrained(config):
    run = outlines.run_of(config)
    row = carrier_row(config.carrier)

    def rows(arm, count, size):
        return shapes.carried(config, count, size, shapes.answers_of(config, arm))

    own = -(-row.own * figure('longest') // buckets.MULTIPLE) * buckets.MULTIPLE
    return Sizes(run, rows, shapes.asked_in(run), (row.shared, int(own)), 0)


def _tiny(config):
    run = prepare(config)
    world = run.world

    def rows(arm, count, size):
        found = carried.random_rows(config, world, run.carrier(arm), min(count, 64), 'random', 0, 1)
        tries = carried.packed(found, size)
        return Packs(-(-count // size), tries.tokens_BT.shape[1], tries.place_BU.shape[1])

    meter = run.trait.meter(run, world.contexts[0])
    asked = Packs(*meter.tries.tokens_BT.shape, meter.tries.place_BU.shape[1])
    contexts = [world.rows_context(p['prompt'], None)
                for p in run.carrier().prompts(0, range(64))]
    shared = buckets.shared_prefix(contexts)
    return Sizes(run, rows, asked, (shared, max(map(len, contexts)) - shared),
                 len(run.roll('trait')) // world.num_references)


def programs(config: Any, topology: Topology, mesh: dict[str, int] | None = None
             ) -> Iterator[Program]:
    """Every program of a run's stages, each once, in the order of the stages.

    Args:
      config: the run's.
      topology: what it is compiled for.
      mesh: sizes of its axes (runs/meshes.py); None: all devices over 'tensor'.

    Raises:
      UserError: a config or a mesh that cannot be.
    """
    sizes = sizes_of(config)
    run, seen = sizes.run, {}
    grid = mesh_of(topology, run, mesh)
    for program in _all(sizes, grid):
        key = jax.tree.structure(program.arguments), tuple(
            (x.shape, str(x.dtype)) for x in jax.tree.leaves(program.arguments)), program.same
        if key not in seen:
            seen[key] = program
            yield program


def _all(sizes, mesh):
    run, config = sizes.run, sizes.run.config
    if run.together:
        for name in dict.fromkeys(a.architecture for a in run.arms):
            yield _reference(sizes, name, mesh)
    elif config.prepared.steps:
        yield _prepared(run, mesh)
    for name, arm in students.made_sets(run.arms).items():
        if shapes.trained_of(arm) and arm.teachers == 'trait':
            yield _teachers(sizes, name, arm, mesh)
    for arm in run.arms:
        if arm.answers != 'random' and not config.carrier.samples:
            yield _sampler(sizes, arm, mesh)
    for arm in run.arms:
        step = _student_step(sizes, arm)
        if OBJECTIVES[arm.objective].target is not None and not config.carrier.targets:
            yield _targets(sizes, arm, step, mesh)
        count = (len(run.roll(arm.teachers)) * config.student.seeds * students.steps_of(run, arm)
                 // max(1, step.at_once))
        yield _step(f'student step ({arm.name})', step, mesh, SMALLER, count=count)
        yield _alignment(sizes, arm, step, mesh)
        if run.trait.gradient is not None:
            yield _reader(f'trait gradient ({arm.name})', sizes, arm, mesh, run.trait.gradient,
                          _meter(sizes), jax.ShapeDtypeStruct((), jnp.int32))
        yield _reader(f'scoring ({arm.name})', sizes, arm, mesh, answers.cells, _meter(sizes))


def _student_step(sizes, arm):
    """The step of an arm's students: in the tiny language, of rows as they are."""
    run = sizes.run
    if not run.together:
        return shapes.student_step(run, arm)
    own = run.config.student
    count = len(run.roll(arm.teachers)) // run.world.num_references * own.seeds
    return Step(students.program_of(run, arm, shapes.model_of(run, arm)), arm.objective,
                arm.trainable, sizes.rows(arm, own.batch_size, own.packed),
                carried.token_set(run.world, run.carrier(arm)), 'float32', own.top, count)


def _step(name, step, mesh, helps, beside=0.0, count=0):
    function, arguments = shapes.training(step)
    places = Places(mesh, step.program.config)
    state, frozen, batch, key = arguments
    whole = not step.at_once and step.how == 'all'
    state = state._replace(
        step=places.everywhere(state.step),
        trainable=(places.weights if whole else places.everywhere)(state.trainable),
        opt_state=_like_weights(places, state) if whole else places.everywhere(state.opt_state))
    frozen = {name: (places.weights if name == 'base' else places.everywhere)(tree)
              for name, tree in frozen.items()}
    arguments = (state, frozen, places.rows(batch, 1 if step.at_once else 0),
                 places.everywhere(key))
    return Program(name, function.trace, arguments, 'step', helps=helps, beside=beside,
                   count=count, same=step)


def _like_weights(places, state):
    """The optimiser's moments, each where its weight lies."""
    shape = jax.tree.structure(state.trainable)
    like = lambda tree: jax.tree.structure(tree) == shape
    return jax.tree.map(lambda part: (places.weights if like(part) else places.everywhere)(part),
                        state.opt_state, is_leaf=like)


def _reference(sizes, name, mesh):
    """A step of the tiny references' pre-training, all side by side."""
    run = sizes.run
    language = run.config.language
    program = engines.Program(OBJECTIVES['sft'].loss, run.world.architectures[name])
    packs = Packs(language.batch_size, -(-run.world.length // 16) * 16,
                  -(-run.world.length // 16) * 16)
    step = Step(program, 'sft', 'all', packs, (), 'float32', 0, language.references)
    return _step(f'reference step ({name})', step, mesh, ('config.language.batch_size',))


def _prepared(run, mesh):
    config, size = run.config, costs.prepared.PACKED
    count = -(-config.prepared.batch_size // size) * size
    step = shapes.lesson_step(run, run.world.architectures['main'], 'all',
                              shapes.carried(config, count, size, 1))
    return _step('reference step (R*)', step, mesh, ('config.prepared.batch_size',))


def _teachers(sizes, name, arm, mesh):
    run = sizes.run
    if not run.together:
        return _step(f'teacher step ({name})', costs.teacher_step(run, arm), mesh,
                     ('config.teacher.batch_size',), shapes.held_by(run) / mesh.size)
    config = run.config.teacher
    program = engines.Program(OBJECTIVES['sft'].loss, run.world.architectures[arm.architecture])
    packs = Packs(-(-config.batch_size // config.packed), 16 * config.packed, 16 * config.packed)
    step = Step(program, 'sft', shapes.trained_of(arm), packs, (), 'float32', 0, sizes.models)
    return _step(f'teacher step ({name})', step, mesh, ('config.teacher.batch_size',))


def _models(sizes, arm, mesh):
    """(trainable, frozen) of models that are read, and the axis in front of them."""
    run, model = sizes.run, shapes.model_of(sizes.run, arm)
    places = Places(mesh, model)
    if run.together:
        params = abstract_params(model)
        stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((sizes.models, *x.shape), x.dtype),
                               params)
        return places.everywhere(stacked), {'base': {}}, places
    own, frozen = shapes.trainable_of(arm.trainable, model, run.config.model.dtype)
    if arm.trainable == 'all':
        return places.weights(own), frozen, places
    return places.everywhere(own), {'base': places.weights(frozen['base'])}, places


def _reader(name, sizes, arm, mesh, function, *shared, over=None, beside=0.0, **static):
    """A function that is read of an arm's students."""
    trainable, frozen, places = _models(sizes, arm, mesh)
    over = tuple(over or [None] * len(shared)) if sizes.run.together else None
    compiled = engines.reader(function, places.model, over, tuple(sorted(static.items())))
    return Program(name, compiled.trace, (trainable, frozen, *places.everywhere(shared)), 'reading',
                   helps=(DTYPE,), beside=beside, same=(function, places.model))


def _meter(sizes):
    """The trait's meter, as shapes."""
    run, packs = sizes.run, sizes.asked
    if run.together:
        real = run.trait.meter(run, run.world.contexts[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), real)
    each = run.trait.size.answers or len(run.world.traits)
    cells = len(run.world.questions) * each
    of = lambda shape, dtype: jax.ShapeDtypeStruct(shape, dtype)
    vocabulary = run.world.architectures['main'].vocab_size
    return answers.Meter(shapes.tries_of(packs), of((cells, 1), jnp.int32), of((cells, 1), bool),
                         of((vocabulary,), bool), of((each,), jnp.int32))


def _targets(sizes, arm, step, mesh):
    run = sizes.run
    packs = step.packs._replace(count=targets.CHUNK[run.together])
    plain = dataclasses.replace(arm, trainable='all')
    return _reader(f'targets ({arm.name})', sizes, plain, mesh, targets.outputs,
                   shapes.tries_of(packs), jax.ShapeDtypeStruct((len(step.ids),), jnp.int32),
                   objective=arm.objective, top=run.config.student.top)


def _alignment(sizes, arm, step, mesh):
    """The gradient of a student's rows by all weights, beside the trait's and the start."""
    run, own = sizes.run, sizes.run.config.student
    packs = step.packs._replace(count=max(1, own.align_rows // own.packed))
    batch = shapes.batch_of(step._replace(packs=packs))
    over = None
    if run.together:
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((sizes.models, *x.shape), x.dtype), batch)
        over = [0]
    beside = 0.0 if run.together else (
        shapes.checks_bytes(run, arm, step) - 2 * shapes.held_by(run, step.program.config)
    ) / mesh.size
    return _reader(f'alignment ({arm.name})', sizes, arm, mesh, engines.mean_gradient, batch,
                   over=over, beside=beside, program=step.program)


def _sampler(sizes, arm, mesh):
    """The sampler's program of a batch: prompts are read, then tokens are drawn one by one."""
    run, config = sizes.run, sizes.run.config
    model = shapes.model_of(run, arm)
    stacked, places = run.together, Places(mesh, model)
    params = abstract_params(model, jnp.float32 if stacked else jnp.dtype(config.model.dtype))
    weights = jax.eval_shape(lambda tree: network.prepare(tree, model), params)
    if stacked:
        weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct((sizes.models, *x.shape), x.dtype),
                               weights)
    rows = buckets.batch_rows(samples.BATCH[stacked], 10**6)
    prefix, own = sizes.prompt
    held = buckets.prompts_held(max(1, rows // config.carrier.per_prompt), rows,
                                config.carrier.per_prompt)
    of = jax.ShapeDtypeStruct
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    if stacked:
        keys = of((sizes.models, rows), keys.dtype)
    prompts = generate.Prompts(
        of((prefix,), jnp.int32), of((held, own), jnp.int32), of((held, own), bool),
        None if held == rows else of((rows,), jnp.int32), of((rows,), bool), keys)
    trace = functools.partial(
        generate.generate.trace, config=model, max_new_tokens=run.world.new_tokens,
        choice=choices.Choice(arm.temperature), stop_ids=tuple(
            getattr(run.world, 'row_stops', (run.world.end_id,))),
        num_models=sizes.models if stacked else None)
    placed = places.everywhere(weights) if stacked else places.prepared(weights)
    return Program(f'sampler ({arm.name})', trace, (placed, places.everywhere(prompts)), 'batch',
                   helps=(DTYPE,), loops=run.world.new_tokens - 1,
                   beside=0.0 if stacked else shapes.held_by(run) / mesh.size,
                   same=(model, arm.temperature))
