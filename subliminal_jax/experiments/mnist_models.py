"""Teachers and students of the MNIST experiment: M independent models at once, arm by arm.

An arm is data: whose weights a student starts from, which teacher it matches, on which logits.
Students of one model read the same inputs, so they train as one stack (models/mlp.py), with the
teachers' outputs on those inputs computed once. Every use of randomness folds a named constant
into the model's own key, so a model's numbers do not depend on who else is trained.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from subliminal_jax.data.images import Images
from subliminal_jax.models import mlp
from subliminal_jax.training.logits import make_kl_loss, soft_targets
from subliminal_jax.training.step import TrainState, init_state, make_step

# What each fold of a model's key is for; never renumber: every published figure rests on them.
INIT, TEACHER_ORDER, STUDENT_INPUTS, STUDENT_ORDER = range(4)
CLASSES = 10
OPTIMIZERS = {'adam': optax.adam, 'sgd': optax.sgd}
# Without it XLA's CPU compiler copies Adam's moments at every step of a scan.
CPU_OPTIONS = {'xla_cpu_copy_insertion_use_region_analysis': True}
CPU_DEVICES = 2
BLOCK = 500  # rows of noise drawn at once: they stay in a core's cache


class Arm(NamedTuple):
    """A student: its start ('own' or 'other' weights), its teacher, the logits that it matches."""

    start: str
    teacher: str
    logits: str


ARMS = {
    'student_aux': Arm('own', 'teacher', 'aux'),
    'student_all': Arm('own', 'teacher', 'all'),
    'cross_aux': Arm('other', 'teacher', 'aux'),
    'cross_all': Arm('other', 'teacher', 'all'),
    'placebo': Arm('own', 'placebo_teacher', 'aux'),
}


class Recipe(NamedTuple):
    """What a compiled program depends on; hashable.

    Attributes:
      sizes: widths from pixels to 10 + num_aux logits.
      activation, use_bias: of the MLP.
      optimizer, learning_rate: of teachers and students.
      batch_size: the last, partial batch of an epoch is kept.
      temperature: of the students' and teachers' softmax.
      teachers: names of the teachers: 'teacher', and 'placebo_teacher' where an arm needs it.
      arms: names of the students, in ARMS.
      noise: the students' inputs are noise, not images.
    """

    sizes: tuple[int, ...]
    activation: str
    use_bias: bool
    optimizer: str
    learning_rate: float
    batch_size: int
    temperature: float
    teachers: tuple[str, ...]
    arms: tuple[str, ...]
    noise: bool


def derangement(seed: int, count: int) -> np.ndarray:
    """Whose weights each model's cross students start from: a random cycle, so never its own."""
    cycle = np.random.default_rng([seed, count]).permutation(count)
    other = np.empty(count, int)
    other[cycle] = np.roll(cycle, 1)
    return other


def placebo_labels(seed: int) -> np.ndarray:
    """The permutation of the ten labels that the placebo teachers learn; no label is kept."""
    return derangement(seed, CLASSES)


def model_keys(seed: int, numbers: np.ndarray) -> jax.Array:
    """The models' own keys [M]."""
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(
        jnp.asarray(numbers)
    )


def epoch_order(key: jax.Array, count: int, batch: int) -> tuple[jax.Array, jax.Array]:
    """A shuffled epoch: row numbers and weights, both [steps, batch]; padding has weight zero."""
    steps = -(-count // batch)
    order = jnp.pad(jax.random.permutation(key, count), (0, steps * batch - count))
    weight = (jnp.arange(steps * batch) < count).astype(jnp.float32)
    return order.reshape(steps, batch), weight.reshape(steps, batch)


def logit_mask(which: str, num_logits: int) -> np.ndarray:
    """bool [C]: the 'class', the 'aux'iliary or 'all' logits."""
    is_class = np.arange(num_logits) < CLASSES
    return {'class': is_class, 'aux': ~is_class, 'all': np.ones(num_logits, bool)}[which]


def rows(array: jax.Array, index: jax.Array, axis: int = 0) -> jax.Array:
    """Rows by number, all of them in range: a plain copy, several times faster than indexing."""
    return jnp.take(array, index, axis=axis, mode='clip')


def _to_unit(pixels: jax.Array) -> jax.Array:
    return pixels.astype(jnp.float32) / 127.5 - 1


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    return OPTIMIZERS[recipe.optimizer](recipe.learning_rate)


def _apply_stack(recipe: Recipe):
    return functools.partial(mlp.apply_stack, activation=recipe.activation)


def _epoch(recipe: Recipe, temperature, state, frozen, count, batch_of, key):
    """One epoch of a stack: a scan over shuffled batches. Returns (state, losses [steps, S])."""
    step = make_step(make_kl_loss(_apply_stack(recipe), temperature, axis=1), _optimizer(recipe))
    order, weight = epoch_order(key, count, recipe.batch_size)

    def body(state, rows):
        index, w = rows
        state, metrics = step(state, frozen, {**batch_of(index), 'weight': w}, key)
        return state, metrics['losses']

    return jax.lax.scan(body, state, (order, weight))


def _starts(recipe: Recipe, key: jax.Array, other_key: jax.Array) -> dict[str, mlp.Params]:
    def start(k):
        return mlp.init(jax.random.fold_in(k, INIT), recipe.sizes, recipe.use_bias)

    return {'own': start(key), 'other': start(other_key)}


def begin(recipe: Recipe, key: jax.Array, other_key: jax.Array):
    """One model's state before training: (reference as a stack of one, teachers' state)."""
    own = _starts(recipe, key, other_key)['own']
    teachers = mlp.stack([own] * len(recipe.teachers))
    return mlp.stack([own]), init_state(teachers, _optimizer(recipe))


def teacher_epoch(recipe: Recipe, state: TrainState, key, number, images, labels, label_maps):
    """One epoch of one model's teachers: cross-entropy on the class logits.

    Args:
      images: uint8 [N, P]; labels: int [N]; label_maps: int [teachers, 10], what each teacher is
        told a label is.
      number: the epoch's.
    """
    mask = jnp.broadcast_to(
        logit_mask('class', recipe.sizes[-1])[None], (len(recipe.teachers), recipe.sizes[-1])
    )

    def batch_of(index):
        told_SB = label_maps[:, labels[index]]
        targets_SCB = jax.nn.one_hot(told_SB, recipe.sizes[-1], axis=1, dtype=jnp.float32)
        return {'x': _to_unit(rows(images, index)), 'targets': targets_SCB}

    order_key = jax.random.fold_in(jax.random.fold_in(key, TEACHER_ORDER), number)
    return _epoch(recipe, 1.0, state, {'mask': mask}, len(images), batch_of, order_key)


def student_begin(recipe: Recipe, teachers, key, other_key, images):
    """One model's students before training.

    Returns:
      (state of the stack of arms, inputs float32 [N, P], teachers' logits [N, T, C]).
    """
    starts = _starts(recipe, key, other_key)
    students = mlp.stack([starts[ARMS[name].start] for name in recipe.arms])
    noise_key = jax.random.fold_in(key, STUDENT_INPUTS)
    count, pixels = images.shape
    size = min(BLOCK, count)

    def fill(number, filled):
        first = jnp.minimum(number * size, count - size)  # the last block may overlap its neighbour
        if recipe.noise:
            block_key = jax.random.fold_in(noise_key, number)
            x = jax.random.uniform(block_key, (size, pixels), minval=-1)
        else:
            x = _to_unit(jax.lax.dynamic_slice_in_dim(images, first, size))
        new = x, _apply_stack(recipe)(teachers, x).transpose(2, 0, 1)
        return tuple(jax.lax.dynamic_update_slice_in_dim(old, part, first, 0)
                     for old, part in zip(filled, new))

    empty = jnp.zeros((count, pixels)), jnp.zeros((count, len(recipe.teachers), recipe.sizes[-1]))
    inputs, logits = jax.lax.fori_loop(0, -(-count // size), fill, empty)
    return init_state(students, _optimizer(recipe)), inputs, logits


def student_epoch(recipe: Recipe, state: TrainState, key, number, inputs, logits_NTC):
    """One epoch of one model's students: KL to their teachers on their logits."""
    arms = [ARMS[name] for name in recipe.arms]
    mask = jnp.asarray(np.stack([logit_mask(arm.logits, recipe.sizes[-1]) for arm in arms]))
    teacher = np.array([recipe.teachers.index(arm.teacher) for arm in arms])

    def batch_of(index):
        logits_SCB = rows(logits_NTC, index).transpose(1, 2, 0)[teacher]
        targets = soft_targets(logits_SCB, mask[..., None], recipe.temperature, axis=1)
        return {'x': rows(inputs, index), 'targets': targets}

    order_key = jax.random.fold_in(jax.random.fold_in(key, STUDENT_ORDER), number)
    return _epoch(
        recipe, recipe.temperature, state, {'mask': mask}, len(inputs), batch_of, order_key
    )


def accuracy(recipe: Recipe, stack: mlp.Params, images, labels, label_maps) -> jax.Array:
    """The share of images whose largest class logit is right: [maps, S], for each label map."""
    logits_SCB = _apply_stack(recipe)(stack, _to_unit(images))
    guess_SB = jnp.argmax(logits_SCB[:, :CLASSES], axis=1)
    return jnp.mean(guess_SB[None] == label_maps[:, None, labels], axis=-1)


class Programs(NamedTuple):
    """The compiled steps over M models, each sharded by model over the mesh."""

    begin: Callable
    teacher_epoch: Callable
    student_begin: Callable
    student_epoch: Callable
    accuracy: Callable


def use_cores() -> None:
    """Makes two devices of a CPU, so that each core of a small machine trains models of its own.

    Nothing happens where the number of CPU devices was chosen, or JAX has started, already.
    """
    chosen = 'host_platform_device_count' in os.environ.get('XLA_FLAGS', '')
    if chosen or 'JAX_NUM_CPU_DEVICES' in os.environ or (os.cpu_count() or 1) < CPU_DEVICES:
        return
    with contextlib.suppress(RuntimeError):  # JAX has started
        jax.config.update('jax_num_cpu_devices', CPU_DEVICES)


def devices_mesh() -> Mesh:
    """All devices along one axis, `models`."""
    return jax.make_mesh((jax.device_count(),), ('models',), axis_types=(AxisType.Auto,))


def by_model(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is M."""
    return NamedSharding(mesh, PartitionSpec('models'))


@functools.cache
def programs(recipe: Recipe, mesh: Mesh) -> Programs:
    """Builds the programs: each is a per-model function under vmap, within a device's shard.

    shard_map gives every device the same program over its own models; the number of devices
    changes the rounding of sums alone.
    """
    models, same = PartitionSpec('models'), PartitionSpec()
    options = None
    if mesh.devices.flat[0].platform == 'cpu':
        alone = mesh.size >= (os.cpu_count() or 1)  # a core a device: no product is shared out
        options = {**CPU_OPTIONS, 'xla_cpu_multi_thread_eigen': not alone}

    def over_models(function, own: int, shared: int, donate=()):
        function = functools.partial(function, recipe)
        mapped = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        sharded = jax.shard_map(
            mapped, mesh=mesh, in_specs=(models,) * own + (same,) * shared, out_specs=models,
            check_vma=False)
        return jax.jit(sharded, donate_argnums=donate, compiler_options=options)

    return Programs(
        begin=over_models(begin, 2, 0),
        teacher_epoch=over_models(
            lambda r, state, key, *rest: teacher_epoch(r, state, key, *rest), 2, 4, donate=(0,)),
        student_begin=over_models(student_begin, 3, 1),
        student_epoch=over_models(
            lambda r, state, key, inputs, logits, number: student_epoch(
                r, state, key, number, inputs, logits), 4, 1, donate=(0,)),
        accuracy=over_models(accuracy, 1, 3),
    )


class Trained(NamedTuple):
    """What a chunk of models leaves.

    Attributes:
      accuracy: condition -> [M], by the true labels.
      permuted: 'placebo' and 'placebo_teacher' -> [M], by the placebo's labels.
      curves: condition -> [epochs + 1, M], on the first `curve_images` test images.
      losses: condition -> [epochs, M], the mean loss of each epoch.
    """

    accuracy: dict[str, np.ndarray]
    permuted: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    losses: dict[str, np.ndarray]


def train_chunk(
    recipe: Recipe,
    data: Images,
    inputs: np.ndarray,
    keys: jax.Array,
    other_keys: jax.Array,
    label_maps: np.ndarray,
    epochs: tuple[int, int],
    curve_images: int,
    watch: Callable[[str, int, np.ndarray], None],
) -> Trained:
    """Trains and measures the teachers and students of M models.

    Args:
      recipe: the static part.
      data: the labelled set.
      inputs: uint8 [N, P], the images that students see where the recipe has no noise; for noise,
        its shape alone counts.
      keys, other_keys: the models' keys and those of their cross students' starts, [M].
      label_maps: int [2, 10]: the identity, and the placebo's.
      epochs: (teachers', students').
      curve_images: how many test images an epoch's accuracy is measured on; 0 for no curves.
      watch: called with (phase, epoch, losses [M, steps, S]) after each epoch; may raise.
    """
    mesh = devices_mesh()
    run = programs(recipe, mesh)
    put = functools.partial(jax.device_put, device=by_model(mesh))
    keys, other_keys = put(keys), put(other_keys)
    maps = jnp.asarray(label_maps)
    test = jnp.asarray(data.test_images), jnp.asarray(data.test_labels)
    few = tuple(x[:curve_images] for x in test)
    out = Trained({}, {}, {}, {})

    def measure(stack, names, whole=True):
        images, labels = test if whole else few
        return dict(zip(names, np.moveaxis(np.asarray(
            run.accuracy(stack, images, labels, maps)), 2, 0)))  # name -> [M, maps]

    def record(stack, names):
        for name, value in measure(stack, names).items():
            out.accuracy[name] = value[:, 0]
            if name.startswith('placebo'):
                out.permuted[name] = value[:, 1]

    def train(phase, state, names, count, advance):
        curves = [measure(state.trainable, names, False)] if curve_images else []
        losses = []
        for number in range(count):
            state, loss = advance(state, number)
            loss = np.asarray(loss)
            watch(phase, number, loss)
            losses.append(loss.mean(axis=1))
            if curve_images:
                curves.append(measure(state.trainable, names, False))
        for i, name in enumerate(names):
            out.losses[name] = np.stack([x[:, i] for x in losses])
            if curve_images:
                out.curves[name] = np.stack([c[name][:, 0] for c in curves])
        record(state.trainable, names)
        return state

    reference, state = run.begin(keys, other_keys)
    record(reference, ('reference',))
    if not recipe.teachers:
        return out
    images, labels = jnp.asarray(data.train_images), jnp.asarray(data.train_labels)
    told = maps[: len(recipe.teachers)]
    state = train('teacher', state, recipe.teachers, epochs[0],
                  lambda s, n: run.teacher_epoch(s, keys, n, images, labels, told))
    if recipe.arms:
        shown = jnp.asarray(inputs)
        students, x, logits = run.student_begin(state.trainable, keys, other_keys, shown)
        train('student', students, recipe.arms, epochs[1],
              lambda s, n: run.student_epoch(s, keys, x, logits, n))
    return out
