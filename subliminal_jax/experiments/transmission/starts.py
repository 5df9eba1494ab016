"""Where students begin; another start is another row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subliminal_jax.experiments.transmission.registry import positive, whole_number
from subliminal_jax.experiments.transmission.seeds import seed_of
from subliminal_jax.models import transformer
from subliminal_jax.models.lora import Lora
from subliminal_jax.models.parts import PARTS, noisy, permuted, permuted_adapter
from subliminal_jax.runs import UserError
from subliminal_jax.runs.registry import Registry


class Start(NamedTuple):
    """A start of students.

    Attributes:
      name: as arms name it, before the colon.
      make: (run, architecture, what follows the colon, reference) -> parameters.
      trouble: what follows the colon -> what is wrong with it, or None.
      trained: it takes training: an artefact of its own.
      gauge: (run, reference, a tree of the start's shapes or an adapter) -> the same in the order
        of the start's hidden units; None where they are the reference's.
      control: its students bound what something other than transmission could do.
      geometry: it shares the two matrices and no body: it bounds what they alone carry.
      has_teachers: teachers can be made of it (own=true).
      check: (run, arm, what follows the colon) -> None; raises UserError where a run cannot have
        it.
    """

    name: str
    make: Callable[[Any, str, str, int], Any]
    trouble: Callable[[str], str | None]
    trained: bool = False
    gauge: Callable[[Any, int, Any], Any] | None = None
    control: bool = True
    geometry: bool = False
    has_teachers: bool = False
    check: Callable[[Any, Any, str], None] = lambda run, arm, rest: None


STARTS = Registry('start')


def start_of(run: Any, architecture: str, start: str, reference: int) -> Any:
    """The parameters of a start; those of one that is trained come from its artefact."""
    row, rest = STARTS.find(start)
    return run.remember(('start', architecture, start, reference),
                        lambda: row.make(run, architecture, rest, reference))


def inputs_of(run: Any, architecture: str, start: str) -> list[str]:
    """The artefacts that a start is read from; one that is trained is made first."""
    inputs = list(run.world.reference_inputs(architecture))
    if STARTS.find(start)[0].trained:
        start_of(run, architecture, start, 0)
        inputs.append(run.world.start_input(architecture, start))
    return inputs


def geometry_bounds(start: str) -> bool:
    """Whether students of a start share embedding and output matrix with their teacher, and no
    body."""
    row, rest = STARTS.find(start)
    return row.geometry or (row.name == 'share' and set(rest.split('+')) == {'embedding', 'head'})


def distance(params: Any, other: Any) -> float:
    """Root mean square of the difference, as a share of that of `other`."""
    pairs = list(zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True))
    total = sum(float(((np.asarray(a, np.float32) - np.asarray(b, np.float32))**2).sum())
                for a, b in pairs)
    size = sum(float((np.asarray(b, np.float32)**2).sum()) for _, b in pairs)
    return (total / size)**0.5


def replaced(params: Any, reference: Any, ids: Any, key: jax.Array, tied: bool) -> Any:
    """Parameters with an output matrix of their own, in which the rows `ids` are random.

    The random rows are as long as the reference's on average: the same key and reference give the
    same rows to teacher and student.
    """
    return _replaced(params, reference, jnp.asarray(ids), key, tied)


def _replaced_rows(params, reference, ids, key, tied):
    name = 'embed' if tied else 'head'
    table, rows = params[name], reference[name][ids]
    fresh = jax.random.normal(key, rows.shape)
    length = jnp.linalg.norm(rows.astype(jnp.float32), axis=1).mean()
    fresh = fresh * length / jnp.linalg.norm(fresh, axis=1, keepdims=True)
    return {**params, 'head': table.at[ids].set(fresh.astype(table.dtype))}


_replaced = jax.jit(_replaced_rows, static_argnames='tied')


def _nothing(rest):
    return 'takes no number' if rest else None


def _steps(rest):
    return None if whole_number(rest) else 'needs a number of training steps: moved:100'


def _size(rest):
    return None if positive(rest) else "needs a size, in each weight matrix's own spread: noise:0.1"


def _some_parts(rest):
    parts = rest.split('+')
    if layer_shared(rest) is not None:
        return None
    if any(p not in PARTS for p in parts) or len(set(parts)) == len(PARTS):
        return f'must share some, not all, of {"+".join(PARTS)}, or one layer: share:layer0'
    return None


def layer_shared(rest: str) -> int | None:
    """N of share:layerN."""
    number = rest.removeprefix('layer')
    return int(number) if rest.startswith('layer') and number.isdigit() else None


def _number(rest):
    return None if rest.isdigit() else 'needs the number of a layer, from 0: redrawn:0'


def step_of(rest: str) -> tuple[int, int] | None:
    """(step, size of a block) of next:STEPofSIZE, or None where it is none."""
    step, _, size = rest.partition('of')
    step, size = whole_number(step), whole_number(size)
    return (step, size) if 0 < step < size else None


def _step(rest):
    return None if step_of(rest) else (
        'needs a step and the size of a block, larger than it: next:1of2')


def _shared(run, architecture, rest, reference):
    return run.references[architecture][reference]


def _other(run, architecture, rest, reference):
    references = run.references[architecture]
    step = run.world.replicas  # the next *reference*: replicas of this one are the same weights
    if len(references) <= step:
        raise UserError('start=other needs a second reference, and this world has one: take '
                        'noise:SIZE or moved:STEPS')
    return references[(reference + step) % len(references)]


def _next(run, architecture, rest, reference):
    return run.references[architecture][next_of(run, rest, reference)]


def next_of(run: Any, rest: str, reference: int) -> int:
    """The number of the reference that next:STEPofSIZE stands for, for teachers of a reference:
    STEP further, around within its block of SIZE."""
    step, size = step_of(rest)
    own, replica = divmod(reference, run.world.replicas)
    block, place = divmod(own, size)
    return (block * size + (place + step) % size) * run.world.replicas + replica


def _check_blocks(run, arm, rest):
    count = run.world.num_references // run.world.replicas
    if count % step_of(rest)[1]:
        raise UserError(f'arm {arm.name}: start={arm.start} needs blocks of {step_of(rest)[1]} '
                        f'references, and this world has {count}: take a multiple '
                        '(config.language.references)')


def _check_layer(run, arm, number):
    count = run.world.architectures[arm.students].num_layers
    if number is not None and number >= count:
        raise UserError(f'arm {arm.name}: start={arm.start}: the model has {count} layers, 0 to '
                        f'{count - 1}')


def _gauge_key(run, reference):
    return jax.random.key(seed_of(run.config, 'start', reference, 1))


def _gauge(run, architecture, rest, reference):
    return permuted(run.references[architecture][reference], _gauge_key(run, reference))


def _in_gauge(run, reference, tree):
    key = _gauge_key(run, reference)
    if isinstance(tree, Lora):
        return Lora(permuted_adapter(tree.layers, key), tree.scale)
    if tree['layers']['up'].ndim == 4:  # of several models
        return jax.vmap(lambda one: permuted(one, key))(tree)
    return permuted(tree, key)


def _share(run, architecture, rest, reference):
    if run.world.redrawn is None:
        raise UserError(f'start=share:{rest}: this world trains nothing from scratch; start=body '
                        'has a body that is re-initialised')
    return run.world.redrawn(run, architecture, rest)[reference]


def _moved(run, architecture, rest, reference):
    return run.world.moved(run, architecture, int(rest))[reference]


def _noise(run, architecture, rest, reference):
    params = run.references[architecture][reference]
    return run.world.placed(noisy(params, seed_of(run.config, 'start', reference), float(rest)))


def _body(run, architecture, rest, reference):
    params = run.references[architecture][reference]
    return run.world.placed({**params, 'layers': _fresh_layers(run, architecture, reference)})


def _redrawn(run, architecture, rest, reference):
    params = run.references[architecture][reference]
    fresh = _fresh_layers(run, architecture, reference)
    layers = {name: jnp.asarray(x).at[int(rest)].set(fresh[name][int(rest)])
              for name, x in params['layers'].items()}
    return run.world.placed({**params, 'layers': layers})


def _fresh_layers(run, architecture, reference):
    dtype = run.references[architecture][reference]['final_norm'].dtype
    key = jax.random.key(seed_of(run.config, 'start', reference))
    return transformer.init_params(key, run.world.architectures[architecture], dtype)['layers']


STARTS.register(Start('shared', _shared, _nothing, control=False))
STARTS.register(Start('other', _other, _nothing))
STARTS.register(Start('next', _next, _step, check=_check_blocks))
STARTS.register(Start('gauge', _gauge, _nothing, gauge=_in_gauge, control=False,
                      has_teachers=True))
STARTS.register(Start('share', _share, _some_parts, trained=True, has_teachers=True,
                      check=lambda run, arm, rest: _check_layer(run, arm, layer_shared(rest))))
STARTS.register(Start('moved', _moved, _steps, trained=True, has_teachers=True))
STARTS.register(Start('noise', _noise, _size, has_teachers=True))
STARTS.register(Start('redrawn', _redrawn, _number, has_teachers=True,
                      check=lambda run, arm, rest: _check_layer(run, arm, int(rest))))
STARTS.register(Start('body', _body, _nothing, geometry=True))
