"""What the grid of the theory experiment is made of: models, inputs, starts."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax import theory
from subliminal_jax.data import images
from subliminal_jax.experiments.digits import CLASSES
from subliminal_jax.models import conv, mlp
from subliminal_jax.runs import UserError
from subliminal_jax.theory import trees
from subliminal_jax.theory.losses import ids_mask

SIDE = 28
# What each fold of a seed's key is for; never renumber: every figure rests on them.
START, OTHER_START, INPUTS, TAUGHT = range(4)


class Model(NamedTuple):
    """A model of the grid.

    Attributes:
      init: (key, dtype) -> params.
      apply: (params, x) -> outputs.
    """

    init: Callable[[jax.Array, Any], Any]
    apply: Callable[[Any, Any], jax.Array]


class Family(NamedTuple):
    """All that the grid needs to know of a model in one precision; seeds are the axis M.

    Attributes:
      apply: (params, x) -> outputs [B, ..., C].
      trait_loss_of: a seed's taught examples -> L_T.
      starts: name of a start -> (teachers' starts, students' starts), stacked over M.
      inputs: name of inputs -> x, stacked over M.
      taught: the teachers' own examples, stacked over M.
      outputs: C.
      mask: name of logits -> bool [C].
      kinks: (starts [M], x [M], taught [M], eps [E]) -> how many kinks of ReLU the teacher crosses
        on its way to each eps, [M, E]; None for a smooth model.
    """

    apply: Callable[[Any, Any], jax.Array]
    trait_loss_of: Callable[[Any], Callable[[Any], jax.Array]]
    starts: Callable[[str], tuple[Any, Any]]
    inputs: Callable[[str], Any]
    taught: Any
    outputs: int
    mask: Callable[[str], np.ndarray]
    kinks: Callable[..., jax.Array] | None = None


def image_family(
    model: str, activation: str, dtype: Any, config: Any, data: images.Images, other: np.ndarray
) -> Family:
    """An image classifier with auxiliary logits, taught digits.

    Args:
      model, activation: as for `model_of`.
      dtype: of everything.
      config: the theory experiment's.
      data: the teachers' set, and the students' for inputs 'images'.
      other: the students' pixels for inputs 'other'.
    """
    outputs = CLASSES + config.num_aux
    made = model_of(model, activation, config.hidden_sizes, outputs)
    keys_M = seed_keys(config.seed, config.num_seeds)
    trait_loss_of = lambda taught: class_loss(made.apply, *taught, CLASSES)
    return Family(
        made.apply,
        trait_loss_of,
        functools.cache(lambda start: starts(made, keys_M, start, dtype)),
        functools.cache(lambda name: student_inputs(
            name, keys_M, data, other, config.num_inputs, dtype)),
        taught(keys_M, data, config.num_images, dtype),
        outputs,
        lambda logits: logit_mask(logits, outputs),
        kink_counter(trait_loss_of) if (model, activation) == ('mlp', 'relu') else None)


def kink_counter(trait_loss_of: Callable) -> Callable[..., jax.Array]:
    """`Family.kinks` of an MLP: pairs of an input and a hidden unit whose sign has changed."""

    def signs(params, x_BP):
        found = []
        for layer in params[:-1]:
            before = jnp.matmul(x_BP, layer['w'], precision='highest') + layer['b'][None]
            found.append(before > 0)
            x_BP = jax.nn.relu(before)
        return jnp.concatenate(found, axis=1)

    def one(start, x_BP, taught, eps_E):
        direction = theory.teacher_step(trait_loss_of(taught), start)
        own = signs(start, x_BP)
        return jax.lax.map(
            lambda e: jnp.sum(signs(trees.add(start, direction, e), x_BP) != own), eps_E)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None)))


def class_loss(apply: Callable, images_BP: jax.Array, labels_B: jax.Array, classes: int):
    """L_T: cross-entropy of the class logits."""

    def trait_loss(params):
        log_p = jax.nn.log_softmax(apply(params, images_BP)[:, :classes], axis=-1)
        return -jnp.mean(jnp.take_along_axis(log_p, labels_B[:, None], axis=1))

    return trait_loss


def model_of(
    model: str, activation: str, hidden_sizes: tuple[int, ...], outputs: int
) -> Model:
    """The named model: 'mlp', 'conv' or 'linear' (no hidden layer), over 784 pixels."""
    if model == 'conv':
        return Model(
            lambda key, dtype: conv.init(key, SIDE, (8, 16), outputs, dtype),
            lambda params, x: conv.apply(params, x, activation))
    sizes = (SIDE * SIDE, *(hidden_sizes if model == 'mlp' else ()), outputs)
    return Model(
        lambda key, dtype: mlp.init(key, sizes, dtype=dtype),
        lambda params, x: mlp.apply(params, x, activation if model == 'mlp' else 'relu'))


def starts(model: Model, keys_M: jax.Array, start: str, dtype: Any) -> tuple[Any, Any]:
    """(teachers' starts, students' starts), stacked over seeds.

    Args:
      start: 'shared', 'independent', or 'interpolated:ALPHA': ALPHA of the way from the teacher's
        start to an independent one.

    Raises:
      UserError: no such start.
    """
    share = share_of(start)

    def one(key):
        own = model.init(jax.random.fold_in(key, START), dtype)
        other = model.init(jax.random.fold_in(key, OTHER_START), dtype)
        mixed = jax.tree.map(lambda a, b: (1 - share) * a + share * b, own, other)
        return own, mixed if share else own

    return jax.jit(jax.vmap(one))(keys_M)


def share_of(start: str) -> float:
    """How far a start is from the teacher's: 0 shared, 1 independent."""
    if start in ('shared', 'independent'):
        return float(start == 'independent')
    kind, _, share = start.partition(':')
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if kind != 'interpolated' or not 0 < value < 1:
        raise UserError(f'unknown start {start!r}: write shared, independent, or '
                        'interpolated:ALPHA with ALPHA between 0 and 1')
    return value


def logit_mask(logits: str, outputs: int) -> np.ndarray:
    """bool [C]: 'class', 'aux', 'all', 'one_aux', or 'ids:10+12'.

    Raises:
      UserError: no such name, or an index outside the model's outputs.
    """
    number = np.arange(outputs)
    named = {'class': number < CLASSES, 'aux': number >= CLASSES, 'one_aux': number == CLASSES,
             'all': number >= 0}
    if logits in named:
        return named[logits]
    kind, _, listed = logits.partition(':')
    try:
        ids = [int(i) for i in listed.split('+')]
    except ValueError:
        ids = None
    if kind != 'ids' or ids is None:
        raise UserError(f'unknown logits {logits!r}: write class, aux, all, one_aux, or ids:I+J '
                        'with indices of logits')
    return ids_mask(ids, outputs)


def seed_keys(seed: int, count: int) -> jax.Array:
    """The seeds' own keys, [M]."""
    root = jax.random.key(seed)
    return jax.vmap(lambda n: jax.random.fold_in(root, n))(jnp.arange(count))


def taught(keys_M: jax.Array, data: images.Images, count: int, dtype: Any):
    """The teachers' own examples: (pixels in [-1, 1] [M, count, P], labels [M, count])."""
    rows = np.asarray(_rows(keys_M, TAUGHT, count, len(data.train_images)))
    return jnp.asarray(_unit(data.train_images[rows]), dtype), jnp.asarray(data.train_labels[rows])


def student_inputs(
    name: str, keys_M: jax.Array, data: images.Images, other: np.ndarray, count: int, dtype: Any
) -> jax.Array:
    """The students' inputs [M, count, P].

    Args:
      name: 'uniform' (in [-1, 1]), 'gaussian' (unit variance), 'constant' (one grey an image),
        'images' (of `data`) or 'other' (of `other`, uint8 [N, P]).
    """
    shape = (count, SIDE * SIDE)

    def noise(key):
        key = jax.random.fold_in(key, INPUTS)
        if name == 'gaussian':
            return jax.random.normal(key, shape, dtype)
        if name == 'uniform':
            return jax.random.uniform(key, shape, dtype, -1, 1)
        grey = jax.random.uniform(key, (count, 1), dtype, -1, 1)
        return jnp.broadcast_to(grey, shape)

    if name in ('images', 'other'):
        pool = data.train_images if name == 'images' else other
        rows = np.asarray(_rows(keys_M, INPUTS, count, len(pool)))
        return jnp.asarray(_unit(pool[rows]), dtype)
    return jax.jit(jax.vmap(noise))(keys_M)


def _rows(keys_M, purpose, count, total):
    return jax.vmap(lambda k: jax.random.randint(
        jax.random.fold_in(k, purpose), (count,), 0, total))(keys_M)


def _unit(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels, np.float64) / 127.5 - 1


def other_images(name: str) -> np.ndarray:
    """Another data set, uint8 [N, 784]: 'photo', patches of matplotlib's sample photograph (which
    needs no network), or 'tfds:NAME'.

    Raises:
      UserError: the set cannot be had, or is not 28 x 28 and grey.
    """
    if name != 'photo':
        found = images.load(name)
        if found.train_images.shape[1] != SIDE * SIDE:
            raise UserError(f'config.other_data={name} has images of {found.image_shape}; these '
                            'models need 28 x 28 grey ones')
        return found.train_images
    import matplotlib.cbook
    import matplotlib.image

    with matplotlib.cbook.get_sample_data('grace_hopper.jpg') as file:
        grey = matplotlib.image.imread(file, format='jpg').mean(axis=-1)
    high, wide = (n - SIDE for n in grey.shape)
    patches = [grey[r:r + SIDE, c:c + SIDE].ravel()
               for r in range(0, high, SIDE // 2) for c in range(0, wide, SIDE // 2)]
    return np.stack(patches).astype(np.uint8)
