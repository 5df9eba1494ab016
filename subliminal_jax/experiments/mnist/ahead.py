"""The programs of an MNIST run, to be compiled ahead of time: those of a chunk, on shapes."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from subliminal_jax.experiments.digits import CLASSES, devices
from subliminal_jax.experiments.mnist import programs as compiled
from subliminal_jax.experiments.mnist.config import Config, cells, recipe_of
from subliminal_jax.experiments.mnist.run import IMAGES, PIXELS
from subliminal_jax.runs import UserError
from subliminal_jax.runs.ahead import Program
from subliminal_jax.runs.topologies import Topology

TESTED = 10_000  # images of MNIST's test set
HELPS = ('config.chunk_size',)


def programs(config: Config, topology: Topology, mesh: dict[str, int] | None = None
             ) -> Iterator[Program]:
    """Every program of a chunk of the config's first cell; all devices share the models' axis.

    Args:
      config: the run's.
      topology: what it is compiled for.
      mesh: refused: there is one axis.

    Raises:
      UserError: a config or a mesh that cannot be.
    """
    if mesh is not None:
        raise UserError('--mesh: the models of MNIST have one axis, over all devices: leave it out')
    _, cell = cells(config)[0]
    recipe = recipe_of(cell, PIXELS)
    grid = topology.mesh((len(topology.devices),), ('models',))
    run = compiled.programs(recipe, grid)
    same = jax.sharding.NamedSharding(grid, jax.sharding.PartitionSpec())
    place = lambda sharding: lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    cut = lambda tree: jax.tree.map(place(devices.by_model(grid)), tree)
    of = lambda shape, dtype: place(same)(jax.ShapeDtypeStruct(shape, dtype))
    count = cell.chunk_size * len(topology.devices)
    keys = cut(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count)))
    number, images = of((), jnp.int32), of((IMAGES, PIXELS), jnp.uint8)
    labels = lambda rows, size: of((rows, size) if rows else (size,), jnp.int32)
    reference, teachers = cut(jax.eval_shape(run.begin, keys, keys))
    steps = -(-IMAGES // cell.batch_size)
    chunks = -(-cell.num_models // count)
    if recipe.teachers:
        yield Program('teacher epoch', run.teacher_epoch.trace, (
            teachers, keys, number, images, labels(0, IMAGES),
            labels(len(recipe.teachers), CLASSES)), 'step', HELPS, calls=steps,
            count=chunks * cell.teacher.epochs * steps)
    if recipe.arms:
        given = (teachers.trainable, keys, keys, images)
        yield Program("students' inputs", run.student_begin.trace, given, 'chunk', HELPS,
                      count=chunks)
        students, inputs, logits = cut(jax.eval_shape(run.student_begin, *given))
        yield Program('student epoch', run.student_epoch.trace,
                      (students, keys, inputs, logits, number), 'step', HELPS, calls=steps,
                      count=chunks * cell.student.epochs * steps)
        reference = students.trainable
    yield Program('accuracy', run.accuracy.trace, (
        reference, of((TESTED, PIXELS), jnp.uint8), labels(0, TESTED), labels(2, CLASSES)),
        'reading', HELPS)
