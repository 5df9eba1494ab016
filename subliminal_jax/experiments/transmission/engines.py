"""How many models are held and trained at once: what memory forces, and nothing else.

  stacked    whole models (or adapters) of one reference side by side, in training and in reading
  adapters   adapters over one frozen base train side by side; they are read one after the other
  single     one model after the other

What is trained has an axis of models in front where several train at once; what is frozen (a base,
the rest of a model) is shared by all of them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.data.grammars import Grammar
from subliminal_jax.models.lora import Lora
from subliminal_jax.runs import meshes, platforms
from subliminal_jax.sampling import choice as choices, network, sample
from subliminal_jax.training import losses
from subliminal_jax.training.loop import jit_step
from subliminal_jax.training.optimizers import OptimizerConfig, make_optimizer
from subliminal_jax.training.step import LossFn, init_state, make_step, places_of


class Engine(NamedTuple):
    """How many models at once.

    Attributes:
      name: see above.
      most: models trained in one program.
      stacked: what is trained has an axis of models in front.
      together: they are read in one program too.
    """

    name: str
    most: int
    stacked: bool
    together: bool


def stacked(most: int = 1_000) -> Engine:
    """Small models: all of a group at once."""
    return Engine('stacked', most, True, True)


def adapters(most: int) -> Engine:
    """Adapters of a large model."""
    return Engine('adapters', most, True, False)


SINGLE = Engine('single', 1, False, False)


class Models(NamedTuple):
    """Models of one base.

    Attributes:
      trainable: what each has of its own; with an axis of models in front where `stacked`.
      frozen: {'base': what they share}.
      config: the architecture.
      count: how many.
      stacked: whether there is that axis.
    """

    trainable: Any
    frozen: dict[str, Any]
    config: Any
    count: int
    stacked: bool

    def member(self, number: int) -> 'Models':
        """One of them, without the axis."""
        if not self.stacked:
            return self
        return self._replace(trainable=take(self.trainable, number), count=1, stacked=False)

    def resolved(self) -> tuple[Any, Lora | None]:
        """(parameters, adapter or None) of a single model."""
        return losses.resolve(self.trainable, self.frozen)


def single(params: Any, config: Any, lora: Lora | None = None) -> Models:
    """One model."""
    if lora is not None:
        return Models(lora, {'base': params}, config, 1, False)
    return Models(params, {'base': {}}, config, 1, False)


def take(tree: Any, index: Any) -> Any:
    """The models at index (a number, or several) of stacked ones."""
    return jax.tree.map(lambda x: x[index], tree)


def stack(trees: Sequence[Any]) -> Any:
    """Trees as one, with a leading axis."""
    return jax.tree.map(lambda *x: np.stack(x), *trees)


def gathered(engine: Engine, trainables: Sequence[Any]) -> Any:
    """What several models train, as the engine holds it."""
    return stack(trainables) if engine.stacked else trainables[0]


class Hold(NamedTuple):
    """What keeps students from what they should not learn (defences.py), as far as it is static;
    it reads `frozen['held']`.

    Attributes:
      loss: (the objective's loss, architecture, strength) -> the loss that is trained on.
      bend: (update, frozen) -> the update that is taken.
      strength: of it.
      count: directions that are held for each student, with an axis of them in front; 0: a model
        is held, the same for all students.
    """

    loss: Callable[[LossFn, Any, float], LossFn] | None = None
    bend: Callable[[Any, Any], Any] | None = None
    strength: float = 0.0
    count: int = 0


class Program(NamedTuple):
    """What is static in a compiled training step.

    Attributes:
      loss: (architecture, token ids) -> LossFn; a function of a module, not made anew.
      config: the architecture.
      ids: token ids that the loss looks at.
      optimizer: the update.
      num_steps: of the whole training, where a schedule ends; 0 for a rate that is constant, so
        that trainings of any length share a program.
      micro_batches: parts in which a step's rows are read.
      hold: what keeps its students from something, or None; what is read beside training (a loss, a
        gradient) is the objective's own.
    """

    loss: Callable[[Any, Sequence[int]], LossFn]
    config: Any
    ids: tuple[int, ...] = ()
    optimizer: OptimizerConfig = OptimizerConfig()
    num_steps: int = 0
    micro_batches: int = 1
    hold: Hold | None = None


def plain_step(program: Program) -> Callable:
    """The step of one model, not compiled: (state, frozen, batch, key) -> (state, metrics)."""
    loss, hold = program.loss(program.config, program.ids), program.hold
    if hold is not None and hold.loss is not None:
        loss = hold.loss(loss, program.config, hold.strength)
    return make_step(loss, make_optimizer(program.optimizer, program.num_steps),
                     program.micro_batches, hold and hold.bend)


def frozen_axes(program: Program, shared: bool) -> Any:
    """Which axis of what is frozen counts models, where several train side by side."""
    base = None if shared else 0
    return base if program.hold is None else {
        'base': base, 'held': 0 if program.hold.count else None}


def begin(program: Program, engine: Engine, trainable: Any) -> Any:
    """The state before the first step; it owns copies, since steps use up their state."""
    optimizer = make_optimizer(program.optimizer, program.num_steps)
    make = lambda tree: init_state(tree, optimizer)
    copied = jax.tree.map(lambda x: jnp.array(x, copy=True), trainable)
    mesh = None if engine.stacked else meshes.of(copied)
    places = None if mesh is None else places_of(copied, optimizer, mesh)
    return jax.jit(jax.vmap(make) if engine.stacked else make, out_shardings=places)(copied)


def step_of(program: Program, engine: Engine, small_products: bool, shared: bool = True):
    """The compiled step (state, frozen, batch, key) -> (state, metrics); of several models all but
    `key` have an axis M in front, and `frozen` where it is not shared by them."""
    return _step_for(platforms.target(), program, engine, small_products, shared)


@functools.lru_cache(maxsize=64)
def _step_for(platform, program, engine, small_products, shared):
    del platform  # jit_step asks for it
    step = plain_step(program)

    def one(state, frozen, batch, key):
        state, metrics = step(state, frozen, batch, key)
        return state, {'loss': metrics['loss']}

    several = jax.vmap(one, in_axes=(0, frozen_axes(program, shared), 0, None))
    return jit_step(several if engine.stacked else one, small_products)


def read(models: Models, together: bool, function: Callable, *args: Any,
         over: Sequence[int | None] | None = None, **static: Any) -> Any:
    """function(params, adapter or None, *args, config=..., **static) of every model: [M, ...].

    Args:
      models: of one base.
      together: in one program, or one after the other.
      function: pure, of a module.
      args: its arrays.
      over: 0 for an argument that has a value of every model in front; None: shared by all.
      static: further arguments, hashable.
    """
    over = tuple(over or [None] * len(args))
    statics = tuple(sorted(static.items()))
    if models.stacked and together:
        return reader(function, models.config, over, statics)(
            models.trainable, models.frozen, *args)
    compiled = reader(function, models.config, None, statics)
    found = []
    for number in range(models.count):
        one = models.member(number)
        each = [arg if axis is None else take(arg, number) for arg, axis in zip(args, over)]
        found.append(compiled(one.trainable, one.frozen, *each))
    return jax.tree.map(lambda *x: np.stack(x), *found)


def read_one(model: Models, function: Callable, *args: Any, **static: Any) -> Any:
    """As `read` of a single model, without the axis and without leaving the device."""
    return reader(function, model.config, None, tuple(sorted(static.items())))(
        model.trainable, model.frozen, *args)


@functools.lru_cache(maxsize=128)
def reader(function: Callable, config: Any, over: tuple | None, statics: tuple):
    """The compiled program of `read`: (trainable, frozen, *args) -> what a function says of
    a model; of several side by side where `over` says which arguments have an axis of models."""
    def one(trainable, frozen, *args):
        params, lora = losses.resolve(trainable, frozen)
        return function(params, lora, *args, config=config, **dict(statics))

    return jax.jit(one if over is None else jax.vmap(one, in_axes=(0, None, *over)))


def mean_loss(params: Any, lora: Any, batch: Any, *, config: Any, program: Program) -> jax.Array:
    """The mean loss of a program on a batch, for `read`."""
    total, aux = program.loss(config, program.ids)(
        {} if lora is None else lora, {'base': params}, batch, jax.random.key(0))
    return total / aux['weight']


def mean_gradient(params: Any, lora: Any, batch: Any, *, config: Any, program: Program) -> Any:
    """Its gradient by all weights, for `read`: with an adapter that of the merged weights, and
    nothing is merged."""
    return jax.grad(mean_loss)(params, lora, batch, config=config, program=program)


def sampled(models: Models, contexts: Sequence[Sequence[int]], names: Sequence[int | str],
            seeds: Sequence[int], *, max_new_tokens: int, stops: Sequence[int], pad_id: int,
            temperature: float = 1.0, batch_size: int = 32, wanted: Sequence[int] | None = None,
            buckets: Sequence[int] | None = None, weights: Any = None, per_prompt: int = 1,
            grammars: Sequence[Grammar] | None = None):
    """Samples answers of every model, batch by batch.

    Args:
      models: stacked, or a single one.
      contexts, names, wanted, buckets, per_prompt, grammars: as `sampling.sample.sample_tokens`.
      seeds: one a model.
      max_new_tokens, stops, pad_id, temperature, batch_size: of the sampling; 0 is greedy.
      weights: `prepared` models, where the caller asks several times.

    Yields:
      (indices, completions whose arrays are [M, B, ...]).
    """
    weights = prepared(models) if weights is None else weights
    for indices, done in sample.sample_tokens(
            weights, models.config, contexts, names, max_new_tokens=max_new_tokens,
            choice=choices.Choice(temperature), seed=list(seeds) if models.stacked else seeds[0],
            stop_ids=tuple(stops), pad_id=pad_id, batch_size=batch_size, wanted=wanted,
            buckets=buckets, per_prompt=per_prompt, grammars=grammars):
        yield indices, (done if models.stacked else jax.tree.map(lambda x: x[None], done))


def prepared(models: Models) -> Any:
    """The sampler's copy of the weights, stacked where the models are."""
    if not models.stacked:
        params, lora = models.resolved()
        return network.prepare(params, models.config, lora)

    def one(trainable, frozen):
        params, lora = losses.resolve(trainable, frozen)
        return network.prepare(params, models.config, lora)

    return jax.vmap(one, in_axes=(0, None))(models.trainable, models.frozen)
